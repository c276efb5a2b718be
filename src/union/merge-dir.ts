// What a directory shows: the lists of its reals merged, top first, into a snapshot.
//
// See fs/overlayfs/readdir.c:ovl_dir_read_merged(). The kernel holds the directory's lock shared
// during a read, so names do not change under us; only copy-up may go on, which changes no name.
// A plain directory is merged by one native call for each real (native/listing.cc); what needs a look at
// attributes, in here.

import { EAGAIN, ENOMEM, isAbsent } from '../base/errno.js'
import { O_DIRECTORY } from '../base/open-flags.js'
import type { IndexView } from '../index/view.js'
import { SCRATCH_DIRENTS, SCRATCH_DIRENTS_CAPACITY, SCRATCH_STAT, STAT_DEV, STAT_MODE } from '../vfs/arena.js'
import { dirFd } from './address.js'
import { deviceIndex, showIno } from './attr.js'
import { releaseChain } from './block-chain.js'
import { D_PARENT } from './dentry-table.js'
import { E_INFO, E_LENGTH, E_NAME, HIDDEN, hashAt, type ListWriter } from './dir-list.js'
import { readReals } from './dir-stack.js'
import { ASK_LAYERS, listIndexed } from './indexed.js'
import {
  at,
  F_IMPURE,
  F_NAMELESS,
  F_PRISTINE,
  F_TOUCHED,
  N_DENTRY,
  N_INFO,
  N_INO,
  T_CHR,
  T_DIR,
  T_REG,
} from './inode-table.js'
import {
  find,
  found,
  isDots,
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
import { setEntriesApart } from './pristine.js'
import { ENTRY_NAME } from './scratch.js'
import { cursor, seekAfter, sortList, step, takeListing } from './snapshot.js'
import { DENTRY_WORDS, ROOT } from './state.js'
import type { Union } from './union.js'

const ino = new Int32Array(2)
/** The inos of `.` and `..`, two words each. */
const dots = new Int32Array(4)

/** Reads and merges the reals of a directory. Returns the snapshot's first block or -errno. */
export function buildSnapshot(u: Union, node: number): number {
  const t = u.t
  t.lock()
  const info = t.nodes[at(node) + N_INFO]!
  readReals(t, node, u.other)
  readDots(u, node)
  t.unlock()
  // A removed directory is empty, whatever lies below its old place.
  if ((info & F_NAMELESS) !== 0) u.other.count = 0
  const plain = listPlain(u, node, info)
  if (plain !== 0) return plain
  const { writer } = u
  if (!writer.begin()) return -ENOMEM
  addDots(u, writer)
  const list = merge(u, writer, node)
  if (list < 0) return list
  const apart = (info & F_PRISTINE) === 0 ? 0 : setEntriesApart(u, writer, node)
  if (apart < 0) {
    writer.abandon()
    return apart
  }
  const snapshot = sortList(t, list)
  writer.abandon()
  return snapshot === 0 ? -ENOMEM : snapshot
}

/** The list of the lowers alone, without `.` and `..`. Sets `count.entries`. */
export function buildLowerList(u: Union, node: number, count: { entries: number }): number {
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

/** Tells (1) whether a directory shows no entry, 0 when it does, or -errno. */
export function isEmpty(u: Union, node: number): number {
  const first = buildSnapshot(u, node)
  if (first < 0) return first
  const t = u.t
  let shown = 0
  seekAfter(t, first, 0)
  for (; cursor.place !== 0 && shown < 3; step(t)) shown++
  t.lock()
  releaseChain(t, first)
  t.unlock()
  return shown <= 2 ? 1 : 0
}

/** Under the lock: fills `dots`. */
function readDots(u: Union, node: number): void {
  const t = u.t
  const dentry = t.nodes[at(node) + N_DENTRY]!
  const parent = node === ROOT || dentry === 0 ? node : t.dentries[dentry * DENTRY_WORDS + D_PARENT]!
  dots[0] = t.nodes[at(node) + N_INO]!
  dots[1] = t.nodes[at(node) + N_INO + 1]!
  dots[2] = t.nodes[at(parent) + N_INO]!
  dots[3] = t.nodes[at(parent) + N_INO + 1]!
}

function addDots(u: Union, w: ListWriter): void {
  u.bytes[ENTRY_NAME] = u.bytes[ENTRY_NAME + 1] = 0x2e
  for (const length of [1, 2]) {
    const lo = dots[2 * length - 2]!
    const hi = dots[2 * length - 1]!
    w.add(u.bytes, ENTRY_NAME, length, hashAt(u.bytes, ENTRY_NAME, length), T_DIR, 0, lo, hi)
  }
}

/**
 * Makes the snapshot of a directory whose reals, in u.other, are all plain. Returns its first block,
 * 0 when they are not, or -errno.
 */
function listPlain(u: Union, node: number, info: number): number {
  const { other, sys } = u
  const hasUpper = u.isWritable && other.hasUpper
  const isApart = (info & F_PRISTINE) !== 0 && (info & F_TOUCHED) !== 0
  if (isApart || (hasUpper && (info & F_IMPURE) !== 0)) return 0
  const isStacked = u.index !== null && other.stacked !== 0
  const count = isStacked ? countAbove(u) : other.count
  let r = sys.listBegin(Number(isStacked ? count > 0 : count > 1), Number(hasUpper))
  for (const length of [1, 2]) {
    u.bytes.fill(0x2e, ENTRY_NAME, ENTRY_NAME + length)
    u.bytes[ENTRY_NAME + length] = 0
    if (r >= 0) r = sys.listName(ENTRY_NAME, dots[2 * length - 2]! >>> 0, dots[2 * length - 1]! >>> 0)
  }
  for (let i = 0; i < count && r >= 0; i++) {
    const pathFd = dirFd(u, node, other.layers[i]!)
    r = pathFd < 0 ? pathFd : addPlain(u, pathFd, other.layers[i]!)
    if (isAbsent(r)) r = 0
  }
  if (isStacked && r >= 0) r = addIndexed(u, u.index!, other.stacked)
  if (r === -EAGAIN) return 0
  if (r < 0) return r
  sys.listSort()
  const snapshot = takeListing(u)
  return snapshot === 0 ? -ENOMEM : snapshot
}

/** Adds the lowers of an indexed directory to the native listing. Returns 0, -EAGAIN or another errno. */
function addIndexed(u: Union, view: IndexView, stacked: number): number {
  const isOneDevice = u.devices.every((device) => deviceIndex(u, device) === 0)
  if (u.config.hasXino && !isOneDevice) return -EAGAIN
  const d = view.dir(stacked)
  const range = d < 0 ? undefined : view.entriesOf(d)
  if (range === undefined) return -EAGAIN
  return u.sys.listEntries(range.entries, range.names, range.firstName, u.indexBase)
}

/** Adds one real to the native listing. Returns -EAGAIN when it is not plain, or another errno. */
function addPlain(u: Union, pathFd: number, layer: number): number {
  const { sys } = u
  const fd = sys.openAt(pathFd, 0, O_DIRECTORY)
  if (fd < 0) return fd
  let r = sys.statAt(fd, 0, SCRATCH_STAT)
  if (r >= 0) r = readMarkers(u, fd, 0)
  // Whiteouts in attributes; inos that are not shown as they are.
  if (r > 0 && (r & M_OPAQUE_X) !== 0) r = -EAGAIN
  const device = u.u32[(SCRATCH_STAT >> 2) + STAT_DEV]!
  if (r >= 0 && u.config.hasXino && deviceIndex(u, device) !== 0) r = -EAGAIN
  if (r >= 0) r = sys.listDirectory(fd, layer, SCRATCH_DIRENTS, SCRATCH_DIRENTS_CAPACITY)
  sys.close(fd)
  return r
}

/** Merges the reals in u.other, top first. Returns the first block or -errno. */
function merge(u: Union, w: ListWriter, node: number): number {
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

/** Adds the entries of one real. Returns 0 or -errno. */
function addReal(
  u: Union,
  w: ListWriter,
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
