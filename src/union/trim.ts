// Giving memory back: pages of the tables in which nothing is used any more, after the kernel forgot many
// nodes. At quiet moments, by one worker; the hot paths know nothing of it. The index's pages leave the process
// as well: they are the page cache's, and come back from there at a fault.
//
// Chunks are taken out of reach under the lock, their pages go without it, and they are put back as
// nobody's. Only the tail of the slots goes under the lock: the next growth would reach into it.

import { BLOCK } from '../index/format.js'
import type { Native } from '../sys/native.js'
import { shrinkSlots } from './dentry-table.js'
import { at, N_GENERATION } from './inode-table.js'
import type { Slabs } from './slabs.js'
import { BLOCK_BYTES, DENTRY_WORDS, H_GENERATION, H_SLOTS, NODE_WORDS, type UnionState } from './state.js'
import { Tables } from './tables.js'

/** Chunks out of reach at a time: few enough that nobody runs out of memory for it. */
const BATCH = 64
/** As many unused chunks, of 64 KiB, are worth the trouble. */
const WORTHWHILE = 16
const NAME_UNIT = 8

type Table = {
  readonly slabs: Slabs
  readonly bytes: Uint8Array
  readonly unitBytes: number
}

export class Trimmer {
  readonly #t: Tables
  readonly #sys: Native
  readonly #tables: readonly Table[]
  readonly #nodes: Slabs
  readonly #index: Uint8Array | undefined
  #unused = 0

  /** `index`: the mapped index of the mount's lowers. */
  constructor(state: UnionState, sys: Native, index?: Uint8Array) {
    this.#index = index
    const t = new Tables(state)
    this.#t = t
    this.#sys = sys
    this.#nodes = t.nodeSlabs
    this.#tables = [
      { slabs: t.nodeSlabs, bytes: new Uint8Array(state.nodes), unitBytes: NODE_WORDS * 4 },
      { slabs: t.dentrySlabs, bytes: new Uint8Array(state.dentries), unitBytes: DENTRY_WORDS * 4 },
      { slabs: t.blockSlabs, bytes: t.blockBytes, unitBytes: BLOCK_BYTES },
      { slabs: t.names.slabs, bytes: t.names.bytes, unitBytes: NAME_UNIT },
    ]
  }

  /** Asked from time to time: trims when enough is unused, and no more of it than at the last question. */
  look(): void {
    const before = this.#unused
    this.#unused = this.#tables.reduce((sum, { slabs }) => sum + slabs.countUnused(), 0)
    if (this.#unused >= WORTHWHILE && this.#unused <= before) this.trim()
    else this.#letIndexGo()
  }

  /** Gives everything back that can be. */
  trim(): void {
    for (const table of this.#tables) while (this.#trimSome(table));
    this.#trimSlots()
    this.#letIndexGo()
    this.#sys.trimHeap()
    this.#unused = 0
  }

  /** All but the page of the mapping's own, the last: see mapFile(). */
  #letIndexGo(): void {
    if (this.#index !== undefined) this.#sys.releasePages(this.#index, 0, this.#index.length - BLOCK)
  }

  #trimSome({ slabs, bytes, unitBytes }: Table): boolean {
    const t = this.#t
    t.lock()
    const chunks = slabs.takeUnused(BATCH)
    t.unlock()
    if (chunks.length === 0) return false
    let generation = 0
    for (let i = 0; i < chunks.length; ) {
      // Chunks come the last first; those side by side go together.
      let first = i
      while (first + 1 < chunks.length && chunks[first + 1] === chunks[first]! - 1) first++
      const from = slabs.unitOf(chunks[first]!)
      const to = Math.min(slabs.unitOf(chunks[i]! + 1), Math.floor(bytes.length / unitBytes))
      if (slabs === this.#nodes) generation = Math.max(generation, this.#newest(from, to))
      this.#sys.releasePages(bytes, from * unitBytes, to * unitBytes)
      i = first + 1
    }
    t.lock()
    slabs.putBack(chunks)
    // A nodeid must not come back with a generation that it had.
    t.header[H_GENERATION] = Math.max(t.header[H_GENERATION]!, (generation + 1) & 0x7fffffff)
    t.unlock()
    return chunks.length === BATCH
  }

  #newest(from: number, to: number): number {
    let newest = 0
    for (let node = from; node < to; node++)
      newest = Math.max(newest, this.#t.nodes[at(node) + N_GENERATION]!)
    return newest
  }

  #trimSlots(): void {
    const t = this.#t
    t.lock()
    const had = shrinkSlots(t)
    if (had > 0) {
      const slots = new Uint8Array(t.slots.buffer)
      this.#sys.releasePages(slots, t.header[H_SLOTS]! * 4, had * 4)
    }
    t.unlock()
  }
}
