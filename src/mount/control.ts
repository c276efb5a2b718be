// The control socket of a daemon, and its other end. A request is one line of JSON, `{"verb": "stats"}`,
// the answer another. Only the owner and root can connect.

import { chmodSync } from 'node:fs'
import { connect, createServer, type Server } from 'node:net'
import { sumCounters } from '../fuse/session-shared.js'
import { H_DENTRY_LIVE, H_INDEX, H_NODE_LIVE } from '../union/state.js'
import { MountError } from './errors.js'
import type { Log } from './log.js'
import { type MountRecord, removeRecord, socketPath } from './runtime-dir.js'

/** What is told of a mount, whichever thread serves it. */
export type ServedMount = {
  readonly record: MountRecord
  readonly transport: string
  readonly workers: number
  readonly hasPassthrough: boolean
  /** See fuse/session-shared.ts. */
  readonly shared: SharedArrayBuffer
  /** See union/state.ts. */
  readonly header: SharedArrayBuffer
  readonly whenEnded: Promise<unknown>
}

/** What a daemon tells about itself. */
export type MountStats = {
  readonly mountpoint: string
  readonly pid: number
  readonly since: string
  readonly workers: number
  readonly transport: string
  readonly hasPassthrough: boolean
  /** Of the lowers. */
  readonly index: 'none' | 'used' | 'damaged'
  /** Inodes and names that the tables hold. */
  readonly inodes: number
  readonly dentries: number
  readonly residentBytes: number
  readonly cpuMs: number
  /** Per kind of request. */
  readonly requests: Readonly<Record<string, { requests: number; errors: number; parked: number }>>
}

const INDEX_STATES = ['none', 'used', 'damaged'] as const

function statsOf(live: ServedMount): MountStats {
  const header = new Int32Array(live.header)
  const cpu = process.cpuUsage()
  return {
    mountpoint: live.record.mountpoint,
    pid: process.pid,
    since: live.record.since,
    workers: live.workers,
    transport: live.transport,
    hasPassthrough: live.hasPassthrough,
    index: INDEX_STATES[Atomics.load(header, H_INDEX)] ?? 'none',
    inodes: Atomics.load(header, H_NODE_LIVE),
    dentries: Atomics.load(header, H_DENTRY_LIVE),
    residentBytes: process.memoryUsage.rss(),
    cpuMs: Math.round((cpu.user + cpu.system) / 1000),
    requests: sumCounters(live.shared),
  }
}

function answer(live: ServedMount, line: string): unknown {
  try {
    const { verb } = JSON.parse(line) as { verb?: unknown }
    return verb === 'stats' ? statsOf(live) : { error: `unknown verb ${String(verb)}` }
  } catch (error) {
    return { error: (error as Error).message }
  }
}

const LINE_MAX = 4096

/** Starts to answer on the mount's socket. A mount without one is still a mount, so failures are logged. */
export function startControl(live: ServedMount, log: Log): Server {
  const path = socketPath(live.record)
  const server = createServer((socket) => {
    let text = ''
    socket.setEncoding('utf8')
    socket.on('error', () => socket.destroy())
    socket.on('data', (chunk: string) => {
      text += chunk
      const end = text.indexOf('\n')
      if (end >= 0) socket.end(`${JSON.stringify(answer(live, text.slice(0, end)))}\n`)
      else if (text.length > LINE_MAX) socket.destroy()
    })
  })
  server.on('error', (error) => log(`control socket: ${error.message}`))
  server.listen(path, () => chmodSync(path, 0o600))
  void live.whenEnded.then(() => {
    server.close()
    // It may have come up after the mount's end.
    removeRecord(live.record)
  })
  return server
}

/** A daemon opens its socket just after its mount is live: so long it is waited for. */
const OPENING_MS = 2000
const POLL_MS = 10

/** Asks the daemon of a mount for its numbers. Rejects when it doesn't answer. */
export async function fetchStats(record: MountRecord, timeoutMs = 5000): Promise<MountStats> {
  for (const until = Date.now() + OPENING_MS; ; ) {
    try {
      return await ask(socketPath(record), timeoutMs)
    } catch (error) {
      const { code } = error as { code?: string }
      if ((code !== 'ENOENT' && code !== 'ECONNREFUSED') || Date.now() > until) throw error
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
}

function ask(path: string, timeoutMs: number): Promise<MountStats> {
  return new Promise((resolve, reject) => {
    const fail = (reason: string, code = 'EIO'): void => {
      socket.destroy()
      reject(new MountError(reason, code))
    }
    const socket = connect(path, () => socket.write('{"verb":"stats"}\n'))
    let text = ''
    socket.setEncoding('utf8')
    socket.setTimeout(timeoutMs, () => fail('the daemon does not answer', 'ETIMEDOUT'))
    socket.on('error', (error: NodeJS.ErrnoException) =>
      fail(`no word from the daemon: ${error.message}`, error.code),
    )
    socket.on('data', (chunk: string) => {
      text += chunk
    })
    socket.on('end', () => {
      try {
        const value = JSON.parse(text) as MountStats & { error?: string }
        if (value.error !== undefined) fail(value.error)
        else resolve(value)
      } catch {
        fail('the daemon said nothing that can be understood')
      }
    })
  })
}
