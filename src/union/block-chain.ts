// Chains of shared blocks: where lists of names lie, so that any worker can read what one has made.
//
// A chain is known by its first block, which counts who holds it. All functions need the table lock.

import { at, N_INFO, N_LINK_NEXT, T_DIR, TYPE_MASK } from './inode-table.js'
import { BLOCK_BYTES } from './state.js'
import type { Tables } from './tables.js'

/** The word of a directory's node that holds its current snapshot (first block). */
export const N_SNAPSHOT = N_LINK_NEXT

// Words of a block.
export const B_NEXT = 0
export const B_USED = 1 // bytes from the block's start to the end of what it holds
export const B_REFERENCES = 2 // of the first one
export const B_FLAGS = 3 // of the first one
export const B_COUNT = 4 // records, in a snapshot
export const BLOCK_HEAD = 24

export const BLOCK_WORDS = BLOCK_BYTES >> 2

/** Returns an empty block, 0 when memory is out. */
export function allocBlock(t: Tables): number {
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
  t.blocks[b + B_COUNT] = 0
  return block
}

/** Takes a reference to a chain. */
export function holdChain(t: Tables, first: number): void {
  t.blocks[first * BLOCK_WORDS + B_REFERENCES]!++
}

/** Gives back one reference. */
export function releaseChain(t: Tables, first: number): void {
  if (--t.blocks[first * BLOCK_WORDS + B_REFERENCES]! > 0) return
  for (let block = first; block !== 0; ) {
    const next = t.blocks[block * BLOCK_WORDS + B_NEXT]!
    t.blockSlabs.free(block)
    block = next
  }
}

/** A directory's snapshot is current no more. */
export function dropSnapshot(t: Tables, node: number): void {
  const first = t.nodes[at(node) + N_SNAPSHOT]!
  if (first === 0) return
  t.nodes[at(node) + N_SNAPSHOT] = 0
  releaseChain(t, first)
}

/** Lets go of all snapshots that are kept for the next reader only. */
function dropIdle(t: Tables): void {
  t.nodeSlabs.forUsed((from, to) => {
    for (let node = from; node < to; node++) {
      if ((t.nodes[at(node) + N_INFO]! & TYPE_MASK) !== T_DIR) continue
      const first = t.nodes[at(node) + N_SNAPSHOT]!
      if (first !== 0 && t.blocks[first * BLOCK_WORDS + B_REFERENCES] === 1) dropSnapshot(t, node)
    }
  })
}
