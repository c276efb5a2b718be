// Reading directories: merging the reals' lists into a snapshot, and writing the records that
// READDIR and READDIRPLUS answer.
//
// See fs/overlayfs/readdir.c:ovl_dir_read_merged(). The kernel holds the directory's lock shared
// during a read, so names do not change under us; only copy-up may go on, which changes no name.

import { EBADF, ENOMEM, ESTALE, isAbsent } from '../base/errno.js'
import {
  ATTR_WORDS,
  SCRATCH_DIRENTS,
  SCRATCH_DIRENTS_CAPACITY,
  SCRATCH_STAT,
  STAT_DEV,
  STAT_MODE,
  STAT_NLINK,
  STAT_WORDS,
} from '../vfs/arena.js'
import { ENTRY_ATTR, ENTRY_BYTES } from '../vfs/file-system.js'
import { dirFd } from './address.js'
import { getAttr, overrideStat, showIno } from './attr.js'
import { bind, closeDoomed, forget, reap, writeEntry, writeEntryHead } from './bind.js'
import { D_NODE, D_PARENT, findDentry, hashName } from './dentry-table.js'
import { N_STACKED, readReals } from './dir-stack.js'
import { ASK_LAYERS, listIndexed } from './indexed.js'
import {
  at,
  F_DEAD,
  F_IMPURE,
  F_NAMELESS,
  isLive,
  N_DENTRY,
  N_INFO,
  N_INO,
  N_LOOKUPS,
  N_OPENS,
  T_CHR,
  T_DIR,
  T_REG,
} from './inode-table.js'
import {
  find,
  found,
  isDotWhiteout,
  isWhiteout,
  M_INO,
  M_OPAQUE,
  M_OPAQUE_X,
  M_REDIRECT,
  M_WHITEOUT,
  readMarkers,
  storedInoInto,
} from './lookup.js'
import { ENTRY_NAME } from './scratch.js'
import {
  ageIfOld,
  cookieOf,
  dropSnapshot,
  E_INFO,
  E_LENGTH,
  E_NAME,
  entryAfter,
  firstEntry,
  HIDDEN,
  hashAt,
  holdSnapshot,
  isAged,
  N_SNAPSHOT,
  nextEntry,
  releaseSnapshot,
  type SnapshotWriter,
} from './snapshot.js'
import { DENTRY_WORDS, DIR_HANDLE_WORDS, H_COPIES, H_DIR_CURSOR, H_DIR_FREE, ROOT } from './state.js'
import type { Union } from './union.js'

const FOPEN_KEEP_CACHE = 2
const FOPEN_CACHE_DIR = 8
const O_DIRECTORY = 0o200000
const DIRENT_HEAD = 24

// Words of a directory handle.
const DH_NODE = 0
const DH_SNAPSHOT = 1
const DH_NEXT = 2

/** Makes a directory handle; the list is read with the first READDIR. */
export function openDirectory(u: Union, node: number): number {
  const t = u.t
  t.lock()
  if (!isLive(t, node)) {
    t.unlock()
    return -ESTALE
  }
  let slot = t.header[H_DIR_FREE]!
  if (slot !== 0) t.header[H_DIR_FREE] = t.dirHandles[slot * DIR_HANDLE_WORDS + DH_NEXT]!
  else {
    slot = t.header[H_DIR_CURSOR]!
    if ((slot + 1) * DIR_HANDLE_WORDS > t.dirHandles.length) {
      t.unlock()
      return -ENOMEM
    }
    t.header[H_DIR_CURSOR] = slot + 1
  }
  const h = slot * DIR_HANDLE_WORDS
  const snapshot = t.nodes[at(node) + N_SNAPSHOT]!
  if (snapshot !== 0) holdSnapshot(t, snapshot)
  t.dirHandles[h + DH_NODE] = node
  t.dirHandles[h + DH_SNAPSHOT] = snapshot
  t.nodes[at(node) + N_OPENS]!++
  t.unlock()
  u.opened.handle = slot
  // The kernel drops what it kept when the directory changes; cookies stay good.
  u.opened.flags = FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE
  u.opened.backingId = 0
  return 0
}

