// What all workers of one session see: the outcome of INIT, and counters per opcode.
//
// A SharedArrayBuffer: 16 header words, then one row of counters per worker. A worker writes only
// its own row, so nothing needs a lock; a reader adds the rows up and may be a moment behind.

import { initFlags, opcodes } from './abi.js'
import { hasFlag } from './negotiate.js'

/** Header words. */
export const AGREED_STATE = 0 // 0 nothing yet, 1 agreed, 2 refused
export const AGREED_IS_NO_OPEN = 1
export const AGREED_HAS_SETXATTR_EXT = 2
/** For workers that wait for INIT to start their rings: 0 wait, 1 begin, 2 there will be none. */
export const RINGS_STATE = 3
/** Whom a ring answered last; see native/place.cc. */
export const LAST_CALLER = 4
export const AGREED_IS_NO_OPENDIR = 5
const HEADER_WORDS = 16

/** Opcodes from here on count as opcode 0, "unknown". */
export const COUNTED_OPCODES = 64
/** Columns of a worker's row, each COUNTED_OPCODES numbers. */
export const COUNT_REQUESTS = 0
export const COUNT_ERRORS = COUNTED_OPCODES
export const COUNT_PARKED = 2 * COUNTED_OPCODES
const ROW = 3 * COUNTED_OPCODES
const DOUBLE_BYTES = 8

/** Returns the shared memory of a session of `workers` workers. */
export function createSessionShared(workers: number): SharedArrayBuffer {
  return new SharedArrayBuffer(HEADER_WORDS * 4 + workers * ROW * DOUBLE_BYTES)
}

/** Returns the header words. */
export function sharedHeader(shared: SharedArrayBuffer): Int32Array {
  return new Int32Array(shared, 0, HEADER_WORDS)
}

/** Returns the counters of one worker: COUNT_REQUESTS, COUNT_ERRORS, COUNT_PARKED + opcode. */
export function workerCounters(shared: SharedArrayBuffer, worker: number): Float64Array {
  return new Float64Array(shared, HEADER_WORDS * 4 + worker * ROW * DOUBLE_BYTES, ROW)
}

/** Writes the outcome of INIT for all workers: the agreed flags, or null for a refusal. */
export function shareAgreement(header: Int32Array, flags: number | null): void {
  header[AGREED_IS_NO_OPEN] = Number(flags !== null && hasFlag(flags, initFlags.FUSE_NO_OPEN_SUPPORT))
  const hasNoOpendir = flags !== null && hasFlag(flags, initFlags.FUSE_NO_OPENDIR_SUPPORT)
  header[AGREED_IS_NO_OPENDIR] = Number(hasNoOpendir)
  header[AGREED_HAS_SETXATTR_EXT] = Number(flags !== null && hasFlag(flags, initFlags.FUSE_SETXATTR_EXT))
  Atomics.store(header, AGREED_STATE, flags === null ? 2 : 1)
}

export type OpcodeCounts = { requests: number; errors: number; parked: number }

/** Returns the counts of all workers together, by opcode name without `FUSE_`, zero rows left out. */
export function sumCounters(shared: SharedArrayBuffer): Record<string, OpcodeCounts> {
  const workers = (shared.byteLength - HEADER_WORDS * 4) / (ROW * DOUBLE_BYTES)
  const sums: Record<string, OpcodeCounts> = {}
  const names = new Map<number, string>(Object.entries(opcodes).map(([name, code]) => [code, name.slice(5)]))
  for (let opcode = 0; opcode < COUNTED_OPCODES; opcode++) {
    const sum = { requests: 0, errors: 0, parked: 0 }
    for (let worker = 0; worker < workers; worker++) {
      const row = workerCounters(shared, worker)
      sum.requests += row[COUNT_REQUESTS + opcode]!
      sum.errors += row[COUNT_ERRORS + opcode]!
      sum.parked += row[COUNT_PARKED + opcode]!
    }
    if (sum.requests > 0) sums[names.get(opcode) ?? 'unknown'] = sum
  }
  return sums
}
