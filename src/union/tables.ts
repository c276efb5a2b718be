// One worker's views of the shared tables, and the lock around them.
// Views are made once per worker: a view of a plain SharedArrayBuffer has a fixed length and costs
// as little as any array.

import { disableLock, lock, unlock } from '../base/lock.js'
import { NameArena } from './name-arena.js'
import { Slabs } from './slabs.js'
import {
  BLOCK_BYTES,
  DENTRY_WORDS,
  H_CHANGES,
  H_LOCK,
  NODE_WORDS,
  tableShapes,
  type UnionState,
} from './state.js'

/** The word of a free record that links it to the next: N_FORWARD, D_NEXT, B_NEXT. */
const NODE_LINK = 13
const DENTRY_LINK = 5
const BLOCK_LINK = 0

export class Tables {
  readonly header: Int32Array
  readonly nodes: Int32Array
  readonly dentries: Int32Array
  readonly slots: Int32Array
  readonly links: Int32Array
  readonly names: NameArena
  readonly handles: Int32Array
  readonly blocks: Int32Array
  readonly blockBytes: Uint8Array
  /** Which records and blocks are used. */
  readonly nodeSlabs: Slabs
  readonly dentrySlabs: Slabs
  readonly blockSlabs: Slabs
  readonly maxNodes: number

  constructor(state: UnionState) {
    this.header = new Int32Array(state.header)
    this.nodes = new Int32Array(state.nodes)
    this.dentries = new Int32Array(state.dentries)
    this.slots = new Int32Array(state.slots)
    this.links = new Int32Array(state.links)
    this.names = new NameArena(state.names, state.slabs.names)
    this.handles = new Int32Array(state.handles)
    this.blocks = new Int32Array(state.blocks)
    this.blockBytes = new Uint8Array(state.blocks)
    this.maxNodes = state.config.maxNodes
    const shapes = tableShapes(state.config.maxNodes)
    const { nodes, dentries, blocks } = state.slabs
    this.nodeSlabs = new Slabs(shapes.nodes, nodes, this.nodes, NODE_WORDS, NODE_LINK)
    this.dentrySlabs = new Slabs(shapes.dentries, dentries, this.dentries, DENTRY_WORDS, DENTRY_LINK)
    this.blockSlabs = new Slabs(shapes.blocks, blocks, this.blocks, BLOCK_BYTES >> 2, BLOCK_LINK)
    if (state.config.isUnlocked) disableLock()
  }

  lock(): void {
    lock(this.header, H_LOCK)
  }

  unlock(): void {
    unlock(this.header, H_LOCK)
  }

  /** Under the lock: announces that some odd node is even again. */
  announce(): void {
    Atomics.add(this.header, H_CHANGES, 1)
    Atomics.notify(this.header, H_CHANGES)
  }

  /** Gives the lock back and sleeps until the next announcement; the lock is not retaken. */
  unlockAndWait(): void {
    const seen = Atomics.load(this.header, H_CHANGES)
    this.unlock()
    Atomics.wait(this.header, H_CHANGES, seen, 1000)
  }
}