export function closeDirectory(u: Union, slot: number): number {
  const t = u.t
  t.lock()
  const h = slot * DIR_HANDLE_WORDS
  const node = slot > 0 && slot < t.header[H_DIR_CURSOR]! ? t.dirHandles[h + DH_NODE]! : 0
  if (node !== 0) {
    if (t.dirHandles[h + DH_SNAPSHOT] !== 0) releaseSnapshot(t, t.dirHandles[h + DH_SNAPSHOT]!)
    t.dirHandles[h + DH_NODE] = 0
    t.dirHandles[h + DH_SNAPSHOT] = 0
    t.dirHandles[h + DH_NEXT] = t.header[H_DIR_FREE]!
    t.header[H_DIR_FREE] = slot
    if (--t.nodes[at(node) + N_OPENS]! === 0 && (t.nodes[at(node) + N_INFO]! & F_DEAD) !== 0) reap(u, node)
  }
  t.unlock()
  closeDoomed(u)
  return node === 0 ? -EBADF : 0
}

/** Returns the snapshot that a handle reads at `offset`, building it when needed, or -errno. */
function snapshotOf(u: Union, node: number, slot: number, offset: number): number {
  const t = u.t
  const h = slot * DIR_HANDLE_WORDS
  if (slot <= 0 || slot >= t.header[H_DIR_CURSOR]! || t.dirHandles[h + DH_NODE] !== node) return -EBADF
  t.lock()
  const own = t.dirHandles[h + DH_SNAPSHOT]!
  const current = t.nodes[at(node) + N_SNAPSHOT]!
  if (own !== 0 && (offset !== 0 || own === current)) {
    t.unlock()
    return own
  }
  // The start of a scan: whatever is current now, so that rewinddir shows what happened since.
  if (own !== 0) releaseSnapshot(t, own)
  if (current !== 0) holdSnapshot(t, current)
  t.dirHandles[h + DH_SNAPSHOT] = current
  t.unlock()
  if (current !== 0) return current
  const copies = Atomics.load(t.header, H_COPIES)
  const built = buildSnapshot(u, node)
  if (built < 0) return built
  t.lock()
  ageIfOld(t, built, copies)
  t.dirHandles[h + DH_SNAPSHOT] = built
  if (t.nodes[at(node) + N_SNAPSHOT] === 0) {
    holdSnapshot(t, built)
    t.nodes[at(node) + N_SNAPSHOT] = built
  }
  t.unlock()
  return built
}

const ino = new Int32Array(2)

/** Reads and merges the reals of a directory. Returns the snapshot's first block or -errno. */
export function buildSnapshot(u: Union, node: number): number {
  const { writer } = u
  if (!writer.begin()) return -ENOMEM
  addDots(u, writer, node)
  const t = u.t
  t.lock()
  const info = t.nodes[at(node) + N_INFO]!
  readReals(t, node, u.other)
  t.unlock()
  // A removed directory is empty, whatever lies below its old place.
  if ((info & F_NAMELESS) !== 0) u.other.count = 0
  const first = merge(u, writer, node)
  if (first < 0) return first
  if (writer.sort()) return writer.first
  writer.abandon()
  return -ENOMEM
}

/** The same for the lowers alone, without `.` and `..`. Sets `count.entries`. */
export function buildLowerSnapshot(u: Union, node: number, count: { entries: number }): number {
  const { lowerWriter } = u
  if (!lowerWriter.begin()) return -ENOMEM
  const t = u.t
  t.lock()
  readReals(t, node, u.other)
  t.unlock()
  if (u.isWritable && u.other.hasUpper) {
    u.other.layers.copyWithin(0, 1, u.other.count)
    u.other.count--
  }
  const first = merge(u, lowerWriter, node)
  count.entries = lowerWriter.count
  return first
}

/** Merges the reals in u.other, top first. Returns the first block or -errno. */
function merge(u: Union, w: SnapshotWriter, node: number): number {
  const count = u.index !== null && u.other.stacked !== 0 ? countAbove(u) : u.other.count
  const { stacked } = u.other
  const wasListing = u.isListing
  u.isListing = true
  const isMerged = u.other.count > 1
  let r = 0
  for (let i = 0; i < u.other.count && r >= 0; i++) {
    if (i === count) {
      r = listIndexed(u, w, stacked, (place, type, lowerIno) => {
        ino.set(lowerIno)
        if (type === T_DIR) adoptIno(u, node, place)
        else settle(u, place)
      })
      if (r !== ASK_LAYERS) break
    }
    const layer = u.other.layers[i]!
    const fd = dirFd(u, node, layer)
    r = fd < 0 ? fd : addReal(u, w, node, fd, layer, isMerged)
    if (isAbsent(r)) r = 0
  }
  u.isListing = wasListing
  if (r >= 0) return w.first
  w.abandon()
  return r
}

