// Directory snapshots: what a directory shows, in a chain of shared blocks, so that READDIR may come to
// any worker.
//
// The records of a snapshot never change. The node keeps the one that was made last, a short one until it
// was read to its end; after a change through the mount only those go on with it who are in the middle (on
// every change a scan of many names would make it anew, else), and who begins gets a new one. Its records
// are struct fuse_dirent, as READDIR sends them, in the order of their keys: a hash of the name, which is
// the readdir cookie. So a cookie means the same in every snapshot of a directory: whoever goes on in a newer
// one (the kernel's cache mixes them) meets each name that stayed just once, as with the hashed directories
// of ext4.
//
// A block holds records from its head on, and from its end backwards two bytes for each: the layer of
// its topmost real. native/listing.cc makes the same records of plain directories.

import { SCRATCH_DIRENTS } from '../vfs/arena.js'
import {
  allocBlock,
  B_COUNT,
  B_FLAGS,
  B_NEXT,
  B_USED,
  BLOCK_HEAD,
  BLOCK_WORDS,
  dropSnapshot,
  holdChain,
  N_SNAPSHOT,
  releaseChain,
} from './block-chain.js'
import { E_INFO, E_INO, E_LENGTH, E_NAME, firstEntry, HIDDEN, hashAt, nextEntry } from './dir-list.js'
import { at } from './inode-table.js'
import { dropKeptListing } from './notify.js'
import { BLOCK_BYTES, H_COPIES } from './state.js'
import type { Tables } from './tables.js'
import type { Union } from './union.js'

/** Words of a record, and the byte where its name begins. */
export const R_INO = 0
export const R_COOKIE = 2
export const R_LENGTH = 4
export const R_TYPE = 5
export const R_NAME = 24
const LAYER_BYTES = 2

/** Names have keys from here on; below are those of `.` and `..`. */
const KEY_MIN = 16
/** Names of one hash have keys one after another; so much room is between hashes. */
const RANK_BITS = 6
const HASHES = 2 ** 24
const DOT = 1
const DOT_DOT = 2

/** What is noted of names may be out of date: something was copied up, made, removed or moved. */
const SNAPSHOT_OLD = 1
/** Names were made or removed: no beginning for a scan. */
const SNAPSHOT_PAST = 2
/** Somebody has read some of it and has not been told that this was all. */
const SNAPSHOT_HALF_READ = 4

/** So many blocks hold what READDIRPLUS sends in 32 KiB, the room that opendir(3) takes: 190 names, about. */
const SHORT_BLOCKS = 8

export function recordSize(length: number): number {
  return (R_NAME + length + 7) & ~7
}

// -- reading -----------------------------------------------------------------------------------------

/** Where a thread reads: a record and its number in its block; `place` 0: at the end. */
export const cursor = { block: 0, place: 0, number: 0 }

function enter(t: Tables, block: number): void {
  const isEmpty = block === 0 || t.blocks[block * BLOCK_WORDS + B_COUNT] === 0
  cursor.block = block
  cursor.place = isEmpty ? 0 : block * BLOCK_BYTES + BLOCK_HEAD
  cursor.number = 0
}

/** Moves the cursor to the next record. */
export function step(t: Tables): void {
  const b = cursor.block * BLOCK_WORDS
  if (++cursor.number < t.blocks[b + B_COUNT]!)
    cursor.place += recordSize(t.blocks[(cursor.place >> 2) + R_LENGTH]!)
  else enter(t, t.blocks[b + B_NEXT]!)
}

/** Moves the cursor to a snapshot's first record behind a cookie; 0: the very first. Any number is a cookie. */
export function seekAfter(t: Tables, first: number, cookie: number): void {
  let block = first
  for (;;) {
    const next = t.blocks[block * BLOCK_WORDS + B_NEXT]!
    if (next === 0 || t.blocks[next * BLOCK_WORDS + (BLOCK_HEAD >> 2) + R_COOKIE]! > cookie) break
    block = next
  }
  enter(t, block)
  while (cursor.place !== 0 && t.blocks[(cursor.place >> 2) + R_COOKIE]! <= cookie) step(t)
}

/** The layer of the record at the cursor. */
export function layerHere(t: Tables): number {
  const place = (cursor.block + 1) * BLOCK_BYTES - (cursor.number + 1) * LAYER_BYTES
  return t.blockBytes[place]! | (t.blockBytes[place + 1]! << 8)
}

