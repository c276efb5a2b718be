// Directory snapshots: the merged list of a directory's entries, in a chain of shared blocks, so
// that READDIR may come to any worker.
//
// A snapshot never changes. The node keeps the current one until the directory is changed through
// the mount; every open handle that reads one keeps it too. An entry's place is its readdir cookie:
// handles of one directory share the snapshot, so a cookie that the kernel cached for one handle
// means the same for the next. Layout of an entry: ino (2 words), type | layer << 8, name length,
// name bytes; 8-byte aligned. Block: next block, bytes used, references, flags, first block of the
// chain (0 when free); then entries.

import { at, N_INFO, N_LINK_NEXT, T_DIR, TYPE_MASK } from './inode-table.js'
import { BLOCK_BYTES, H_COPIES } from './state.js'
import type { Tables } from './tables.js'

/** The node's word that holds its current snapshot (first block). */
export const N_SNAPSHOT = N_LINK_NEXT

export const B_NEXT = 0
export const B_USED = 1
export const B_REFERENCES = 2
export const B_FLAGS = 3
export const B_FIRST = 4
const BLOCK_HEAD = 24

/** The layers noted in the entries may be out of date: something below was copied up. */
export const SNAPSHOT_OLD_LAYERS = 1

/** Entry type of a name that is hidden: whiteouts, kept to hide the layers below. */
export const HIDDEN = 0xff

const BLOCK_WORDS = BLOCK_BYTES >> 2

/** Under the lock: returns an empty block of the chain `first` (0: its first), 0 when memory is out. */
function allocBlock(t: Tables, first: number): number {
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
  t.blocks[b + B_FIRST] = first === 0 ? block : first
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
    t.blocks[block * BLOCK_WORDS + B_FIRST] = 0
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
    this.first = this.#block = allocBlock(this.#t, 0)
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
      if (blocks[(place >> 2) + 3] !== length) continue
      let i = 0
      while (i < length && blockBytes[place + 16 + i] === bytes[name + i]) i++
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
    const size = (16 + length + 7) & ~7
    let b = this.#block * BLOCK_WORDS
    // A block is never filled to its last byte: a cookie must not look like the next block's.
    if (t.blocks[b + B_USED]! + size >= BLOCK_BYTES) {
      t.lock()
      const next = allocBlock(t, this.first)
      t.unlock()
      if (next === 0) return 0
      t.blocks[b + B_NEXT] = next
      this.#block = next
      b = next * BLOCK_WORDS
    }
    const place = this.#block * BLOCK_BYTES + t.blocks[b + B_USED]!
    t.blocks[b + B_USED]! += size
    const w = place >> 2
    t.blocks[w] = lo
    t.blocks[w + 1] = hi
    t.blocks[w + 2] = type | (layer << 8)
    t.blocks[w + 3] = length
    for (let i = 0; i < length; i++) t.blockBytes[place + 16 + i] = bytes[name + i]!
    if (++this.count * 2 > this.#set.length) this.#grow(hashAt)
    const mask = this.#set.length - 1
    let slot = hash & mask
    while (this.#set[slot] !== 0) slot = (slot + 1) & mask
    this.#set[slot] = place
    return place
  }

  #grow(hashOf: (bytes: Uint8Array, name: number, length: number) => number): void {
    const old = this.#set
    this.#set = new Int32Array(old.length * 4)
    const mask = this.#set.length - 1
    for (const place of old) {
      if (place === 0) continue
      let slot = hashOf(this.#t.blockBytes, place + 16, this.#t.blocks[(place >> 2) + 3]!) & mask
      while (this.#set[slot] !== 0) slot = (slot + 1) & mask
      this.#set[slot] = place
    }
  }
}

/** Hash of a name among its siblings. */
export function hashAt(bytes: Uint8Array, name: number, length: number): number {
  let h = 0x811c9dc5
  for (let i = 0; i < length; i++) h = Math.imul(h ^ bytes[name + i]!, 0x01000193)
  h ^= h >>> 15
  h = Math.imul(h, 0x2c1b3c6d)
  return h ^ (h >>> 13)
}

/**
 * Tells whether a cookie is one of a snapshot's. Users may seek to any number, and a cookie that the
 * kernel kept may be of a snapshot that is gone.
 */
export function isCookie(t: Tables, first: number, cookie: number): boolean {
  if (cookie === 0) return true
  const block = Math.floor((cookie * 8) / BLOCK_BYTES)
  if (block <= 0 || (block + 1) * BLOCK_BYTES > t.blockBytes.length) return false
  if (t.blocks[block * BLOCK_WORDS + B_FIRST] !== first) return false
  const place = cookie * 8
  const end = block * BLOCK_BYTES + t.blocks[block * BLOCK_WORDS + B_USED]!
  let entry = block * BLOCK_BYTES + BLOCK_HEAD
  while (entry < place && entry < end) entry = cookieAfter(t, entry) * 8
  return entry === place
}

/**
 * Returns the place of the first entry at or after a cookie (0: the start; else one that isCookie())
 * of a snapshot, or 0 at the end. Hidden entries are not passed over here.
 */
export function entryAfter(t: Tables, first: number, cookie: number): number {
  let block = cookie === 0 ? first : Math.floor((cookie * 8) / BLOCK_BYTES)
  let offset = cookie === 0 ? BLOCK_HEAD : (cookie * 8) % BLOCK_BYTES
  while (offset >= t.blocks[block * BLOCK_WORDS + B_USED]!) {
    block = t.blocks[block * BLOCK_WORDS + B_NEXT]!
    if (block === 0) return 0
    offset = BLOCK_HEAD
  }
  return block * BLOCK_BYTES + offset
}

/** The cookie that means "after the entry at `place`". */
export function cookieAfter(t: Tables, place: number): number {
  return (place + ((16 + t.blocks[(place >> 2) + 3]! + 7) & ~7)) >> 3
}