/** How many of the reals in u.other lie above the indexed ones. */
function countAbove(u: Union): number {
  let above = 0
  while (above < u.other.count && u.other.layers[above]! < u.indexBase) above++
  return above
}

function addDots(u: Union, w: SnapshotWriter, node: number): void {
  const t = u.t
  t.lock()
  const dentry = t.nodes[at(node) + N_DENTRY]!
  const parent = node === ROOT || dentry === 0 ? node : t.dentries[dentry * DENTRY_WORDS + D_PARENT]!
  const lo = t.nodes[at(node) + N_INO]!
  const hi = t.nodes[at(node) + N_INO + 1]!
  const parentLo = t.nodes[at(parent) + N_INO]!
  const parentHi = t.nodes[at(parent) + N_INO + 1]!
  t.unlock()
  u.bytes[ENTRY_NAME] = u.bytes[ENTRY_NAME + 1] = 0x2e
  w.add(u.bytes, ENTRY_NAME, 1, hashAt(u.bytes, ENTRY_NAME, 1), T_DIR, 0, lo, hi)
  w.add(u.bytes, ENTRY_NAME, 2, hashAt(u.bytes, ENTRY_NAME, 2), T_DIR, 0, parentLo, parentHi)
}

/** Adds the entries of one real. Returns 0 or -errno. */
function addReal(
  u: Union,
  w: SnapshotWriter,
  node: number,
  pathFd: number,
  layer: number,
  isMerged: boolean,
): number {
  const fd = u.sys.openAt(pathFd, 0, O_DIRECTORY)
  if (fd < 0) return fd
  let r = u.sys.statAt(fd, 0, SCRATCH_STAT)
  const device = u.u32[(SCRATCH_STAT >> 2) + STAT_DEV]!
  const markers = r < 0 ? r : readMarkers(u, fd, 0)
  const hasXattrWhiteouts = markers > 0 && (markers & M_OPAQUE_X) !== 0
  if (markers < 0) r = markers
  const whiteouts: Uint8Array[] = []
  while (r >= 0) {
    r = u.sys.getdents(fd, SCRATCH_DIRENTS, SCRATCH_DIRENTS_CAPACITY)
    if (r <= 0) break
    const end = SCRATCH_DIRENTS + r
    for (let d = SCRATCH_DIRENTS; d < end; d += u.bytes[d + 16]! | (u.bytes[d + 17]! << 8)) {
      const name = d + 19
      let length = 0
      while (u.bytes[name + length] !== 0) length++
      if (isDots(u.bytes, name, length)) continue
      if (isDotWhiteout(u.bytes, name, length)) {
        // Applies below this layer only: remembered until all of the layer's names are in.
        whiteouts.push(u.bytes.slice(name + 4, name + length))
        continue
      }
      const hash = hashAt(u.bytes, name, length)
      const place = w.find(u.bytes, name, length, hash)
      const lo = u.u32[d >> 2]!
      const hi = u.u32[(d >> 2) + 1]!
      showIno(u, lo, hi, device, ino)
      let type = u.bytes[d + 18]!
      if (place !== 0) {
        if (type === 0) type = Math.max(checkType(u, fd, name, hasXattrWhiteouts), 0)
        if (type === T_DIR) adoptIno(u, node, place)
        else settle(u, place)
        continue
      }
      if (type === 0 || type === T_CHR || (hasXattrWhiteouts && type === T_REG)) {
        const checked = checkType(u, fd, name, hasXattrWhiteouts)
        if (checked < 0) {
          if (isAbsent(checked)) continue
          r = checked
          break
        }
        type = checked
      }
      // Asked now: a copy-up sets the mark before its entry can be met.
      if (u.isUpper(layer) && type !== HIDDEN && (u.t.nodes[at(node) + N_INFO]! & F_IMPURE) !== 0) {
        const i = impureIno(u, node, fd, name, length, type)
        if (i < 0) {
          r = i
          break
        }
      }
      if (type === HIDDEN && !isMerged) continue
      if (w.add(u.bytes, name, length, hash, type, layer, ino[0]!, ino[1]!) === 0) {
        r = -ENOMEM
        break
      }
    }
  }
  u.sys.close(fd)
  if (r < 0) return r
  for (const name of whiteouts) {
    const hash = hashAt(name, 0, name.length)
    const place = w.find(name, 0, name.length, hash)
    if (place !== 0) settle(u, place)
    else if (name.length > 0) {
      if (w.add(name, 0, name.length, hash, HIDDEN, layer, 0, 0) === 0) return -ENOMEM
    }
  }
  return 0
}

