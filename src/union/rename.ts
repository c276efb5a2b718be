// rename, RENAME_NOREPLACE and RENAME_EXCHANGE. See fs/overlayfs/dir.c:ovl_rename().
//
// What moves is copied up first: a file whole, a directory alone, with a redirect to where its
// lowers stay. So a lower tree of any size moves in one step. The one renameat2(2) that makes the
// change visible also leaves the whiteout at the old name; all preparations before it change no view.

import { EEXIST, EINVAL, ENOENT, ENOMEM, ENOTEMPTY, EPERM, EXDEV } from '../base/errno.js'
import { O_DIRECTORY, O_PATH } from '../base/open-flags.js'
import { SCRATCH_VALUE } from '../vfs/arena.js'
import { dirFd } from './address.js'
import { findBound } from './bind.js'
import { beginChange, cancelChange, endChange, hasLower, nodeOf, unname } from './change.js'
import { copyUp, markImpure, upperDir } from './copy-up.js'
import { addDentry, findDentry, hashName, removeDentry } from './dentry-table.js'
import { freeReals, readReals, writeReals } from './dir-stack.js'
import { noteRemovedLink } from './hard-links.js'
import { at, F_STACK, F_UPPER, N_INFO, N_LAYER, T_DIR, TYPE_MASK } from './inode-table.js'
import { isDotWhiteout, layerPath } from './lookup.js'
import { isEmpty } from './merge-dir.js'
import { dropKeptListing } from './notify.js'
import { lowerPlace, PATH_BYTES } from './redirect.js'
import { topOf } from './remove.js'
import { NEW_NAME, OLD_NAME } from './scratch.js'
import { directoryChanged, dropHalfListed } from './snapshot.js'
import { H_MOVES } from './state.js'
import { type Union, YES_AT } from './union.js'
import { hide, isWhiteoutAt, removeDot } from './whiteout.js'

const RENAME_NOREPLACE = 1
const RENAME_EXCHANGE = 2
const RENAME_WHITEOUT = 4

/** One end of a rename. */
type End = { parent: number; dir: number; name: number; length: number; node: number; hasLower: number }
const from: End = { parent: 0, dir: 0, name: 0, length: 0, node: 0, hasLower: 0 }
const to: End = { parent: 0, dir: 0, name: 0, length: 0, node: 0, hasLower: 0 }

export function renameNode(
  u: Union,
  parent: number,
  name: number,
  length: number,
  newParent: number,
  newName: number,
  newLength: number,
  flags: number,
): number {
  // RENAME_WHITEOUT by a user would make a whiteout of our own kind (kernel: EINVAL).
  if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) !== 0) return -EINVAL
  if (flags === (RENAME_NOREPLACE | RENAME_EXCHANGE)) return -EINVAL
  // Such a name would be a whiteout at the next mount.
  if (isDotWhiteout(u.bytes, newName, newLength)) return -EPERM
  const isExchange = (flags & RENAME_EXCHANGE) !== 0
  // The names are kept where no other step writes.
  u.bytes.copyWithin(OLD_NAME, name, name + length + 1)
  u.bytes.copyWithin(NEW_NAME, newName, newName + newLength + 1)
  let r = openEnd(u, from, parent, OLD_NAME, length, true)
  if (r === 0) r = openEnd(u, to, newParent, NEW_NAME, newLength, isExchange)
  if (r !== 0) return r
  if (to.node !== 0 && (flags & RENAME_NOREPLACE) !== 0) return -EEXIST
  if (to.node === from.node) return 0
  if (!isExchange && to.node !== 0 && isDir(u, to.node)) {
    const empty = isEmpty(u, to.node)
    if (empty < 0) return empty
    if (empty === 0) return -ENOTEMPTY
  }
  r = bringUp(u, from)
  if (r === 0 && isExchange) r = bringUp(u, to)
  if (r !== 0) return r
  // Both directories again: copy-up may have taken steps since.
  from.dir = upperDir(u, parent)
  to.dir = upperDir(u, newParent)
  if (from.dir < 0 || to.dir < 0) return Math.min(from.dir, to.dir)
  const fromFd = upperFdOf(u, from.node)
  if (fromFd < 0 && fromFd !== NO_FD) return fromFd
  const toFd = upperFdOf(u, to.node)
  if (toFd < 0 && toFd !== NO_FD) return toFd
  if (to.node !== 0 && isDir(u, to.node) && toFd === NO_FD) {
    // An empty lower directory: who has it open keeps it.
    victim = dirFd(u, to.node, topOf(u, to.node))
    if (victim < 0) return victim
  }
  if (to.node !== 0 && !isDir(u, to.node)) {
    // Opened now: pinVictim() must not wait for it.
    r = dirFd(u, newParent, isUpper(u, to.node) ? 0 : layerOf(u, to.node))
    if (r >= 0 && !isExchange) r = noteRemovedLink(u, to.node)
    if (r < 0) return r
  }
  r = beginChange(u, from.node, to.node)
  if (r !== 0) return r
  if (to.node !== 0 && findBound(u, newParent, NEW_NAME, newLength) !== to.node) {
    // The victim was copied up meanwhile, and another node took over.
    cancelChange(u, from.node, to.node)
    return renameNode(u, parent, name, length, newParent, newName, newLength, flags)
  }
  r = isExchange ? exchange(u, fromFd, toFd) : move(u, fromFd, toFd)
  if (r === 0 && (fromFd >= 0 || toFd >= 0)) Atomics.add(u.t.header, H_MOVES, 1)
  if (r === 0 && !isExchange) return conclude(u)
  u.t.lock()
  if (r === 0) swapDentries(u)
  endChange(u, from.node, to.node)
  u.t.unlock()
  dropHalfListed(u)
  if (r === 0) {
    dropOldDots(u, from.node)
    dropOldDots(u, to.node)
  }
  return r
}

