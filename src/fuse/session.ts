// One worker's end of a mount's conversation: takes a request from the arena to its call and back.
//
// Keeps no state of the mount: what workers share is in session-shared.ts and in the file system.
// Nothing thrown leaves dispatch(); a request that is malformed or blows up is answered with an
// errno, and the next one is served.

import { ENOSYS } from '../base/errno.js'
import type { Arena } from '../vfs/arena.js'
import { CTL, CTL_DATA, CTL_OUT, CTL_OUT_CAPACITY, IN, IN_CAPACITY } from '../vfs/arena.js'
import { type FileSystem, NO_REPLY, PARKED } from '../vfs/file-system.js'
import { fuse_in_header } from './abi.js'
import type { Agreement, NegotiateOptions } from './negotiate.js'
import { BROKEN, MALFORMED, type OpcodeRow, opcodeRows, takeNames } from './opcodes.js'
import { createRequest, type Request, type Timeouts, takeNode } from './request.js'
import {
  COUNT_ERRORS,
  COUNT_PARKED,
  COUNT_REQUESTS,
  COUNTED_OPCODES,
  sharedHeader,
  workerCounters,
} from './session-shared.js'

export type SessionOptions = Timeouts & {
  readonly arena: Arena
  readonly fs: FileSystem
  /** From createSessionShared(); the same for all workers. */
  readonly shared: SharedArrayBuffer
  /** This worker's number, from 0. */
  readonly worker: number
  readonly negotiate: NegotiateOptions
  /** Told once, on the worker that got INIT: the agreement, or why there is none. */
  readonly onInit?: (outcome: Agreement | string) => void
  /** Takes one line about something that went wrong. */
  readonly log: (line: string) => void
  /** Takes one line about each request and its result. */
  readonly trace?: ((line: string) => void) | undefined
}

const ERRNO_MAX = 4095
const CTL_WORD = CTL >> 2

/** Returns the request's id for a log line. */
function unique(u32: Uint32Array): number {
  const w = (IN + fuse_in_header.unique) >> 2
  return u32[w + 1]! * 0x100000000 + u32[w]!
}

function resultText(result: number): string {
  if (result === PARKED) return 'parked'
  return result === NO_REPLY ? 'no reply' : String(result)
}

export class Session {
  readonly #fs: FileSystem
  readonly #request: Request
  readonly #bytes: Uint8Array
  readonly #u32: Uint32Array
  readonly #counters: Float64Array
  readonly #log: (line: string) => void
  readonly #trace: ((line: string) => void) | undefined
  #hasEnded = false

