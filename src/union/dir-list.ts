// Lists of names as they are made: entries one after another in a chain of blocks, in no order, each name
// once, with the hidden ones that hide what lies below. For merging, and for lower-index.ts.
//
// Layout of an entry: ino (2 words), type | layer << 8, name length, name bytes; 8-byte aligned.

import { allocBlock, B_NEXT, B_USED, BLOCK_HEAD, BLOCK_WORDS, releaseChain } from './block-chain.js'
import { BLOCK_BYTES } from './state.js'
import type { Tables } from './tables.js'

/** Words of an entry. */
export const E_INO = 0
export const E_INFO = 2
export const E_LENGTH = 3
/** Byte of an entry where its name begins. */
export const E_NAME = 16

/** Entry type of a name that is hidden: whiteouts, kept to hide the layers below. */
export const HIDDEN = 0xff

const FIRST_SLOTS = 256
/** A larger set is not kept for the next list. */
const KEPT_SLOTS = 1 << 16

/** Hash of a name among its siblings. */
export function hashAt(bytes: Uint8Array, name: number, length: number): number {
  let h = 0x811c9dc5
  for (let i = 0; i < length; i++) h = Math.imul(h ^ bytes[name + i]!, 0x01000193)
  h ^= h >>> 15
  h = Math.imul(h, 0x2c1b3c6d)
  return h ^ (h >>> 13)
}

function entrySize(length: number): number {
  return (E_NAME + length + 7) & ~7
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

/** Writes a list; private to its worker until its chain is given to others. */
export class ListWriter {
  readonly #t: Tables
  /** The chain, from begin() on; a reference to it is the caller's. */
  first = 0
  count = 0
  #block = 0
  /** Open-addressed set of entry places by name. */
  #set = new Int32Array(FIRST_SLOTS)

  constructor(t: Tables) {
    this.#t = t
  }

  /** Starts anew. Returns false when memory is out. */
  begin(): boolean {
    if (this.#set.length > KEPT_SLOTS) this.#set = new Int32Array(FIRST_SLOTS)
    else if (this.count > 0) this.#set.fill(0)
    this.count = 0
    this.#t.lock()
    this.first = this.#block = allocBlock(this.#t)
    this.#t.unlock()
    return this.first !== 0
  }

  /** Lets go of the chain. */
  abandon(): void {
    this.#t.lock()
    releaseChain(this.#t, this.first)
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

  /** Adds an entry that is not there. Returns its place, 0 when memory is out. */
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
    const place = this.#room(entrySize(length))
    if (place === 0) return 0
    const w = place >> 2
    t.blocks[w + E_INO] = lo
    t.blocks[w + E_INO + 1] = hi
    t.blocks[w + E_INFO] = type | (layer << 8)
    t.blocks[w + E_LENGTH] = length
    for (let i = 0; i < length; i++) t.blockBytes[place + E_NAME + i] = bytes[name + i]!
    if (++this.count * 2 > this.#set.length) this.#grow()
    this.#put(place, hash)
    return place
  }

  #put(place: number, hash: number): void {
    const mask = this.#set.length - 1
    let slot = hash & mask
    while (this.#set[slot] !== 0) slot = (slot + 1) & mask
    this.#set[slot] = place
  }

  /** Returns the place for an entry at the end of the chain, 0 when memory is out. */
  #room(size: number): number {
    const t = this.#t
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

  #grow(): void {
    const old = this.#set
    this.#set = new Int32Array(old.length * 4)
    const { blocks, blockBytes } = this.#t
    for (const place of old) {
      if (place === 0) continue
      this.#put(place, hashAt(blockBytes, place + E_NAME, blocks[(place >> 2) + E_LENGTH]!))
    }
  }
}