/** Brings the tables up to what move() did. */
function conclude(u: Union): number {
  const t = u.t
  const wasDir = to.node !== 0 && isDir(u, to.node)
  t.lock()
  directoryChanged(u.t, from.parent)
  directoryChanged(u.t, to.parent)
  movedBelow(u, from.node, from.parent, to.parent)
  // The victim was pinned by move(), before its name went.
  const spare = to.node === 0 ? pin : unname(u, to.parent, to.name, to.length, pin)
  const bound = rebind(u)
  endChange(u, from.node, to.node)
  t.unlock()
  if (spare >= 0) u.sys.close(spare)
  if (wasDir) u.dirs.drop(to.node, 0)
  dropHalfListed(u)
  dropOldDots(u, from.node)
  return bound ? 0 : -ENOMEM
}

/** Under the lock: the list of a directory that got another parent has another `..`. */
function movedBelow(u: Union, node: number, parent: number, newParent: number): void {
  if (parent !== newParent && isDir(u, node)) directoryChanged(u.t, node)
}

/** The kernel keeps the listing of a directory that got another parent, with the old `..` in it. */
function dropOldDots(u: Union, node: number): void {
  if (from.parent !== to.parent && isDir(u, node)) dropKeptListing(u, node)
}

/** No fd, where -1 would be an errno. */
const NO_FD = -4096

/** Returns the fd of a directory's upper, NO_FD for anything that has none, or -errno. */
function upperFdOf(u: Union, node: number): number {
  return node !== 0 && isDir(u, node) && isUpper(u, node) ? dirFd(u, node, 0) : NO_FD
}

/** fd of the lower directory that is about to be overwritten. */
let victim = -1

/** fd that keeps the overwritten object reachable; set by move(). */
let pin = -1

function openEnd(
  u: Union,
  end: End,
  parent: number,
  name: number,
  length: number,
  mustExist: boolean,
): number {
  end.parent = parent
  end.name = name
  end.length = length
  end.dir = upperDir(u, parent)
  if (end.dir < 0) return end.dir
  const node = nodeOf(u, parent, name, length)
  if (node === -ENOENT && !mustExist) {
    end.node = 0
    return 0
  }
  end.node = Math.max(node, 0)
  return Math.min(node, 0)
}

function isDir(u: Union, node: number): boolean {
  return (u.t.nodes[at(node) + N_INFO]! & TYPE_MASK) === T_DIR
}

