// Reading directories: what READDIR and READDIRPLUS answer from the snapshots that merge-dir.ts makes.
//
// The kernel holds the directory's lock shared during a read, so names do not change under us; only copy-up
// may go on, which changes no name.

import { EAGAIN, ESTALE } from '../base/errno.js'
import { ATTR_WORDS, SCRATCH_DIRENTS, SCRATCH_STAT, STAT_MODE, STAT_NLINK, STAT_WORDS } from '../vfs/arena.js'
import { ENTRY_ATTR, ENTRY_BYTES } from '../vfs/file-system.js'
import { dirFd } from './address.js'
import { getAttr, overrideStat } from './attr.js'
import { bind, forget, writeEntry, writeEntryHead } from './bind.js'
import { D_NODE, findDentry, hashName } from './dentry-table.js'
import { N_STACKED } from './dir-stack.js'
import { noteListed, plusBytes } from './eagerness.js'
import { at, isLive, N_LOOKUPS, T_DIR } from './inode-table.js'
import { find, found, isDots, M_PRISTINE } from './lookup.js'
import { buildSnapshot } from './merge-dir.js'
import { isPristine } from './pristine.js'
import {
  ageIfOld,
  copyRecords,
  cursor,
  endReading,
  holdCurrent,
  isAged,
  layerHere,
  R_INO,
  R_LENGTH,
  R_NAME,
  R_TYPE,
  recordSize,
  seekAfter,
  setCurrent,
  step,
} from './snapshot.js'
import { DENTRY_WORDS, H_COPIES } from './state.js'
import type { Union } from './union.js'

/**
 * Returns the snapshot that a part from behind `cookie` on is read from, building it when needed, or -errno.
 * A reference to it is the caller's.
 */
function snapshotFor(u: Union, node: number, cookie: number): number {
  const t = u.t
  t.lock()
  const current = isLive(t, node) ? holdCurrent(t, node, cookie) : -ESTALE
  t.unlock()
  if (current !== 0) return current
  const copies = Atomics.load(t.header, H_COPIES)
  const built = buildSnapshot(u, node)
  if (built < 0) return built
  t.lock()
  ageIfOld(t, built, copies)
  setCurrent(t, node, built)
  t.unlock()
  return built
}

/** READDIR: whole fuse_dirent records at `out`. */
export function readDirectory(u: Union, node: number, cookie: number, out: number, capacity: number): number {
  const first = snapshotFor(u, node, cookie)
  if (first < 0) return first
  seekAfter(u.t, first, cookie)
  const used = copyRecords(u.t, u.bytes, out, capacity)
  noteListed(u.t, used)
  endReading(u.t, node, first, used)
  return used
}

/**
 * READDIRPLUS: the same, with a looked-up Entry before each record. First all records are written. What the
 * index can tell of is looked up by one native call; other files that are not known yet are noted, then
 * looked at in one native call for each layer, and bound.
 */
export function readDirectoryPlus(
  u: Union,
  node: number,
  cookie: number,
  out: number,
  capacity: number,
): number {
  const t = u.t
  const first = snapshotFor(u, node, cookie)
  if (first < 0) return first
  batch.copies = Atomics.load(t.header, H_COPIES)
  const used = copyWithRoom(u, first, cookie, out, plusBytes(t, capacity))
  const hasIndex = u.index !== null && t.nodes[at(node) + N_STACKED] !== 0
  if (!hasIndex || u.sys.enterRecords(node, out, used) !== 0)
    lookUp(u, node, first, cookie, out, used, hasIndex)
  endReading(t, node, first, used)
  return used
}

/** Copies whole records behind a cookie, each behind an empty Entry. Returns their bytes. */
function copyWithRoom(u: Union, first: number, cookie: number, out: number, room: number): number {
  const t = u.t
  let used = 0
  for (seekAfter(t, first, cookie); cursor.place !== 0; step(t)) {
    const r = cursor.place >> 2
    const record = recordSize(t.blocks[r + R_LENGTH]!)
    if (used + ENTRY_BYTES + record > room) break
    const entry = out + used
    const to = (entry + ENTRY_BYTES) >> 2
    u.u32.fill(0, entry >> 2, to)
    for (let i = 0; i < record >> 2; i++) u.i32[to + i] = t.blocks[r + i]!
    used += ENTRY_BYTES + record
  }
  return used
}

