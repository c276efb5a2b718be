// Running commands in containers: the first one in namespaces of its own (container-init.ts), further
// ones by entering those.

import { type ChildProcess, spawn } from 'node:child_process'
import { stat } from 'node:fs/promises'
import { constants as osConstants } from 'node:os'
import { fileURLToPath } from 'node:url'
import { native } from '../sys/native.js'
import { threadArena } from '../sys/thread-arena.js'
import { type InitRequest, READY_FD, REQUEST_FD } from './container-init.js'
import { systemError } from './errors.js'
import { SignalRelay } from './signal-relay.js'
import { enterRawMode } from './terminal.js'

const CLONE_NEWUTS = 0x4000000
const CLONE_NEWIPC = 0x8000000
const CLONE_NEWPID = 0x20000000

/** A started container. */
export type Started = {
  /** Its first process, as this machine counts. */
  readonly pid: number
  /** Its exit status: 128 + N when signal N ended it. */
  readonly ended: Promise<number>
}

/**
 * Makes libuv's threads. The kernel allows no new ones to a process whose children are to live in
 * another pid namespace.
 */
async function makeThreads(): Promise<void> {
  await stat('/')
}

/**
 * Starts container-init.js with a request. It obeys nothing that a caller's environment tells Node: a hook
 * that writes at exit would write into the container.
 */
function startInit(request: InitRequest, signals: SignalRelay): Started {
  const script = fileURLToPath(new URL('./container-init.js', import.meta.url))
  const child = spawn(process.execPath, [script], {
    stdio: [request.isInteractive ? 'inherit' : 'ignore', 'inherit', 'inherit', 'pipe', 'pipe'],
    env: { ...process.env, NODE_OPTIONS: process.env.MICA_NODE_OPTIONS ?? '', MICA_CONTAINER_INIT: '1' },
    // A session of its own.
    detached: true,
  })
  const pipe = child.stdio[REQUEST_FD] as NodeJS.WritableStream
  pipe.on('error', () => {})
  pipe.end(JSON.stringify(request))
  const ready = child.stdio[READY_FD] as NodeJS.ReadableStream
  ready.on('error', () => {})
  ready.on('end', () => signals.to((signal) => void child.kill(signal))).resume()
  const leaveRawMode = request.hasTerminal && request.isInteractive ? enterRawMode() : () => {}
  return { pid: child.pid ?? 0, ended: endOf(child).finally(leaveRawMode) }
}

/**
 * Starts a container's command; `signals` go to it. This process's later children live in the container's pid
 * namespace.
 */
export async function startContainer(request: InitRequest, signals: SignalRelay): Promise<Started> {
  threadArena()
  await makeThreads()
  const unshared = native.unshare(CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC)
  if (unshared < 0) throw systemError(unshared, 'namespaces for', request.root, 'unshare')
  return startInit(request, signals)
}

function endOf(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', (code, signal) =>
      resolve(signal === null ? (code ?? 1) : 128 + osConstants.signals[signal]),
    )
  })
}

/**
 * Runs a further command in a container whose first process is `pid`. Resolves with its exit status. This
 * process's later children live in the container's pid namespace.
 */
export async function execIn(pid: number, request: InitRequest): Promise<number> {
  const signals = new SignalRelay()
  threadArena()
  await makeThreads()
  const path = `/proc/${pid}/ns/pid`
  const fd = native.openPath(Buffer.from(path), 0, 0)
  const result = fd < 0 ? fd : native.setns(fd, CLONE_NEWPID)
  if (result < 0) throw systemError(result, 'enter', path, 'setns')
  native.close(fd)
  return startInit({ ...request, enter: pid }, signals).ended
}