function isUpper(u: Union, node: number): boolean {
  return (u.t.nodes[at(node) + N_INFO]! & F_UPPER) !== 0
}

function layerOf(u: Union, node: number): number {
  return u.t.nodes[at(node) + N_LAYER]!
}

/** Copies an end's object up. A directory with lowers needs a redirect to move. */
function bringUp(u: Union, end: End): number {
  if (isDir(u, end.node) && !u.config.hasRedirects) {
    const info = u.t.nodes[at(end.node) + N_INFO]!
    if ((info & F_UPPER) === 0 || (info & F_STACK) !== 0) return -EXDEV
  }
  const r = copyUp(u, end.node)
  if (r !== 0) return r
  // A data copy that was open by passthrough left a new node behind.
  const now = findBound(u, end.parent, end.name, end.length)
  if (now === 0) return -ENOENT
  end.node = now
  return 0
}

/**
 * Prepares an upper directory for a new place: with lowers it gets a redirect to them, without it
 * becomes opaque where the new name has something below. `fd`: the directory.
 */
function prepareDirectory(u: Union, end: End, fd: number, coversLower: boolean): number {
  const t = u.t
  t.lock()
  readReals(t, end.node, u.other)
  t.unlock()
  if (u.other.count === 1) {
    return coversLower ? u.sys.setXattrAt(fd, 0, u.refs.opaque, YES_AT, 1, 0) : 0
  }
  const place = lowerPlace(u, end.node, fd)
  if (typeof place === 'number') return place
  // Too deep for one: as a directory that can't be moved at all.
  if (place.length > PATH_BYTES) return -EXDEV
  Buffer.from(u.bytes.buffer).write(place, SCRATCH_VALUE, 'latin1')
  const r = u.sys.setXattrAt(fd, 0, u.refs.redirect, SCRATCH_VALUE, place.length, 0)
  if (r < 0) return r
  // The lowers are no longer under our parent's: note where each is.
  for (let i = 1; i < u.other.count; i++) {
    if (u.other.paths[i] !== 0) continue
    const path = layerPath(u, end.parent, u.other.layers[i]!, end.name, end.length)
    if (path === 0) return -ENOMEM
    u.other.paths[i] = path
  }
  t.lock()
  const isStored = writeReals(t, end.node, u.other)
  t.unlock()
  return isStored ? 0 : -ENOMEM
}

/** Marks a directory that receives something with a stored ino or a redirect. */
function markReceiver(u: Union, end: End): number {
  return markImpure(u, end.parent, end.dir)
}

function move(u: Union, fromFd: number, toFd: number): number {
  const { sys } = u
  pin = -1
  const lowerFrom = hasLower(u, from.parent, from.name, from.length)
  if (lowerFrom < 0) return lowerFrom
  let r = markReceiver(u, to)
  if (r < 0) return r
  if (fromFd >= 0) {
    const lowerTo = hasLower(u, to.parent, to.name, to.length)
    if (lowerTo < 0) return lowerTo
    // A `.wh.` beside the new name goes after the move; until then opaque is what counts.
    r = prepareDirectory(
      u,
      from,
      fromFd,
      lowerTo === 1 || to.node !== 0 || isWhiteoutAt(u, to.dir, to.name) === 1,
    )
    if (r < 0) return r
  }
  if (to.node !== 0) {
    r = pinVictim(u, toFd)
    if (r < 0) return r
  }
  if (toFd >= 0) {
    r = emptyDirectory(u, toFd)
    if (r < 0) return r
  }
  r = moveReal(u, fromFd >= 0, lowerFrom === 1)
  if (r < 0 && pin >= 0) {
    sys.close(pin)
    pin = -1
  }
  if (r === 0 && fromFd >= 0) removeDot(u, to.dir, to.name)
  return r
}

/** Keeps the object that is about to be overwritten reachable for who has it open. */
function pinVictim(u: Union, toFd: number): number {
  if (isDir(u, to.node)) pin = u.sys.openAt(toFd >= 0 ? toFd : victim, 0, O_PATH | O_DIRECTORY)
  else {
    const dir = dirFd(u, to.parent, layerOf(u, to.node))
    if (dir < 0) return dir
    pin = u.sys.openAt(dir, to.name, O_PATH)
  }
  return 0
}

