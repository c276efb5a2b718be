// The transport over io_uring: this thread serves one or several of the kernel's request queues (one
// per CPU) and does nothing else; it waits in the kernel, not in the event loop.
//
// INIT must have been answered before start(). The classic device stays in use for FORGET and
// INTERRUPT, and is another worker's. The event loop gets a turn after many requests and when
// nothing came for a while, for what the language itself wants to do.

import { EAGAIN, ENODEV, ESHUTDOWN } from '../base/errno.js'
import { native } from '../sys/native.js'
import { type Arena, CTL, CTL_IN_LENGTH, RINGS, SCRATCH } from '../vfs/arena.js'
import type { Session } from './session.js'
import type { End, Transport } from './transport.js'

/** One of the kernel's queues: its number is that of a CPU. `depth`: requests that it can hand out at a time. */
export type RingQueue = { readonly queue: number; readonly depth: number }

/** Largest READ and WRITE; see negotiate.ts. */
export const RING_PAYLOAD_BYTES = 1 << 20
/** Requests between two turns of the event loop. */
const TURN_REQUESTS = 1 << 14
/** Words in CTL in which nextCompletion() tells of an ended job. */
const CTL_JOB = (CTL >> 2) + 8
const CTL_JOB_RESULT = (CTL >> 2) + 9
const COMPLETION_PARKED = 1

/** Returns how many bytes an arena for these queues must have at RINGS. */
export function ringBytes(queues: readonly RingQueue[]): number {
  return queues.reduce((sum, { depth }) => sum + depth * RING_PAYLOAD_BYTES, 4096)
}

export class IoUringTransport implements Transport {
  readonly name = 'io-uring'
  readonly whenEnded: Promise<End>
  readonly #device: number
  readonly #event: number
  readonly #queues: readonly RingQueue[]
  readonly #arena: Arena
  #resolve!: (end: End) => void
  #session: Session | undefined

  /**
   * `device`: the session's fd. `event`: from native.uringEvent(), this worker's own. `arena`: attached to
   * native, made with ringBytes().
   */
  constructor(device: number, event: number, queues: readonly RingQueue[], arena: Arena) {
    this.#device = device
    this.#event = event
    this.#queues = queues
    this.#arena = arena
    this.whenEnded = new Promise((resolve) => {
      this.#resolve = resolve
    })
  }

  start(session: Session): void {
    const { u32 } = this.#arena
    let w = SCRATCH >> 2
    for (const { queue, depth } of this.#queues) {
      u32[w++] = queue
      u32[w++] = depth
    }
    const count = this.#queues.length
    const result = native.uringStart(this.#device, this.#event, RINGS, RING_PAYLOAD_BYTES, SCRATCH, count)
    if (result < 0)
      throw Object.assign(new Error('cannot start a ring'), { errno: result, syscall: 'io_uring' })
    this.#session = session
    setImmediate(() => this.#serve())
  }

  stop(): void {
    this.#end({ reason: 'stopped' })
  }

  #serve(): void {
    const session = this.#session
    if (session === undefined) return
    let length = native.uringNext()
    for (let taken = 0; length >= 0; taken++) {
      if (length === 0) {
        this.#drainCompletions(session)
        length = native.uringNext()
        continue
      }
      const result = session.dispatch(length)
      if (taken >= TURN_REQUESTS) {
        native.reply(result)
        length = -EAGAIN
      } else length = native.uringReplyAndNext(result)
    }
    if (length === -EAGAIN) setImmediate(() => this.#serve())
    else if (length === -ENODEV) this.#end({ reason: 'unmounted' })
    else if (length === -ESHUTDOWN) this.#end({ reason: 'stopped' })
    else this.#end({ reason: 'failed', errno: -length })
  }

  #drainCompletions(session: Session): void {
    const { u32, i32 } = this.#arena
    for (;;) {
      const kind = native.nextCompletion()
      if (kind <= 0) return
      if (kind === COMPLETION_PARKED) native.reply(session.redispatch(u32[(CTL >> 2) + CTL_IN_LENGTH]!))
      else session.completed(u32[CTL_JOB]!, i32[CTL_JOB_RESULT]!)
    }
  }

  #end(end: End): void {
    const session = this.#session
    if (session === undefined) return
    this.#session = undefined
    native.uringStop()
    session.end()
    this.#resolve(end)
  }
}
