// The threads of a mount's workers beside the main one: on clones of the device, or on rings. The main
// thread starts them, passes on what they log, and sees them off.

import { createRequire } from 'node:module'
import type { Worker } from 'node:worker_threads'
import { EIO, errnoReason } from '../base/errno.js'
import { RINGS_STATE, sharedHeader } from '../fuse/session-shared.js'
import { native } from '../sys/native.js'
import type { WorkerPlan } from './engine.js'
import type { Log } from './log.js'
import type { RingShare } from './transports.js'

/** How long the end of threads is awaited. */
const END_MS = 1000
/** How long rings may take to begin. */
const BEGIN_MS = 10_000
/** Threads that are replaced before the mount is given up. */
const REPLACED_MAX = 3
const BEGIN = 1
const GIVE_UP = 2

/** What a worker's thread tells the main thread. */
export type ThreadMessage = {
  readonly log?: string
  /** A ring serves (0), or why it does not (-errno). */
  readonly ring?: number
  /** The transport has ended in order. */
  readonly hasEnded?: true
}

/** Returns a constructor that not every mount needs: it costs time at start. */
export function threads(): typeof import('node:worker_threads') {
  return createRequire(import.meta.url)('node:worker_threads') as typeof import('node:worker_threads')
}

export function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref())
}

/** Starts a worker's thread; it waits for its WorkerPlan, or 'stop', as a message. */
function startThread(worker: number, log: Log, onMessage: (message: ThreadMessage) => void): Worker {
  const thread = new (threads().Worker)(new URL('./worker.js', import.meta.url))
  thread.on('message', (message: ThreadMessage) => {
    if (message.log !== undefined) log(message.log)
    onMessage(message)
  })
  thread.on('error', (error) => log(`worker ${worker}: ${error.stack ?? error.message}`))
  return thread
}

function exitOf(thread: Worker): Promise<void> {
  return new Promise((resolve) => {
    if (thread.threadId === -1) resolve()
    else thread.once('exit', () => resolve())
  })
}

/** The other workers of a mount. */
export type Crew = {
  /** How many they are. */
  readonly size: number
  /** Asks them to end; resolves when they have, or take too long. */
  end(): Promise<void>
}

/** Starts workers 1, 2, … on clones of the device. */
export function startClones(plan: WorkerPlan, workers: number, log: Log): Crew {
  const started: Worker[] = []
  const devices: number[] = []
  for (let worker = 1; worker < workers; worker++) {
    const device = native.cloneDevice(plan.device)
    if (device < 0) {
      log(`worker ${worker}: ${errnoReason(device)}; going on with ${worker}`)
      break
    }
    devices.push(device)
    const thread = startThread(worker, log, () => {})
    thread.postMessage({ ...plan, worker, device } satisfies WorkerPlan)
    started.push(thread)
  }
  return {
    size: started.length,
    async end() {
      for (const thread of started) thread.postMessage('stop')
      await Promise.race([Promise.all(started.map(exitOf)), delay(END_MS)])
      for (const device of devices) native.close(device)
    },
  }
}

/** The workers on rings, one thread for each share; the main thread keeps the device. */
export class RingCrew implements Crew {
  #plan: WorkerPlan | undefined
  readonly #rings: readonly RingShare[]
  readonly #log: Log
  #header: Int32Array | undefined
  readonly #events: number[] = []
  readonly #threads: Worker[] = []
  readonly #results: (number | undefined)[] = []
  #onResult = (): void => {}
  #onLost = (): void => {}
  #replaced = 0
  #isLive = false
  #isEnding = false
  readonly #onExit = (): void => this.#signal()

  /** Starts the threads, which takes a while; they wait for give(). */
  constructor(rings: readonly RingShare[], log: Log) {
    this.#rings = rings
    this.#log = log
    // A thread that waits in the kernel would keep the process from ending.
    process.once('exit', this.#onExit)
    rings.forEach((_, i) => {
      this.#events[i] = native.uringEvent()
      this.#start(i)
    })
  }

  get size(): number {
    return this.#rings.length
  }

  /** Tells the threads what to serve; they wait for begin() then. Needs: `plan` is worker 0's. */
  give(plan: WorkerPlan): void {
    this.#plan = plan
    this.#header = sharedHeader(plan.shared)
    for (const i of this.#threads.keys()) this.#giveTo(i, plan)
  }

  #giveTo(i: number, plan: WorkerPlan): void {
    const ring = { ...this.#rings[i]!, event: this.#events[i]! }
    this.#threads[i]!.postMessage({ ...plan, worker: i + 1, ring } satisfies WorkerPlan)
  }

  /**
   * INIT was answered: lets the rings begin when it was agreed on them. Resolves with whether they serve;
   * if not, the threads are gone and the kernel sends everything to the device. `onLost` is called
   * when threads end again and again while the mount lives.
   */
  async begin(isAgreed: boolean, onLost: () => void): Promise<boolean> {
    this.#onLost = onLost
    if (!isAgreed) {
      this.#log('the kernel does not offer io_uring; requests come through /dev/fuse')
      await this.end()
      return false
    }
    this.#setState(BEGIN)
    const all = new Promise<void>((resolve) => {
      this.#onResult = () => {
        if (this.#results.some((result) => result! < 0)) resolve()
        if (this.#rings.every((_, i) => this.#results[i] === 0)) resolve()
      }
      this.#onResult()
    })
    await Promise.race([all, delay(BEGIN_MS)])
    if (this.#rings.every((_, i) => this.#results[i] === 0)) {
      this.#isLive = true
      return true
    }
    const failed = this.#results.find((result) => result !== undefined && result < 0)
    const reason = failed === undefined ? 'no word from its workers' : errnoReason(failed)
    const refused = native.uringRefuse(this.#plan!.device)
    const more = refused < 0 ? ` (the kernel: ${errnoReason(refused)})` : ''
    this.#log(`io_uring: ${reason}; requests come through /dev/fuse${more}`)
    await this.end()
    return false
  }

  async end(): Promise<void> {
    if (this.#isEnding) return
    this.#isEnding = true
    this.#signal()
    await Promise.race([Promise.all(this.#threads.map(exitOf)), delay(END_MS)])
    process.removeListener('exit', this.#onExit)
    for (const event of this.#events) native.close(event)
  }

  #signal(): void {
    this.#setState(GIVE_UP)
    if (this.#plan === undefined) for (const thread of this.#threads) thread.postMessage('stop')
    for (const event of this.#events) native.uringSignal(event)
  }

  #setState(state: number): void {
    if (this.#header === undefined) return
    Atomics.store(this.#header, RINGS_STATE, state)
    Atomics.notify(this.#header, RINGS_STATE)
  }

  #start(i: number): void {
    let hasEnded = false
    const thread = startThread(i + 1, this.#log, (message) => {
      if (message.hasEnded) hasEnded = true
      if (message.ring !== undefined) this.#settle(i, message.ring)
    })
    thread.on('exit', () => {
      this.#settle(i, -EIO)
      if (this.#isLive && !this.#isEnding && !hasEnded) this.#replace(i)
    })
    this.#threads[i] = thread
    if (this.#plan !== undefined) this.#giveTo(i, this.#plan)
  }

  #settle(i: number, result: number): void {
    this.#results[i] ??= result
    this.#onResult()
  }

  /** Its queues would be served by nobody, and their callers wait for ever. */
  #replace(i: number): void {
    if (++this.#replaced > REPLACED_MAX) {
      this.#log('workers end again and again: giving up')
      this.#onLost()
      return
    }
    this.#log(`worker ${i + 1} has ended; starting another`)
    this.#start(i)
  }
}