/** The one step that shows: from the old name to the new, a whiteout left behind where needed. */
function moveReal(u: Union, isDirectory: boolean, hasLowerFrom: boolean): number {
  const { sys } = u
  if (u.config.whiteouts !== 'device') {
    const r = hasLowerFrom ? hide(u, from.dir, from.name) : 0
    return r < 0 ? r : sys.renameAt(from.dir, from.name, to.dir, to.name, 0)
  }
  if (isDirectory && isDeviceAt(u)) {
    // A directory can't replace a whiteout: they change places, and the whiteout is where one is needed.
    const r = sys.renameAt(from.dir, from.name, to.dir, to.name, RENAME_EXCHANGE)
    if (r === 0 && !hasLowerFrom) sys.unlinkAt(from.dir, from.name, 0)
    return r
  }
  return sys.renameAt(from.dir, from.name, to.dir, to.name, hasLowerFrom ? RENAME_WHITEOUT : 0)
}

function isDeviceAt(u: Union): boolean {
  return (to.node === 0 || !isUpper(u, to.node)) && isWhiteoutAt(u, to.dir, to.name) === 1
}

/** Takes the whiteouts out of an upper directory that shows nothing, without showing the lowers. */
function emptyDirectory(u: Union, fd: number): number {
  const r = u.sys.setXattrAt(fd, 0, u.refs.opaque, YES_AT, 1, 0)
  if (r < 0) return r
  const real = u.sys.openAt(fd, 0, O_DIRECTORY)
  if (real < 0) return real
  const e = u.sys.removeTree(real)
  u.sys.close(real)
  // The whiteouts that hid the lowers are gone: it is a pure upper directory from here on.
  const t = u.t
  u.other.count = 0
  u.other.push(0, 0)
  t.lock()
  freeReals(t, to.node)
  writeReals(t, to.node, u.other)
  directoryChanged(u.t, to.node)
  t.unlock()
  return Math.min(e, 0)
}

function exchange(u: Union, fromFd: number, toFd: number): number {
  let r = markReceiver(u, to)
  if (r === 0) r = markReceiver(u, from)
  if (r < 0) return r
  if (fromFd >= 0) r = prepareDirectory(u, from, fromFd, true)
  if (r === 0 && toFd >= 0) r = prepareDirectory(u, to, toFd, true)
  return r < 0 ? r : u.sys.renameAt(from.dir, from.name, to.dir, to.name, RENAME_EXCHANGE)
}

/** Under the lock: the moved node goes by its new name. */
function rebind(u: Union): boolean {
  const t = u.t
  const hash = hashName(from.parent, u.bytes, from.name, from.length)
  const old = findDentry(t, from.parent, hash, u.bytes, from.name, from.length)
  const newHash = hashName(to.parent, u.bytes, to.name, to.length)
  const isBound = addDentry(t, to.parent, newHash, u.bytes, to.name, to.length, from.node) !== 0
  if (old !== 0) removeDentry(t, old)
  return isBound
}

/** Under the lock: after an exchange each node goes by the other's name. */
function swapDentries(u: Union): void {
  const t = u.t
  directoryChanged(u.t, from.parent)
  directoryChanged(u.t, to.parent)
  movedBelow(u, from.node, from.parent, to.parent)
  movedBelow(u, to.node, to.parent, from.parent)
  const oldHash = hashName(from.parent, u.bytes, from.name, from.length)
  const newHash = hashName(to.parent, u.bytes, to.name, to.length)
  const a = findDentry(t, from.parent, oldHash, u.bytes, from.name, from.length)
  const b = findDentry(t, to.parent, newHash, u.bytes, to.name, to.length)
  if (a !== 0) removeDentry(t, a)
  if (b !== 0) removeDentry(t, b)
  addDentry(t, to.parent, newHash, u.bytes, to.name, to.length, from.node)
  addDentry(t, from.parent, oldHash, u.bytes, from.name, from.length, to.node)
}
