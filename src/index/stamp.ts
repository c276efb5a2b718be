// Which directory an index is of. A layer never changes once it is imported, so its root tells: another
// directory, a copy, or one that was unpacked again has another inode, change time or birth time.

import { type BigIntStats, statSync } from 'node:fs'
import { STAMP_WORDS } from './format.js'
import { hashHex } from './hash.js'

export type Stamp = Int32Array

/** Returns the stamp of a directory that was looked at. */
export function stampOf({ ino, ctimeNs, birthtimeNs }: BigIntStats): Stamp {
  const stamp = new BigInt64Array([ino, ctimeNs, birthtimeNs])
  return new Int32Array(stamp.buffer, 0, STAMP_WORDS)
}

/** Returns the stamp of the directory behind an fd. */
export function stampOfFd(fd: number): Stamp {
  return stampOf(statSync(`/proc/self/fd/${fd}`, { bigint: true }))
}

/** Returns the stamps of a stack, top first, one behind the other. */
export function joinStamps(stamps: readonly Stamp[]): Stamp {
  const all = new Int32Array(stamps.length * STAMP_WORDS)
  for (const [i, stamp] of stamps.entries()) all.set(stamp, i * STAMP_WORDS)
  return all
}

/** Returns the name under which the index of these directories is kept. */
export function keyOf(stamps: Stamp): string {
  return hashHex(new Uint8Array(stamps.buffer, stamps.byteOffset, stamps.byteLength))
}
