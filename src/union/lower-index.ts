// A directory's lowers as one table in memory: which layer has a name first. Lowers never change, so
// it is made once and stays until the node goes; then a missing name costs no system call and a file
// one, whatever the number of layers.
//
// Made when a directory with several lowers has been asked often enough that reading it is cheaper
// than going on to look into every layer. In the name arena: first block of the list (which the table
// holds), mask, and the slots: places of entries, found by name.

import { SCRATCH_STAT, STAT_SIZE } from '../vfs/arena.js'
import { dirFd } from './address.js'
import { releaseChain } from './block-chain.js'
import { E_INFO, E_LENGTH, E_NAME, firstEntry, HIDDEN, hashAt, nextEntry } from './dir-list.js'
import { at, N_BACKING, N_IO } from './inode-table.js'
import { buildLowerList } from './merge-dir.js'
import type { Tables } from './tables.js'
import type { Union } from './union.js'

/** Words of a directory's node that files use otherwise: the table (< 0) or the threshold; lookups so far. */
const N_TABLE = N_BACKING
const N_ASKED = N_IO

/** No lower shows this name. */
export const NOWHERE = -1
/** There is no table: look into the layers. */
export const UNKNOWN = -2

const FIRST_LOOK = 3
const NEVER = 0x7fffffff
/** Bytes of a directory per entry, about, on ext4. */
const BYTES_PER_ENTRY = 48
/** The largest list that is worth a table. */
const MAX_ENTRIES = 1 << 20

/**
 * Returns the topmost lower layer that has a name (with the whiteouts of lowers obeyed), NOWHERE, or
 * UNKNOWN. `u.reals` holds the directory's reals, of which those from index `from` on are lowers.
 */
export function firstLower(u: Union, node: number, name: number, length: number, from: number): number {
  const { nodes } = u.t
  const n = at(node)
  const table = nodes[n + N_TABLE]!
  if (table < 0) return search(u, table, name, length)
  if (u.isListing) return UNKNOWN
  const asked = ++nodes[n + N_ASKED]!
  if (asked < FIRST_LOOK) return UNKNOWN
  if (table === 0) setThreshold(u, n, threshold(u, node, from))
  if (asked < nodes[n + N_TABLE]!) return UNKNOWN
  const made = make(u, node)
  return made < 0 ? search(u, made, name, length) : UNKNOWN
}

/** Sets when the table is to be made, unless another worker has made it by now. */
function setThreshold(u: Union, n: number, threshold: number): void {
  u.t.lock()
  if (u.t.nodes[n + N_TABLE]! >= 0) u.t.nodes[n + N_TABLE] = threshold
  u.t.unlock()
}

/** How many lookups into the layers cost as much as reading the directories once. */
function threshold(u: Union, node: number, from: number): number {
  const lowers = u.reals.count - from
  let bytes = 0
  for (let i = from; i < u.reals.count; i++) {
    const fd = dirFd(u, node, u.reals.layers[i]!)
    if (fd >= 0 && u.sys.statAt(fd, 0, SCRATCH_STAT + 384) === 0)
      bytes += u.u32[((SCRATCH_STAT + 384) >> 2) + STAT_SIZE]!
  }
  const entries = bytes / BYTES_PER_ENTRY
  return entries > MAX_ENTRIES ? NEVER : FIRST_LOOK + Math.floor(entries / (3 * lowers))
}

/** Reads the lowers and publishes the table. Returns it (< 0), or 0 when that can't be. */
function make(u: Union, node: number): number {
  const t = u.t
  const n = at(node)
  const count = { entries: 0 }
  const first = buildLowerList(u, node, count)
  if (first < 0) {
    setThreshold(u, n, NEVER)
    return 0
  }
  const slots = 2 ** Math.ceil(Math.log2(count.entries * 2 + 2))
  t.lock()
  const other = t.nodes[n + N_TABLE]!
  const table = other < 0 ? 0 : t.names.alloc((slots + 2) * 4)
  if (table === 0) {
    releaseChain(t, first)
    if (other >= 0) t.nodes[n + N_TABLE] = NEVER
    t.unlock()
    return Math.min(other, 0)
  }
  t.unlock()
  fill(t, table, first, slots)
  t.lock()
  const raced = t.nodes[n + N_TABLE]!
  if (raced < 0) freeTable(t, table)
  else t.nodes[n + N_TABLE] = table
  t.unlock()
  return raced < 0 ? raced : table
}

function fill(t: Tables, table: number, first: number, slots: number): void {
  const { words } = t.names
  const base = -table * 2
  words[base] = first
  words[base + 1] = slots - 1
  words.fill(0, base + 2, base + 2 + slots)
  for (let place = firstEntry(t, first); place !== 0; place = nextEntry(t, place)) {
    let slot = hashAt(t.blockBytes, place + E_NAME, t.blocks[(place >> 2) + E_LENGTH]!) & (slots - 1)
    while (words[base + 2 + slot] !== 0) slot = (slot + 1) & (slots - 1)
    words[base + 2 + slot] = place
  }
}

function search(u: Union, table: number, name: number, length: number): number {
  const { words } = u.t.names
  const { blocks, blockBytes } = u.t
  const base = -table * 2
  const mask = words[base + 1]!
  for (let slot = hashAt(u.bytes, name, length) & mask; ; slot = (slot + 1) & mask) {
    const place = words[base + 2 + slot]!
    if (place === 0) return NOWHERE
    const w = place >> 2
    if (blocks[w + E_LENGTH] !== length) continue
    let i = 0
    while (i < length && blockBytes[place + E_NAME + i] === u.bytes[name + i]) i++
    if (i < length) continue
    const info = blocks[w + E_INFO]!
    return (info & 0xff) === HIDDEN ? NOWHERE : info >>> 8
  }
}

/** Under the lock: frees a directory's table, before the node goes. */
export function dropTable(t: Tables, node: number): void {
  const table = t.nodes[at(node) + N_TABLE]!
  if (table < 0) freeTable(t, table)
  t.nodes[at(node) + N_TABLE] = 0
}

function freeTable(t: Tables, table: number): void {
  const base = -table * 2
  releaseChain(t, t.names.words[base]!)
  t.names.free(table)
}