/** Copies whole records from the cursor on. Returns their bytes. */
export function copyRecords(t: Tables, bytes: Uint8Array, out: number, capacity: number): number {
  let used = 0
  while (cursor.place !== 0) {
    const end = cursor.block * BLOCK_BYTES + t.blocks[cursor.block * BLOCK_WORDS + B_USED]!
    let to = cursor.place
    while (to < end) {
      const next = to + recordSize(t.blocks[(to >> 2) + R_LENGTH]!)
      if (used + next - cursor.place > capacity) break
      to = next
    }
    bytes.set(t.blockBytes.subarray(cursor.place, to), out + used)
    used += to - cursor.place
    if (to < end) break
    enter(t, t.blocks[cursor.block * BLOCK_WORDS + B_NEXT]!)
  }
  return used
}

// -- current, held and out of date -------------------------------------------------------------------

function mark(t: Tables, first: number, flags: number): void {
  t.blocks[first * BLOCK_WORDS + B_FLAGS]! |= flags
}

/** Under the lock: some entry's real moved to the upper; names and inos stay as they are. */
export function ageSnapshot(t: Tables, node: number): void {
  t.header[H_COPIES]!++
  const first = t.nodes[at(node) + N_SNAPSHOT]!
  if (first !== 0) mark(t, first, SNAPSHOT_OLD)
}

/** Under the lock: the same for a snapshot that was being made when `copies` was read from H_COPIES. */
export function ageIfOld(t: Tables, first: number, copies: number): void {
  if (t.header[H_COPIES] !== copies) mark(t, first, SNAPSHOT_OLD)
}

/** Directories of which the kernel keeps half a listing that is past; filled under the lock. */
const halfListed: number[] = [] // one list per thread: modules are per worker

/** Under the lock: names in a directory were made or removed. Without it dropHalfListed() is to follow. */
export function directoryChanged(t: Tables, node: number): void {
  const first = t.nodes[at(node) + N_SNAPSHOT]!
  if (first === 0) return
  const flags = t.blocks[first * BLOCK_WORDS + B_FLAGS]!
  if ((flags & SNAPSHOT_HALF_READ) === 0) dropSnapshot(t, node)
  else {
    if ((flags & SNAPSHOT_PAST) === 0) halfListed.push(node)
    mark(t, first, SNAPSHOT_OLD | SNAPSHOT_PAST)
  }
}

/**
 * Without the lock, before the change is answered: has the kernel forget the beginnings of listings that
 * somebody is in the middle of. It would keep them together with what is read from here on, and go on in
 * there with who begins after the change (fs/fuse/readdir.c:fuse_readdir_cached() looks at a directory's
 * version at the start alone).
 */
export function dropHalfListed(u: Union): void {
  while (halfListed.length > 0) dropKeptListing(u, halfListed.pop()!)
}

/** Under the lock: takes a reference to the node's snapshot for who goes on behind a cookie. Returns it, 0: there is none for that. */
export function holdCurrent(t: Tables, node: number, cookie: number): number {
  const first = t.nodes[at(node) + N_SNAPSHOT]!
  const isPast = first !== 0 && (t.blocks[first * BLOCK_WORDS + B_FLAGS]! & SNAPSHOT_PAST) !== 0
  if (first === 0 || (isPast && cookie === 0)) return 0
  holdChain(t, first)
  return first
}

/** Under the lock: makes a new snapshot the node's. The reference of who made it stays that one's. */
export function setCurrent(t: Tables, node: number, first: number): void {
  dropSnapshot(t, node)
  holdChain(t, first)
  t.nodes[at(node) + N_SNAPSHOT] = first
}

/** Gives back a reference to a node's snapshot, after a part of `bytes` was read: none at the end. */
export function endReading(t: Tables, node: number, first: number, bytes: number): void {
  t.lock()
  const b = first * BLOCK_WORDS + B_FLAGS
  if (bytes > 0) t.blocks[b]! |= SNAPSHOT_HALF_READ
  else {
    t.blocks[b]! &= ~SNAPSHOT_HALF_READ
    if (t.nodes[at(node) + N_SNAPSHOT] === first && isShort(t, first)) dropSnapshot(t, node)
  }
  releaseChain(t, first)
  t.unlock()
}

/**
 * Tells whether a snapshot is not worth its memory once it was read: the kernel keeps the listing, most
 * readers get all of it in one part, and making it anew is quick.
 */
function isShort(t: Tables, first: number): boolean {
  let block = first
  for (let i = 0; i < SHORT_BLOCKS && block !== 0; i++) block = t.blocks[block * BLOCK_WORDS + B_NEXT]!
  return block === 0
}

export function isAged(t: Tables, first: number): boolean {
  return (t.blocks[first * BLOCK_WORDS + B_FLAGS]! & SNAPSHOT_OLD) !== 0
}

// -- making ------------------------------------------------------------------------------------------

/** The chain of a snapshot while it is made. */
class Chain {
  first = 0
  last = 0
  readonly #t: Tables

  constructor(t: Tables) {
    this.#t = t
  }

