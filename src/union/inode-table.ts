// Inode records: one 64-byte line per object that the kernel knows, found by its nodeid.
//
// A node is named by dentries (dentry-table.ts) and is real in one layer, or, if it is a directory,
// in several (dir-stack.ts). All functions here need the table lock.
//
// N_SEQ is even at rest. A worker that changes where a node is found (unlink, rename, copy-up)
// makes it odd first, works without the lock, and makes it even with the table updated. Whoever
// reads an address remembers N_SEQ and compares it after the system call. F_COPYING marks a data
// copy in flight, which may take long: others park instead of waiting.

import { H_GENERATION, H_NODE_LIVE, NODE_WORDS } from './state.js'
import type { Tables } from './tables.js'

export const N_GENERATION = 0
export const N_INFO = 1
export const N_LOOKUPS = 2 // references that the kernel holds, plus one per stale node that forwards here
export const N_DENTRY = 3 // first of its names, 0: none
export const N_LAYER = 4 // the layer where it is real, or with F_STACK a reference to the list of them
export const N_INO = 5 // st_ino as shown, two words
export const N_SEQ = 7
export const N_OPENS = 8 // open handles
export const N_BACKING = 9 // backing id + 1 of the open passthrough handles; 0: none, -1: in the making, or its data is being stored
export const N_IO = 10 // > 0: passthrough handles, < 0: cached ones (the kernel never mixes them)
export const N_PIN = 11 // O_PATH fd + 1 of a node without a name
export const N_CHILDREN = 12 // dentries whose parent this is
export const N_FORWARD = 13 // F_STALE: the node that took over; free: next in the free list
export const N_HIDDEN = 14 // names of a lower hard link that were removed
export const N_LINK_NEXT = 15 // chain of the link table; directories: current snapshot (first block)

export const TYPE_MASK = 0xf // S_IFMT >> 12
export const F_UPPER = 1 << 4 // real in the upper (a directory: there too)
export const F_NAMELESS = 1 << 5 // no dentry names it: reached by N_PIN
export const F_STALE = 1 << 6 // replaced at copy-up by N_FORWARD
export const F_COPYING = 1 << 7 // its data is being copied up
export const F_LINKED = 1 << 8 // in the link table
export const F_STACK = 1 << 9 // N_LAYER is a reference to a directory stack
export const F_IMPURE = 1 << 10 // upper directory: may hold objects with a stored ino or a redirect
export const F_LOWER_BACKING = 1 << 11 // N_BACKING is an id of the lower file
export const F_TWIN = 1 << 13 // stale, or heir of one: the kernel has two inodes of it and may keep attributes of neither
export const F_LIGHT = 1 << 17 // small file of a lower that could be opened: further readers get LIGHT_HANDLE
export const F_DEAD = 1 << 12 // freed as soon as the last handle is closed
// The next ones: see pristine.ts.
export const F_PRISTINE = 1 << 14 // of a tree that shows the lowers alone
export const F_TOUCHED = 1 << 15 // the upper has something at its path
export const F_ROOT = 1 << 16 // its reals are the layers' own roots

export const T_DIR = 4
export const T_CHR = 2
export const T_REG = 8
export const T_LNK = 10

/** Word index of a node's record. */
export function at(node: number): number {
  return node * NODE_WORDS
}

/** Tells whether a number from the kernel is a live node; anything else gets ESTALE. */
export function isLive(t: Tables, node: number): boolean {
  return node > 0 && node < t.maxNodes && t.nodes[node * NODE_WORDS + N_INFO]! !== 0
}

/** Returns a zeroed record of the given type with a new generation, or 0 when the table is full. */
export function allocNode(t: Tables, type: number): number {
  const node = t.nodeSlabs.alloc(0, 1)
  if (node === 0) return 0
  const n = node * NODE_WORDS
  const generation = t.nodes[n + N_GENERATION]!
  t.nodes.fill(0, n, n + NODE_WORDS)
  t.nodes[n + N_GENERATION] = generation === 0 ? t.header[H_GENERATION]! : (generation + 1) & 0x7fffffff
  t.nodes[n + N_INFO] = type
  t.header[H_NODE_LIVE]!++
  return node
}

/** Puts a record on the free list. Its dentries, list and pin are gone already. */
export function freeNode(t: Tables, node: number): void {
  const n = node * NODE_WORDS
  t.nodes[n + N_INFO] = 0
  t.nodeSlabs.free(node)
  t.header[H_NODE_LIVE]!--
}

// -- the link table: nodes of files with several names, found by their shown ino ------------------

function linkSlot(t: Tables, lo: number, hi: number): number {
  let h = Math.imul(lo, 0x9e3779b1) ^ Math.imul(hi, 0x85ebca6b)
  h ^= h >>> 15
  return h & (t.links.length - 1)
}

/**
 * Returns the live node of a multiply linked file, or 0. Names in different layers are different
 * nodes even of one inode (layers may share files): a node's names are all in its own layer.
 */
export function findLinked(t: Tables, lo: number, hi: number, layer: number): number {
  let node = t.links[linkSlot(t, lo, hi)]!
  while (node !== 0) {
    const n = node * NODE_WORDS
    const isSame = t.nodes[n + N_INO] === lo && t.nodes[n + N_INO + 1] === hi
    if (isSame && t.nodes[n + N_LAYER] === layer) return node
    node = t.nodes[n + N_LINK_NEXT]!
  }
  return 0
}

/** Tells whether a lower file is just being put in place in the upper, by all its names. */
export function isBeingPlaced(t: Tables, lo: number, hi: number): boolean {
  let node = t.links[linkSlot(t, lo, hi)]!
  while (node !== 0) {
    const n = node * NODE_WORDS
    const isSame = t.nodes[n + N_INO] === lo && t.nodes[n + N_INO + 1] === hi
    if (isSame && (t.nodes[n + N_INFO]! & F_COPYING) !== 0 && (t.nodes[n + N_SEQ]! & 1) !== 0) return true
    node = t.nodes[n + N_LINK_NEXT]!
  }
  return false
}

/** Makes a node findable by findLinked(). Idempotent. */
export function addLinked(t: Tables, node: number): void {
  const n = node * NODE_WORDS
  if ((t.nodes[n + N_INFO]! & F_LINKED) !== 0) return
  const slot = linkSlot(t, t.nodes[n + N_INO]!, t.nodes[n + N_INO + 1]!)
  t.nodes[n + N_LINK_NEXT] = t.links[slot]!
  t.links[slot] = node
  t.nodes[n + N_INFO]! |= F_LINKED
}

/** The reverse of addLinked(). */
export function removeLinked(t: Tables, node: number): void {
  const n = node * NODE_WORDS
  if ((t.nodes[n + N_INFO]! & F_LINKED) === 0) return
  const slot = linkSlot(t, t.nodes[n + N_INO]!, t.nodes[n + N_INO + 1]!)
  let previous = 0
  let other = t.links[slot]!
  while (other !== 0 && other !== node) {
    previous = other
    other = t.nodes[other * NODE_WORDS + N_LINK_NEXT]!
  }
  if (other === node) {
    if (previous === 0) t.links[slot] = t.nodes[n + N_LINK_NEXT]!
    else t.nodes[previous * NODE_WORDS + N_LINK_NEXT] = t.nodes[n + N_LINK_NEXT]!
  }
  t.nodes[n + N_LINK_NEXT] = 0
  t.nodes[n + N_INFO]! &= ~F_LINKED
}