  constructor(options: SessionOptions) {
    this.#fs = options.fs
    this.#bytes = options.arena.bytes
    this.#u32 = options.arena.u32
    this.#counters = workerCounters(options.shared, options.worker)
    this.#log = options.log
    this.#trace = options.trace
    this.#request = createRequest(options.arena, options.fs, sharedHeader(options.shared), options, {
      negotiate: options.negotiate,
      onInit: options.onInit ?? (() => {}),
      onDestroy: () => this.end(),
    })
  }

  /**
   * Answers the request of `length` bytes at IN. Returns the length of the reply's body, -errno,
   * PARKED or NO_REPLY, as the transport's reply() takes it. Never throws.
   */
  dispatch(length: number): number {
    const opcode = this.#opcode()
    this.#counters[COUNT_REQUESTS + opcode]!++
    return this.redispatch(length)
  }

  /** As dispatch(), for a request that was parked and is counted already. */
  redispatch(length: number): number {
    const opcode = this.#opcode()
    let result: number
    try {
      result = this.#answer(length)
    } catch (error) {
      result = this.#failed(error)
    }
    if (result === PARKED) this.#counters[COUNT_PARKED + opcode]!++
    else if (result < 0) this.#counters[COUNT_ERRORS + opcode]!++
    if (this.#trace !== undefined) this.#trace(`fuse: ${this.#describe()}: ${resultText(result)}`)
    return result
  }

  /** Parked work of the file system has ended. Never throws. */
  completed(job: number, result: number): void {
    try {
      this.#fs.completed(job, result)
    } catch (error) {
      this.#log(
        `fuse: completion of job ${job} with ${result}: ${error instanceof Error ? error.stack : error}`,
      )
    }
  }

  /** The kernel let go of the mount: tells the file system, once. Never throws. */
  end(): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    try {
      this.#fs.destroy()
    } catch (error) {
      this.#log(`fuse: DESTROY: ${error instanceof Error ? error.stack : error}`)
    }
  }

  #opcode(): number {
    const opcode = this.#u32[(IN + fuse_in_header.opcode) >> 2]!
    return opcode < COUNTED_OPCODES ? opcode : 0
  }

  #answer(length: number): number {
    const u32 = this.#u32
    const r = this.#request
    const head = IN >> 2
    const opcode = u32[head + (fuse_in_header.opcode >> 2)]!
    const row = opcode < COUNTED_OPCODES ? opcodeRows[opcode] : undefined
    if (row === undefined) return -ENOSYS
    const isWhole = length >= fuse_in_header.bytes && length <= IN_CAPACITY && u32[head] === length
    r.at = IN + fuse_in_header.bytes
    r.rest = r.at + row.bytes
    r.end = IN + length
    if (!isWhole || r.rest > r.end) return row.isReplyless ? NO_REPLY : MALFORMED

    r.opcode = opcode
    r.out = u32[CTL_WORD + CTL_OUT]!
    r.capacity = u32[CTL_WORD + CTL_OUT_CAPACITY]!
    r.data = this.#dataElsewhere()
    if (row.hasNode) {
      r.node = takeNode(r, IN + fuse_in_header.nodeid)
      if (r.node < 0) return row.isReplyless ? NO_REPLY : r.node
    }
    const names = takeNames(r, row.follows)
    if (names < 0) return names

    const { caller } = this.#fs
    caller.uid = u32[head + (fuse_in_header.uid >> 2)]!
    caller.gid = u32[head + (fuse_in_header.gid >> 2)]!
    caller.pid = u32[head + (fuse_in_header.pid >> 2)]!
    caller.umask = 0
    return this.#checked(row, row.call(r))
  }

  /** Returns where WRITE's data are when they are not behind the struct, else 0. */
  #dataElsewhere(): number {
    const data = this.#u32[CTL_WORD + CTL_DATA]!
    return data >= IN && data < IN + IN_CAPACITY ? 0 : data
  }

  /** Returns the call's result when it is one that a transport can send. */
  #checked(row: OpcodeRow, result: number): number {
    if (result >= -ERRNO_MAX && result <= this.#request.capacity) return result
    if (result === PARKED || result === NO_REPLY) return result
    this.#log(`fuse: ${this.#describe()}: the file system answered ${result}`)
    return row.isReplyless ? NO_REPLY : BROKEN
  }

  #failed(error: unknown): number {
    this.#log(`fuse: ${this.#describe()}: ${error instanceof Error ? error.stack : error}`)
    return opcodeRows[this.#opcode()]?.isReplyless ? NO_REPLY : BROKEN
  }

  /** Returns opcode, nodeid, unique and name of the current request in words. */
  #describe(): string {
    const r = this.#request
    const u32 = this.#u32
    const opcode = u32[(IN + fuse_in_header.opcode) >> 2]!
    const row = opcodeRows[this.#opcode()]
    const node = u32[(IN + fuse_in_header.nodeid) >> 2]!
    let words = `${row?.name ?? `opcode ${opcode}`} nodeid ${node} unique ${unique(u32)}`
    if (row !== undefined && row.follows !== 0 && r.opcode === opcode && r.nameLength > 0) {
      const name = Buffer.from(this.#bytes.buffer, r.name, r.nameLength).toString('latin1')
      words += ` ${JSON.stringify(name)}`
    }
    return words
  }
}