  /** Adds a block. Returns false when memory is out, with nothing left of the chain. */
  extend(): boolean {
    const t = this.#t
    t.lock()
    const block = allocBlock(t)
    if (block === 0 && this.first !== 0) releaseChain(t, this.first)
    t.unlock()
    if (block === 0) return false
    if (this.first === 0) this.first = block
    else t.blocks[this.last * BLOCK_WORDS + B_NEXT] = block
    this.last = block
    return true
  }
}

/** Makes a snapshot of what native listSort() has ready. Returns its first block, 0 when memory is out. */
export function takeListing(u: Union): number {
  const { t } = u
  const room = BLOCK_BYTES - BLOCK_HEAD
  const chain = new Chain(t)
  for (;;) {
    const taken = u.sys.listTake(SCRATCH_DIRENTS, room)
    if (taken <= 0) return chain.first
    if (!chain.extend()) return 0
    const from = u.bytes.subarray(SCRATCH_DIRENTS, SCRATCH_DIRENTS + room)
    t.blockBytes.set(from, chain.last * BLOCK_BYTES + BLOCK_HEAD)
    t.blocks[chain.last * BLOCK_WORDS + B_USED] = BLOCK_HEAD + (taken & 0xffff)
    t.blocks[chain.last * BLOCK_WORDS + B_COUNT] = taken >>> 16
  }
}

/** Makes a snapshot of the names that a list shows. Returns its first block, 0 when memory is out. */
export function sortList(t: Tables, list: number): number {
  const chain = new Chain(t)
  if (!chain.extend()) return 0
  let key = 0
  for (const { part, place } of order(t, list)) {
    key = part <= DOT_DOT ? part : Math.max(key + 1, part * 2 ** RANK_BITS + KEY_MIN)
    if (!append(t, chain, place, key)) return 0
  }
  return chain.first
}

/** Writes the record of the list's entry at `from`. Returns false when memory is out. */
function append(t: Tables, chain: Chain, from: number, key: number): boolean {
  const e = from >> 2
  const length = t.blocks[e + E_LENGTH]!
  const size = recordSize(length)
  let b = chain.last * BLOCK_WORDS
  if (t.blocks[b + B_USED]! + size + (t.blocks[b + B_COUNT]! + 1) * LAYER_BYTES > BLOCK_BYTES) {
    if (!chain.extend()) return false
    b = chain.last * BLOCK_WORDS
  }
  const place = chain.last * BLOCK_BYTES + t.blocks[b + B_USED]!
  const r = place >> 2
  t.blocks[r + R_INO] = t.blocks[e + E_INO]!
  t.blocks[r + R_INO + 1] = t.blocks[e + E_INO + 1]!
  t.blocks[r + R_COOKIE] = key
  t.blocks[r + R_COOKIE + 1] = 0
  t.blocks[r + R_LENGTH] = length
  t.blocks[r + R_TYPE] = t.blocks[e + E_INFO]! & 0xff
  t.blockBytes.fill(0, place + size - 8, place + size)
  t.blockBytes.copyWithin(place + R_NAME, from + E_NAME, from + E_NAME + length)
  t.blocks[b + B_USED]! += size
  const layer = t.blocks[e + E_INFO]! >>> 8
  const note = (chain.last + 1) * BLOCK_BYTES - ++t.blocks[b + B_COUNT]! * LAYER_BYTES
  t.blockBytes[note] = layer & 0xff
  t.blockBytes[note + 1] = layer >>> 8
  return true
}

type Placed = { readonly part: number; readonly place: number }

/** Returns the entries of a list that show in the order of their keys; names of one hash by their bytes. */
function order(t: Tables, list: number): Placed[] {
  const placed: Placed[] = []
  for (let place = firstEntry(t, list); place !== 0; place = nextEntry(t, place)) {
    const w = place >> 2
    if ((t.blocks[w + E_INFO]! & 0xff) === HIDDEN) continue
    placed.push({ part: keyPart(t.blockBytes, place + E_NAME, t.blocks[w + E_LENGTH]!), place })
  }
  return placed.sort((a, b) => a.part - b.part || compareNames(t, a.place, b.place))
}

function compareNames(t: Tables, a: number, b: number): number {
  const name = (place: number) =>
    t.blockBytes.subarray(place + E_NAME, place + E_NAME + t.blocks[(place >> 2) + E_LENGTH]!)
  return Buffer.compare(name(a), name(b))
}

/** What keys are made from: some bits of the name's hash; `.` and `..` come first. */
function keyPart(bytes: Uint8Array, name: number, length: number): number {
  if (bytes[name] === 0x2e && length === 1) return DOT
  if (bytes[name] === 0x2e && bytes[name + 1] === 0x2e && length === 2) return DOT_DOT
  return DOT_DOT + 1 + ((hashAt(bytes, name, length) >>> 8) % (HASHES - DOT_DOT - 1))
}
