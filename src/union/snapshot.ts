// Directory snapshots: the merged list of a directory's entries, in a chain of shared blocks, so
// that READDIR may come to any worker.
//
// A snapshot never changes. The node keeps the current one until the directory is changed through
// the mount; every open handle that reads one keeps it too. Its entries are in the order of their keys,
// a hash of the name, and the key is the readdir cookie. So a cookie means the same in every snapshot of
// a directory: whoever goes on in a newer one (the kernel's cache mixes them) meets each name that stayed
// just once, as with the hashed directories of ext4. Layout of an entry: ino (2 words), type | layer << 8,
// name length, key, name bytes; 8-byte aligned. Block: next block, bytes used, references, flags; then
// entries. Lists for the union's own use are in no order and have no keys.

import { at, N_INFO, N_LINK_NEXT, T_DIR, TYPE_MASK } from './inode-table.js'
import { BLOCK_BYTES, H_COPIES } from './state.js'
import type { Tables } from './tables.js'

/** The node's word that holds its current snapshot (first block). */
export const N_SNAPSHOT = N_LINK_NEXT

export const B_NEXT = 0
export const B_USED = 1
export const B_REFERENCES = 2
export const B_FLAGS = 3
const BLOCK_HEAD = 16

/** Words of an entry. */
export const E_INO = 0
export const E_INFO = 2
export const E_LENGTH = 3
const E_KEY = 4
/** Byte of an entry where its name begins. */
export const E_NAME = 20

/** Names have keys from here on; below are those of `.` and `..`. */
const KEY_MIN = 16
/** Names of one hash have keys one after another; so much room is between hashes. */
const RANK_BITS = 6
const HASHES = 2 ** 24

/** The layers noted in the entries may be out of date: something below was copied up. */
export const SNAPSHOT_OLD_LAYERS = 1

/** Entry type of a name that is hidden: whiteouts, kept to hide the layers below. */
export const HIDDEN = 0xff

const BLOCK_WORDS = BLOCK_BYTES >> 2

/** Under the lock: returns an empty block, 0 when memory is out. */
function allocBlock(t: Tables): number {
  let block = t.blockSlabs.alloc(0, 1)
  if (block === 0) {
    dropIdle(t)
    block = t.blockSlabs.alloc(0, 1)
    if (block === 0) return 0
  }
  const b = block * BLOCK_WORDS
  t.blocks[b + B_NEXT] = 0
  t.blocks[b + B_USED] = BLOCK_HEAD
  t.blocks[b + B_REFERENCES] = 1
  t.blocks[b + B_FLAGS] = 0
  return block
}

/** Under the lock: lets go of all snapshots that are kept for the next reader only. */
function dropIdle(t: Tables): void {
  t.nodeSlabs.forUsed((from, to) => {
    for (let node = from; node < to; node++) {
      if ((t.nodes[at(node) + N_INFO]! & TYPE_MASK) !== T_DIR) continue
      const first = t.nodes[at(node) + N_SNAPSHOT]!
      if (first !== 0 && t.blocks[first * BLOCK_WORDS + B_REFERENCES] === 1) dropSnapshot(t, node)
    }
  })
}

/** Under the lock: gives back one reference to a snapshot. */
export function releaseSnapshot(t: Tables, first: number): void {
  if (--t.blocks[first * BLOCK_WORDS + B_REFERENCES]! > 0) return
  for (let block = first; block !== 0; ) {
    const next = t.blocks[block * BLOCK_WORDS + B_NEXT]!
    t.blockSlabs.free(block)
    block = next
  }
}

/** Under the lock: takes a reference. */
export function holdSnapshot(t: Tables, first: number): void {
  t.blocks[first * BLOCK_WORDS + B_REFERENCES]!++
}

/** Under the lock: the directory changed; its current snapshot is current no more. */
export function dropSnapshot(t: Tables, node: number): void {
  const first = t.nodes[at(node) + N_SNAPSHOT]!
  if (first === 0) return
  t.nodes[at(node) + N_SNAPSHOT] = 0
  releaseSnapshot(t, first)
}

/** Under the lock: some entry's real moved to the upper; names and inos stay as they are. */
export function ageSnapshot(t: Tables, node: number): void {
  t.header[H_COPIES]!++
  const first = t.nodes[at(node) + N_SNAPSHOT]!
  if (first !== 0) t.blocks[first * BLOCK_WORDS + B_FLAGS]! |= SNAPSHOT_OLD_LAYERS
}