function isDots(bytes: Uint8Array, name: number, length: number): boolean {
  return bytes[name] === 0x2e && (length === 1 || (length === 2 && bytes[name + 1] === 0x2e))
}

/** Returns the d_type of an entry that getdents leaves open, HIDDEN for a whiteout, or -errno. */
function checkType(u: Union, fd: number, name: number, hasXattrWhiteouts: boolean): number {
  const r = u.sys.statAt(fd, name, SCRATCH_STAT)
  if (r < 0) return r
  if (isWhiteout(u, SCRATCH_STAT >> 2)) return HIDDEN
  const type = u.u32[(SCRATCH_STAT >> 2) + STAT_MODE]! >>> 12
  if (hasXattrWhiteouts && type === T_REG) {
    const markers = readMarkers(u, fd, name)
    if (markers < 0) return markers
    if ((markers & M_WHITEOUT) !== 0) return HIDDEN
  }
  return type
}

/** In a directory with copied-up entries: puts the ino that the entry shows into `ino`. */
function impureIno(u: Union, node: number, fd: number, name: number, length: number, type: number): number {
  const markers = readMarkers(u, fd, name)
  if (markers < 0) return isAbsent(markers) ? 0 : markers
  if (type === T_DIR) {
    if ((markers & M_REDIRECT) === 0) return 0
    u.bytes.copyWithin(ENTRY_NAME, name, name + length + 1)
    if (find(u, node, ENTRY_NAME, length, SCRATCH_STAT) === 0) ino.set(found.ino)
  } else if ((markers & M_INO) !== 0) storedInoInto(ino)
  return 0
}

/** A name of the upper that is hidden or a file further down: it is not merged with what is below that. */
function settle(u: Union, place: number): void {
  const info = u.t.blocks[(place >> 2) + E_INFO]!
  if ((info & 0xff) === T_DIR && u.isUpper(info >>> 8)) u.t.blocks[(place >> 2) + E_INFO] = T_DIR | (1 << 8)
}

/** A name of the upper that is a directory below too: it shows the topmost lower's ino if merged. */
function adoptIno(u: Union, node: number, place: number): void {
  const t = u.t
  const word = place >> 2
  const info = t.blocks[word + E_INFO]!
  if ((info & 0xff) !== T_DIR || !u.isUpper(info >>> 8)) return
  const length = t.blocks[word + E_LENGTH]!
  for (let i = 0; i < length; i++) u.bytes[ENTRY_NAME + i] = t.blockBytes[place + E_NAME + i]!
  u.bytes[ENTRY_NAME + length] = 0
  const markers = readMarkers(u, dirFd(u, node, 0), ENTRY_NAME)
  // Noted as done by moving the entry's layer below the upper: the hint is for files only.
  settle(u, place)
  if (markers < 0 || (markers & (M_OPAQUE | M_REDIRECT)) !== 0) return
  t.blocks[word] = ino[0]!
  t.blocks[word + 1] = ino[1]!
}

/** READDIR: whole fuse_dirent records at `out`. */
export function readDirectory(
  u: Union,
  node: number,
  slot: number,
  offset: number,
  out: number,
  capacity: number,
): number {
  const t = u.t
  const first = snapshotOf(u, node, slot, offset)
  if (first < 0) return first
  let used = 0
  for (let place = entryAfter(t, first, offset); place !== 0; place = nextEntry(t, place)) {
    const w = place >> 2
    const type = t.blocks[w + E_INFO]! & 0xff
    const length = t.blocks[w + E_LENGTH]!
    const size = (DIRENT_HEAD + length + 7) & ~7
    if (used + size > capacity) return used
    writeDirent(u, place, out + used, type, length)
    used += size
  }
  return used
}

function writeDirent(u: Union, place: number, out: number, type: number, length: number): void {
  const t = u.t
  const o = out >> 2
  const w = place >> 2
  u.i32[o] = t.blocks[w]!
  u.i32[o + 1] = t.blocks[w + 1]!
  u.u32[o + 2] = cookieOf(t, place)
  u.u32[o + 3] = 0
  u.u32[o + 4] = length
  u.u32[o + 5] = type
  const to = out + DIRENT_HEAD
  const from = place + E_NAME
  for (let i = 0; i < length; i++) u.bytes[to + i] = t.blockBytes[from + i]!
  for (let i = length; i < length + 8; i++) u.bytes[to + i] = 0
}

