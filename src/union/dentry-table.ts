// Dentries: the binding of (parent, name) to a node. A node has one per name that the kernel has
// looked up. Open addressing with linear probing over dentry numbers; the table doubles in place
// at half load (every live record knows its hash). All functions need the table lock.

import { at, N_CHILDREN, N_DENTRY } from './inode-table.js'
import { DENTRY_WORDS, FIRST_SLOTS, H_DENTRY_LIVE, H_SLOTS } from './state.js'
import type { Tables } from './tables.js'

export const D_PARENT = 0
export const D_NAME = 1 // reference into the name arena
export const D_LENGTH = 2
export const D_HASH = 3
export const D_NODE = 4 // 0: the record is free
export const D_NEXT = 5 // next name of the same node; free: next in the free list

/** Hash of a name in a parent; FNV-1a over the bytes with a final mix. */
export function hashName(parent: number, bytes: Uint8Array, offset: number, length: number): number {
  let h = 0x811c9dc5 ^ parent
  for (let i = 0; i < length; i++) h = Math.imul(h ^ bytes[offset + i]!, 0x01000193)
  h ^= h >>> 15
  h = Math.imul(h, 0x2c1b3c6d)
  return h ^ (h >>> 13)
}

/** Returns the dentry of a name (bytes anywhere), or 0. */
export function findDentry(
  t: Tables,
  parent: number,
  hash: number,
  bytes: Uint8Array,
  offset: number,
  length: number,
): number {
  const mask = t.header[H_SLOTS]! - 1
  let slot = hash & mask
  for (;;) {
    const dentry = t.slots[slot]!
    if (dentry === 0) return 0
    const d = dentry * DENTRY_WORDS
    if (
      t.dentries[d + D_HASH] === hash &&
      t.dentries[d + D_PARENT] === parent &&
      t.dentries[d + D_LENGTH] === length
    ) {
      const name = t.names.bytes
      const start = -t.dentries[d + D_NAME]! * 8
      let i = 0
      while (i < length && name[start + i] === bytes[offset + i]) i++
      if (i === length) return dentry
    }
    slot = (slot + 1) & mask
  }
}

/** Binds a name that is not bound yet. Returns the dentry, or 0 when memory is out. */
export function addDentry(
  t: Tables,
  parent: number,
  hash: number,
  bytes: Uint8Array,
  offset: number,
  length: number,
  node: number,
): number {
  const name = t.names.store(bytes, offset, length)
  if (name === 0) return 0
  const dentry = t.dentrySlabs.alloc(0, 1)
  if (dentry === 0) {
    t.names.free(name)
    return 0
  }
  const d = dentry * DENTRY_WORDS
  t.dentries[d + D_PARENT] = parent
  t.dentries[d + D_NAME] = name
  t.dentries[d + D_LENGTH] = length
  t.dentries[d + D_HASH] = hash
  t.dentries[d + D_NODE] = node
  t.dentries[d + D_NEXT] = t.nodes[at(node) + N_DENTRY]!
  t.nodes[at(node) + N_DENTRY] = dentry
  t.nodes[at(parent) + N_CHILDREN]!++
  if (++t.header[H_DENTRY_LIVE]! * 2 > t.header[H_SLOTS]!) grow(t)
  else insert(t, hash, dentry)
  return dentry
}

/** Unbinds a name: takes it from the table and from its node's list, and frees it. */
export function removeDentry(t: Tables, dentry: number): void {
  const d = dentry * DENTRY_WORDS
  const node = t.dentries[d + D_NODE]!
  const n = at(node)
  if (t.nodes[n + N_DENTRY] === dentry) t.nodes[n + N_DENTRY] = t.dentries[d + D_NEXT]!
  else {
    let other = t.nodes[n + N_DENTRY]! * DENTRY_WORDS
    while (t.dentries[other + D_NEXT] !== dentry) other = t.dentries[other + D_NEXT]! * DENTRY_WORDS
    t.dentries[other + D_NEXT] = t.dentries[d + D_NEXT]!
  }
  take(t, dentry)
  t.nodes[at(t.dentries[d + D_PARENT]!) + N_CHILDREN]!--
  t.names.free(t.dentries[d + D_NAME]!)
  t.dentries[d + D_NODE] = 0
  t.dentrySlabs.free(dentry)
  t.header[H_DENTRY_LIVE]!--
}

/** Gives all names of one node to another. */
export function moveDentries(t: Tables, from: number, to: number): void {
  let dentry = t.nodes[at(from) + N_DENTRY]!
  t.nodes[at(to) + N_DENTRY] = dentry
  t.nodes[at(from) + N_DENTRY] = 0
  while (dentry !== 0) {
    t.dentries[dentry * DENTRY_WORDS + D_NODE] = to
    dentry = t.dentries[dentry * DENTRY_WORDS + D_NEXT]!
  }
}

function insert(t: Tables, hash: number, dentry: number): void {
  const mask = t.header[H_SLOTS]! - 1
  let slot = hash & mask
  while (t.slots[slot] !== 0) slot = (slot + 1) & mask
  t.slots[slot] = dentry
}

/** Backward-shift deletion: no tombstones, so probes stay short for ever. */
function take(t: Tables, dentry: number): void {
  const mask = t.header[H_SLOTS]! - 1
  let slot = t.dentries[dentry * DENTRY_WORDS + D_HASH]! & mask
  while (t.slots[slot] !== dentry) slot = (slot + 1) & mask
  let next = slot
  for (;;) {
    next = (next + 1) & mask
    const other = t.slots[next]!
    if (other === 0) break
    const home = t.dentries[other * DENTRY_WORDS + D_HASH]! & mask
    if (((next - home) & mask) >= ((next - slot) & mask)) {
      t.slots[slot] = other
      slot = next
    }
  }
  t.slots[slot] = 0
}

function grow(t: Tables): void {
  resize(t, t.header[H_SLOTS]! * 2)
}

/** Makes the table small again when few of its slots are used. Returns the slots it had, 0 when it stays. */
export function shrinkSlots(t: Tables): number {
  const slots = t.header[H_SLOTS]!
  const wanted = Math.max(FIRST_SLOTS, 2 ** Math.ceil(Math.log2(t.header[H_DENTRY_LIVE]! * 4 + 1)))
  if (wanted * 2 > slots) return 0
  resize(t, wanted)
  return slots
}

function resize(t: Tables, slots: number): void {
  t.slots.fill(0, 0, slots)
  t.header[H_SLOTS] = slots
  t.dentrySlabs.forUsed((from, to) => {
    for (let dentry = from; dentry < to; dentry++) {
      const d = dentry * DENTRY_WORDS
      if (t.dentries[d + D_NODE] !== 0) insert(t, t.dentries[d + D_HASH]!, dentry)
    }
  })
}
