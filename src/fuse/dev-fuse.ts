// The transport over /dev/fuse: one fd per worker (the first, or a clone of it), polled by the
// event loop, one native call per request.
//
// A wake-up takes a bounded number of requests and then the completions that wait, so that a busy
// client can't starve parked work, timers or signals.

import { EAGAIN, EINTR, ENODEV, ENOENT } from '../base/errno.js'
import { native } from '../sys/native.js'
import { type Arena, CTL, CTL_IN_LENGTH } from '../vfs/arena.js'
import type { Session } from './session.js'
import type { End, Transport } from './transport.js'

/** Requests, and completions, of one wake-up. */
const DRAIN_MAX = 256
/** Words in CTL in which nextCompletion() tells of an ended job. */
const CTL_JOB = (CTL >> 2) + 8
const CTL_JOB_RESULT = (CTL >> 2) + 9
const COMPLETION_PARKED = 1

export class DevFuseTransport implements Transport {
  readonly name = 'dev-fuse'
  readonly whenEnded: Promise<End>
  readonly #device: number
  readonly #arena: Arena
  #resolve!: (end: End) => void
  #session: Session | undefined
  #again: NodeJS.Immediate | undefined

  /** `device`: an fd of the session, not shared with another worker. `arena`: attached to native. */
  constructor(device: number, arena: Arena) {
    this.#device = device
    this.#arena = arena
    this.whenEnded = new Promise((resolve) => {
      this.#resolve = resolve
    })
  }

  start(session: Session): void {
    this.#session = session
    const result = native.devFuseStart(this.#device, () => this.#onReady())
    if (result < 0) {
      this.#session = undefined
      throw Object.assign(new Error('cannot watch the FUSE device'), { errno: result, syscall: 'poll' })
    }
  }

  stop(): void {
    this.#end({ reason: 'stopped' })
  }

  /**
   * Level-triggered polling wakes us again for requests that are left; the immediate is for
   * completions, whose signal may have been taken already.
   */
  #onReady(): void {
    const session = this.#session
    if (session === undefined) return
    if (!this.#drainRequests(session)) return
    const isDrained = this.#drainCompletions(session)
    if (!isDrained && this.#again === undefined) {
      this.#again = setImmediate(() => {
        this.#again = undefined
        this.#onReady()
      })
    }
  }

  /** Returns whether the transport lives on. */
  #drainRequests(session: Session): boolean {
    let length = native.devFuseNext()
    for (let taken = 1; ; taken++) {
      if (length < 0) {
        // ENOENT, EINTR: the request was withdrawn before it could be read.
        if (length === -EAGAIN || length === -EINTR || length === -ENOENT) return true
        this.#end(length === -ENODEV ? { reason: 'unmounted' } : { reason: 'failed', errno: -length })
        return false
      }
      const result = session.dispatch(length)
      if (taken >= DRAIN_MAX) {
        native.reply(result)
        return true
      }
      length = native.devFuseReplyAndNext(result)
    }
  }

  /** Returns whether none is left. */
  #drainCompletions(session: Session): boolean {
    const { u32, i32 } = this.#arena
    for (let taken = 0; taken < DRAIN_MAX; taken++) {
      const kind = native.nextCompletion()
      if (kind <= 0) return true
      if (kind === COMPLETION_PARKED) native.reply(session.redispatch(u32[(CTL >> 2) + CTL_IN_LENGTH]!))
      else session.completed(u32[CTL_JOB]!, i32[CTL_JOB_RESULT]!)
    }
    return false
  }

  #end(end: End): void {
    const session = this.#session
    if (session === undefined) return
    this.#session = undefined
    if (this.#again !== undefined) clearImmediate(this.#again)
    native.devFuseStop()
    session.end()
    this.#resolve(end)
  }
}