/**
 * READDIRPLUS: the same, with a looked-up Entry before each record. First all records are written,
 * and files that are not known yet are noted; then these are looked at in one native call for each
 * layer, and bound.
 */
export function readDirectoryPlus(
  u: Union,
  node: number,
  slot: number,
  offset: number,
  out: number,
  capacity: number,
): number {
  const t = u.t
  const first = snapshotOf(u, node, slot, offset)
  if (first < 0) return first
  const isOld = isAged(t, first)
  const hasIndex = u.index !== null && t.nodes[at(node) + N_STACKED] !== 0
  let used = 0
  batch.count = 0
  u.isListing = true
  for (let place = entryAfter(t, first, offset); place !== 0; place = nextEntry(t, place)) {
    const w = place >> 2
    const info = t.blocks[w + E_INFO]!
    const type = info & 0xff
    const length = t.blocks[w + E_LENGTH]!
    const size = (ENTRY_BYTES + DIRENT_HEAD + length + 7) & ~7
    if (used + size > capacity) break
    const entry = out + used
    u.u32.fill(0, entry >> 2, (entry + ENTRY_BYTES) >> 2)
    writeDirent(u, place, entry + ENTRY_BYTES, type, length)
    const name = entry + ENTRY_BYTES + DIRENT_HEAD
    if (!isDots(u.bytes, name, length) && !enterKnown(u, node, name, length, entry)) {
      const isIndexed = hasIndex && info >>> 8 >= u.indexBase
      if (type === T_DIR || isOld || isIndexed) enterFound(u, node, name, length, entry)
      else {
        if (batch.count === BATCH || (batch.count > 0 && batch.layer !== info >>> 8)) flushBatch(u, node)
        batch.layer = info >>> 8
        addToBatch(u, entry, name, length, place)
      }
    }
    used += size
  }
  flushBatch(u, node)
  u.isListing = false
  return used
}

/** Files of one layer that are to be looked at together. */
const BATCH = 256
const BATCH_LIST = SCRATCH_DIRENTS
const BATCH_STATS = SCRATCH_DIRENTS + BATCH * 8
const BATCH_NAMES = BATCH_STATS + BATCH * STAT_WORDS * 4
const batch = { count: 0, layer: 0, entries: new Int32Array(BATCH), places: new Int32Array(BATCH) }

function addToBatch(u: Union, entry: number, name: number, length: number, place: number): void {
  const i = batch.count++
  // In the reply the next record may follow the name at once, without a NUL.
  const copy = BATCH_NAMES + i * 256
  u.bytes.copyWithin(copy, name, name + length)
  u.bytes[copy + length] = 0
  batch.entries[i] = entry
  batch.places[i] = place
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
    const place = batch.places[i]! >> 2
    const w = (BATCH_STATS >> 2) + i * STAT_WORDS
    if (u.hasOverride) overrideStat(u, fd, BATCH_NAMES + i * 256, w)
    found.mode = u.u32[w + STAT_MODE]!
    found.nlink = u.u32[w + STAT_NLINK]!
    found.layer = layer
    found.markers = 0
    found.ino[0] = u.t.blocks[place]!
    found.ino[1] = u.t.blocks[place + 1]!
    enter(u, parent, entry, u.t.blocks[place + E_LENGTH]!, w)
  }
}

/** Binds what `found` and the Stat at word `w` say, and fills the Entry. */
function enter(u: Union, parent: number, entry: number, length: number, w: number): void {
  const node = bind(u, parent, entry + ENTRY_BYTES + DIRENT_HEAD, length)
  if (node < 0) return
  u.u32.copyWithin((entry + ENTRY_ATTR) >> 2, w, w + ATTR_WORDS)
  writeEntry(u, node, entry)
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
  if (find(u, parent, name, length, SCRATCH_STAT) === 0) enter(u, parent, entry, length, SCRATCH_STAT >> 2)
}

/** Under the lock: the names in a directory changed. */
export function directoryChanged(u: Union, node: number): void {
  dropSnapshot(u.t, node)
}

/** Tells (1) whether a directory shows no entry, 0 when it does, or -errno. */
export function isEmpty(u: Union, node: number): number {
  const first = buildSnapshot(u, node)
  if (first < 0) return first
  const t = u.t
  let shown = 0
  for (let place = firstEntry(t, first); place !== 0 && shown < 3; place = nextEntry(t, place)) shown++
  t.lock()
  releaseSnapshot(t, first)
  t.unlock()
  return shown <= 2 ? 1 : 0
}