/** Fills the Entries that are empty among the records that copyWithRoom() wrote. */
function lookUp(
  u: Union,
  node: number,
  first: number,
  cookie: number,
  out: number,
  used: number,
  hasIndex: boolean,
): void {
  const t = u.t
  const isOld = isAged(t, first)
  batch.count = 0
  u.isListing = true
  seekAfter(t, first, cookie)
  for (let entry = out; entry < out + used; step(t)) {
    const r = cursor.place >> 2
    const type = t.blocks[r + R_TYPE]!
    const length = t.blocks[r + R_LENGTH]!
    const name = entry + ENTRY_BYTES + R_NAME
    const isDone = u.u32[entry >> 2] !== 0 || isDots(u.bytes, name, length)
    if (!isDone && !enterKnown(u, node, name, length, entry)) {
      const layer = layerHere(t)
      const isIndexed = hasIndex && layer >= u.indexBase
      if (type === T_DIR || isOld || isIndexed)
        enterFound(u, node, withNul(u, LONE_NAME, name, length), length, entry)
      else {
        if (batch.count === BATCH || (batch.count > 0 && batch.layer !== layer)) flushBatch(u, node)
        batch.layer = layer
        addToBatch(u, entry, name, length)
      }
    }
    entry += ENTRY_BYTES + recordSize(length)
  }
  flushBatch(u, node)
  u.isListing = false
}

/** Files of one layer that are to be looked at together. */
const BATCH = 256
const BATCH_LIST = SCRATCH_DIRENTS
const BATCH_STATS = SCRATCH_DIRENTS + BATCH * 8
const BATCH_NAMES = BATCH_STATS + BATCH * STAT_WORDS * 4
const LONE_NAME = BATCH_NAMES + BATCH * 256
const batch = { count: 0, layer: 0, copies: 0, entries: new Int32Array(BATCH) }

/** Copies a name of a record: the next one may follow it at once. Returns `copy`. */
function withNul(u: Union, copy: number, name: number, length: number): number {
  u.bytes.copyWithin(copy, name, name + length)
  u.bytes[copy + length] = 0
  return copy
}

function addToBatch(u: Union, entry: number, name: number, length: number): void {
  const i = batch.count++
  const copy = withNul(u, BATCH_NAMES + i * 256, name, length)
  batch.entries[i] = entry
  u.i32[(BATCH_LIST >> 2) + 2 * i] = copy
  u.i32[(BATCH_LIST >> 2) + 2 * i + 1] = BATCH_STATS + i * STAT_WORDS * 4
}

function flushBatch(u: Union, parent: number): void {
  const { count, layer } = batch
  batch.count = 0
  if (count === 0) return
  const fd = dirFd(u, parent, layer)
  if (fd < 0 || u.sys.statMany(fd, BATCH_LIST, count) < 0) return
  for (let i = 0; i < count; i++) {
    if (u.i32[(BATCH_LIST >> 2) + 2 * i]! < 0) continue
    const entry = batch.entries[i]!
    const record = (entry + ENTRY_BYTES) >> 2
    const w = (BATCH_STATS >> 2) + i * STAT_WORDS
    if (u.hasOverride) overrideStat(u, fd, BATCH_NAMES + i * 256, w)
    found.mode = u.u32[w + STAT_MODE]!
    found.nlink = u.u32[w + STAT_NLINK]!
    found.layer = layer
    found.markers = isPristine(u.t, parent) ? M_PRISTINE : 0
    found.ino[0] = u.i32[record + R_INO]!
    found.ino[1] = u.i32[record + R_INO + 1]!
    found.copies = batch.copies
    const length = u.i32[record + R_LENGTH]!
    if (enter(u, parent, entry, length, w) === -EAGAIN)
      enterFound(u, parent, BATCH_NAMES + i * 256, length, entry)
  }
}

/** Binds what `found` and the Stat at word `w` say, and fills the Entry. Returns what bind() does. */
function enter(u: Union, parent: number, entry: number, length: number, w: number): number {
  const node = bind(u, parent, entry + ENTRY_BYTES + R_NAME, length)
  if (node < 0) return node
  u.u32.copyWithin((entry + ENTRY_ATTR) >> 2, w, w + ATTR_WORDS)
  writeEntry(u, node, entry)
  return node
}

/** Fills the Entry of a name that is bound already. Returns false when it is not. */
function enterKnown(u: Union, parent: number, name: number, length: number, entry: number): boolean {
  const t = u.t
  t.lock()
  const dentry = findDentry(t, parent, hashName(parent, u.bytes, name, length), u.bytes, name, length)
  const node = dentry === 0 ? 0 : t.dentries[dentry * DENTRY_WORDS + D_NODE]!
  if (node !== 0) t.nodes[at(node) + N_LOOKUPS]!++
  t.unlock()
  if (node === 0) return false
  if (getAttr(u, node, SCRATCH_STAT) < 0) forget(u, node, 1)
  else {
    u.u32.copyWithin((entry + ENTRY_ATTR) >> 2, SCRATCH_STAT >> 2, (SCRATCH_STAT >> 2) + ATTR_WORDS)
    writeEntryHead(u, node, entry)
  }
  return true
}

/** Looks a name up in full; on failure the entry stays without attributes. */
function enterFound(u: Union, parent: number, name: number, length: number, entry: number): void {
  let node: number
  do {
    if (find(u, parent, name, length, SCRATCH_STAT) !== 0) return
    node = enter(u, parent, entry, length, SCRATCH_STAT >> 2)
  } while (node === -EAGAIN)
}