/** Under the lock: the same for a snapshot that was being made when `copies` was read from H_COPIES. */
export function ageIfOld(t: Tables, first: number, copies: number): void {
  if (t.header[H_COPIES] !== copies) t.blocks[first * BLOCK_WORDS + B_FLAGS]! |= SNAPSHOT_OLD_LAYERS
}

export function isAged(t: Tables, first: number): boolean {
  return (t.blocks[first * BLOCK_WORDS + B_FLAGS]! & SNAPSHOT_OLD_LAYERS) !== 0
}

/** Writes a snapshot: entries are added one by one; private to its worker until it is published. */
export class SnapshotWriter {
  readonly #t: Tables
  first = 0
  #block = 0
  count = 0
  // Open-addressed set of entry places by name, for merging.
  #set = new Int32Array(256)

  constructor(t: Tables) {
    this.#t = t
  }

  /** Starts anew. Returns false when memory is out. */
  begin(): boolean {
    if (this.count > 0) {
      if (this.#set.length > 1 << 16) this.#set = new Int32Array(256)
      else this.#set.fill(0)
    }
    this.count = 0
    this.#t.lock()
    this.first = this.#block = allocBlock(this.#t)
    this.#t.unlock()
    return this.first !== 0
  }

  /** Throws the unfinished snapshot away. */
  abandon(): void {
    this.#t.lock()
    releaseSnapshot(this.#t, this.first)
    this.#t.unlock()
  }

  /** Returns the place (byte offset in blockBytes) of the entry with this name, or 0. */
  find(bytes: Uint8Array, name: number, length: number, hash: number): number {
    const mask = this.#set.length - 1
    const { blocks, blockBytes } = this.#t
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const place = this.#set[slot]!
      if (place === 0) return 0
      if (blocks[(place >> 2) + E_LENGTH] !== length) continue
      let i = 0
      while (i < length && blockBytes[place + E_NAME + i] === bytes[name + i]) i++
      if (i === length) return place
    }
  }

  /** Adds an entry. Returns its place, 0 when memory is out. */
  add(
    bytes: Uint8Array,
    name: number,
    length: number,
    hash: number,
    type: number,
    layer: number,
    lo: number,
    hi: number,
  ): number {
    const t = this.#t
    const place = this.#room(length)
    if (place === 0) return 0
    const w = place >> 2
    t.blocks[w + E_INO] = lo
    t.blocks[w + E_INO + 1] = hi
    t.blocks[w + E_INFO] = type | (layer << 8)
    t.blocks[w + E_LENGTH] = length
    for (let i = 0; i < length; i++) t.blockBytes[place + E_NAME + i] = bytes[name + i]!
    if (++this.count * 2 > this.#set.length) this.#grow(hashAt)
    const mask = this.#set.length - 1
    let slot = hash & mask
    while (this.#set[slot] !== 0) slot = (slot + 1) & mask
    this.#set[slot] = place
    return place
  }

  /** Returns the place for an entry at the end of the chain, 0 when memory is out. */
  #room(length: number): number {
    const t = this.#t
    const size = entrySize(length)
    let b = this.#block * BLOCK_WORDS
    if (t.blocks[b + B_USED]! + size > BLOCK_BYTES) {
      t.lock()
      const next = allocBlock(t)
      t.unlock()
      if (next === 0) return 0
      t.blocks[b + B_NEXT] = next
      this.#block = next
      b = next * BLOCK_WORDS
    }
    const place = this.#block * BLOCK_BYTES + t.blocks[b + B_USED]!
    t.blocks[b + B_USED]! += size
    return place
  }

  /**
   * Brings the entries that show into the order of their keys. Returns false when memory is out; then the
   * snapshot is still to be abandoned. No entry can be found or added afterwards.
   */
  sort(): boolean {
    const t = this.#t
    const order = this.#order()
    const unsorted = this.first
    t.lock()
    this.first = this.#block = allocBlock(t)
    t.unlock()
    let isWhole = this.first !== 0
    let key = 0
    for (let i = 0; i < order.length && isWhole; i++) {
      const from = (order[i]! % PLACES) * 8
      const length = t.blocks[(from >> 2) + E_LENGTH]!
      const next = Math.floor(order[i]! / PLACES)
      key = next <= DOT_DOT ? next : Math.max(key + 1, next * 2 ** RANK_BITS + KEY_MIN)
      const place = this.#room(length)
      isWhole = place !== 0
      if (!isWhole) break
      t.blockBytes.copyWithin(place, from, from + E_NAME + length)
      t.blocks[(place >> 2) + E_KEY] = key
    }
    t.lock()
    if (this.first !== 0) releaseSnapshot(t, isWhole ? unsorted : this.first)
    t.unlock()
    if (!isWhole) this.first = unsorted
    return isWhole
  }

  /** Returns hash and place of each entry that shows, both in one number, sorted; names of one hash by their bytes. */
  #order(): Float64Array {
    const { blocks, blockBytes } = this.#t
    let order = new Float64Array(this.count)
    let used = 0
    for (const place of this.#set) {
      if (place === 0 || (blocks[(place >> 2) + E_INFO]! & 0xff) === HIDDEN) continue
      order[used++] =
        sortHash(blockBytes, place + E_NAME, blocks[(place >> 2) + E_LENGTH]!) * PLACES + place / 8
    }
    order = order.subarray(0, used).sort()
    for (let i = 1; i < used; i++) {
      for (let j = i; j > 0 && Math.floor(order[j]! / PLACES) === Math.floor(order[j - 1]! / PLACES); j--) {
        if (this.#compare(order[j - 1]!, order[j]!) <= 0) break
        const other = order[j]!
        order[j] = order[j - 1]!
        order[j - 1] = other
      }
    }
    return order
  }

  #compare(one: number, other: number): number {
    const { blocks, blockBytes } = this.#t
    const [a, b] = [(one % PLACES) * 8, (other % PLACES) * 8]
    const name = (place: number) =>
      blockBytes.subarray(place + E_NAME, place + E_NAME + blocks[(place >> 2) + E_LENGTH]!)
    return Buffer.compare(name(a), name(b))
  }

  #grow(hashOf: (bytes: Uint8Array, name: number, length: number) => number): void {
    const old = this.#set
    this.#set = new Int32Array(old.length * 4)
    const mask = this.#set.length - 1
    for (const place of old) {
      if (place === 0) continue
      let slot = hashOf(this.#t.blockBytes, place + E_NAME, this.#t.blocks[(place >> 2) + E_LENGTH]!) & mask
      while (this.#set[slot] !== 0) slot = (slot + 1) & mask
      this.#set[slot] = place
    }
  }
}

/** As many as there can be places, in units of 8 bytes; times HASHES it is below 2^53. */
const PLACES = 2 ** 28
const DOT = 1
const DOT_DOT = 2

function entrySize(length: number): number {
  return (E_NAME + length + 7) & ~7
}

/** What entries are sorted by: some bits of the name's hash; `.` and `..` come first. */
function sortHash(bytes: Uint8Array, name: number, length: number): number {
  if (bytes[name] === 0x2e && length === 1) return DOT
  if (bytes[name] === 0x2e && bytes[name + 1] === 0x2e && length === 2) return DOT_DOT
  return DOT_DOT + 1 + ((hashAt(bytes, name, length) >>> 8) % (HASHES - DOT_DOT - 1))
}

/** Hash of a name among its siblings. */
export function hashAt(bytes: Uint8Array, name: number, length: number): number {
  let h = 0x811c9dc5
  for (let i = 0; i < length; i++) h = Math.imul(h ^ bytes[name + i]!, 0x01000193)
  h ^= h >>> 15
  h = Math.imul(h, 0x2c1b3c6d)
  return h ^ (h >>> 13)
}

/** Returns the place of a list's first entry, 0 when it has none. */
export function firstEntry(t: Tables, first: number): number {
  return t.blocks[first * BLOCK_WORDS + B_USED] === BLOCK_HEAD ? 0 : first * BLOCK_BYTES + BLOCK_HEAD
}

/** Returns the place of the entry behind the one at `place`, or 0 at the end. */
export function nextEntry(t: Tables, place: number): number {
  const next = place + entrySize(t.blocks[(place >> 2) + E_LENGTH]!)
  const block = Math.floor(place / BLOCK_BYTES)
  if (next < block * BLOCK_BYTES + t.blocks[block * BLOCK_WORDS + B_USED]!) return next
  const after = t.blocks[block * BLOCK_WORDS + B_NEXT]!
  return after === 0 ? 0 : firstEntry(t, after)
}

/** The cookie that means "after the entry at `place`". */
export function cookieOf(t: Tables, place: number): number {
  return t.blocks[(place >> 2) + E_KEY]!
}

/** Returns the place of a snapshot's first entry behind a cookie (0: the start), or 0 at the end. Any number is one. */
export function entryAfter(t: Tables, first: number, cookie: number): number {
  let block = first
  for (;;) {
    const next = t.blocks[block * BLOCK_WORDS + B_NEXT]!
    if (next === 0 || cookieOf(t, next * BLOCK_BYTES + BLOCK_HEAD) > cookie) break
    block = next
  }
  let place = firstEntry(t, block)
  while (place !== 0 && cookieOf(t, place) <= cookie) place = nextEntry(t, place)
  return place
}
