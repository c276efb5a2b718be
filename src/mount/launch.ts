// Starts a daemon and waits until its mount is live: what build/Release/mica-launch does for bin/mica, for
// callers that are Node programs already.

import { spawn } from 'node:child_process'
import { statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { MountError, UsageError } from './errors.js'
import { formatOuterDevice, type OuterDevice } from './outer-device.js'

export type LaunchOptions = {
  /** Arguments of `mica mount`, or of `mica-overlay` after '--overlay'. */
  readonly args: readonly string[]
  /** Where the daemon's warnings go until it lets go of stderr. */
  readonly stderr?: 'inherit' | 'ignore'
  readonly env?: NodeJS.ProcessEnv
  /** What runs the daemon's script, Node by itself. */
  readonly program?: readonly string[]
  /** A FUSE device that is mounted already, in the user namespace around the daemon's. */
  readonly device?: OuterDevice
}

const STATUS_FD = 3
const DEVICE_FD = 4

/** Returns the daemon's program: all in one file, where that is not older than its parts. */
function daemonScript(): string {
  const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url))
  const mtime = (file: string): number => statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0
  const bundle = path('../../bundle/daemon-main.js')
  const isCurrent = mtime(bundle) > 0 && mtime(bundle) >= mtime(path('../../.tsbuildinfo'))
  return isCurrent ? bundle : path('./daemon-main.js')
}

/**
 * Resolves with the daemon's pid when the mount is live. Rejects with its message: UsageError for wrong
 * arguments, MountError otherwise; then nothing is mounted.
 */
export function launch(options: LaunchOptions): Promise<number> {
  const { args, stderr = 'inherit', env = process.env, program = [process.execPath], device } = options
  const child = spawn(program[0]!, [...program.slice(1), daemonScript(), ...args], {
    detached: true,
    stdio: [
      'ignore',
      stderr === 'inherit' ? process.stderr : 'ignore',
      stderr,
      'pipe',
      ...(device === undefined ? [] : [device.fd]),
    ],
    // As bin/mica does: what a caller's environment tells Node is not meant for a file system.
    env: {
      ...env,
      NODE_OPTIONS: env.MICA_NODE_OPTIONS ?? '',
      MICA_STATUS_FD: String(STATUS_FD),
      ...(device === undefined ? {} : formatOuterDevice({ ...device, fd: DEVICE_FD })),
    },
  })
  return new Promise((resolve, reject) => {
    const status = child.stdio[STATUS_FD] as NodeJS.ReadableStream
    let text = ''
    let code: number | null = null
    child.on('error', (error) => reject(new MountError(`the daemon can't be started: ${error.message}`)))
    child.on('exit', (status_, signal) => {
      code = status_
      if (signal !== null) text += text === '' ? `error 1 the daemon was killed by ${signal}` : ''
    })
    status.on('data', (chunk: Buffer) => {
      text += chunk.toString()
    })
    status.on('end', () => {
      child.unref()
      if (text.startsWith('ok')) resolve(child.pid!)
      else setImmediate(() => reject(failure(text, code)))
    })
  })
}

/** Returns the error for an `error STATUS PROGRAM: VERB OBJECT: REASON` line. */
function failure(text: string, code: number | null): Error {
  const [, status, line] = /^error (\d+) (.*)/.exec(text) ?? []
  if (line === undefined)
    return new MountError(`the daemon ended without a word (exit status ${code ?? '?'})`)
  const reason = line.replace(/^mica: mount(?: .*?)?: |^mica-overlay: /, '')
  return status === '2' ? new UsageError(reason) : new MountError(reason)
}
