// Bringing a lower object to the upper, and all directories above it first.
//
// See fs/overlayfs/copy_up.c:ovl_copy_up_one(). Order: data (durable unless volatile), xattrs,
// owner, mode, times, then a rename into place; the parent's times are put back. Data is copied off
// the loop: the request is parked and comes again when the copy is in place.

import { EAGAIN, EEXIST, EIO, ENOMEM, ENOTEMPTY, EOPNOTSUPP, EPERM, EROFS, ESTALE } from '../base/errno.js'
import { O_CREAT, O_DIRECTORY, O_EXCL, O_NOATIME, O_PATH, O_RDONLY, O_RDWR } from '../base/open-flags.js'
import {
  SCRATCH_STAT,
  SCRATCH_VALUE,
  STAT_ATTRIBUTES,
  STAT_MODE,
  STAT_NLINK,
  STAT_RDEV,
  STAT_SIZE,
} from '../vfs/arena.js'
import { PARKED } from '../vfs/file-system.js'
import { copyName, dirFd, locate } from './address.js'
import { S_IFLNK, S_IFMT, S_IFREG } from './attr.js'
import { supersede } from './bind.js'
import { copyAttributes, writeTimes } from './copy-attributes.js'
import { D_PARENT } from './dentry-table.js'
import { readReals, releasePaths, writeReals } from './dir-stack.js'
import { copyUpOtherNames, findOtherNames, takeBackNames } from './hard-links.js'
import {
  at,
  F_COPYING,
  F_IMPURE,
  F_LINKED,
  F_NAMELESS,
  F_PRISTINE,
  F_STALE,
  F_UPPER,
  isLive,
  N_BACKING,
  N_DENTRY,
  N_FORWARD,
  N_HIDDEN,
  N_INFO,
  N_INO,
  N_IO,
  N_LAYER,
  N_PIN,
  N_SEQ,
  T_DIR,
  T_REG,
  TYPE_MASK,
} from './inode-table.js'
import { dropKeptAttributes } from './notify.js'
import { COPY_DIR_NAME, COPY_NAME, TIMES } from './scratch.js'
import { ageSnapshot } from './snapshot.js'
import { DENTRY_WORDS, ROOT } from './state.js'
import { type Union, YES_AT } from './union.js'
import { numberOf, tempName, writeTempName } from './workdir.js'

const STATX_ATTR_IMMUTABLE = 0x10
const STATX_ATTR_APPEND = 0x20
const AT_REMOVEDIR = 0x200
/** Copies of at most this many bytes are made on the loop when nothing has to be synced. */
const QUICK_BYTES = 128 * 1024
/** The whole file. */
export const ALL = Number.MAX_SAFE_INTEGER

const PARENT_STAT = SCRATCH_STAT + 256

/** Follows stale nodes to the one that is used now. */
export function current(u: Union, node: number): number {
  const t = u.t
  while (isLive(t, node) && (t.nodes[at(node) + N_INFO]! & F_STALE) !== 0)
    node = t.nodes[at(node) + N_FORWARD]!
  return node
}

/**
 * Ensures that a node's real is in the upper. Returns 0, PARKED (the request comes again), or
 * -errno with nothing changed. Of a file's data at most the first `length` bytes are kept.
 * Needs: the table lock is free and no node is odd in our hands.
 */
export function copyUp(u: Union, node: number, length = ALL): number {
  if (!u.isWritable) return -EROFS
  const t = u.t
  node = current(u, node)
  if (!isLive(t, node)) return -ESTALE
  const info = t.nodes[at(node) + N_INFO]!
  if ((info & F_UPPER) !== 0) return 0
  if ((info & F_PRISTINE) !== 0) return -EROFS
  return (info & TYPE_MASK) === T_DIR ? copyUpDirectory(u, node) : copyUpFile(u, node, length)
}

/** copyUp() for a directory, then its fd in the upper; for callers that change what is in it. */
export function upperDir(u: Union, node: number): number {
  if (!u.isWritable) return -EROFS
  const info = u.t.nodes[at(node) + N_INFO]!
  if ((info & F_PRISTINE) !== 0) return -EROFS
  if ((info & F_UPPER) === 0) {
    const r = copyUpDirectory(u, node)
    if (r < 0) return r
  }
  return dirFd(u, node, 0)
}

/** Under the lock: the parent of a node by its first name, 0 for a nameless one. */
function parentOf(u: Union, node: number): number {
  const dentry = u.t.nodes[at(node) + N_DENTRY]!
  return dentry === 0 ? 0 : u.t.dentries[dentry * DENTRY_WORDS + D_PARENT]!
}

function copyUpDirectory(u: Union, node: number): number {
  const t = u.t
  const n = at(node)
  for (let attempt = 0; attempt < 1000; attempt++) {
    if (node === ROOT) return -EIO // the root of a writable mount is in the upper from the start
    t.lock()
    const parent = parentOf(u, node)
    t.unlock()
    if (parent === 0) return copyUpRemovedDirectory(u, node)
    const parentFd = upperDir(u, parent)
    if (parentFd < 0) return parentFd
    const r = locate(u, node)
    if (r < 0) return r
    if (u.isUpper(u.layer)) return 0
    const lowerFd = u.fd
    t.lock()
    if (parentOf(u, node) !== parent || (t.nodes[n + N_SEQ]! & 1) !== 0) {
      if ((t.nodes[n + N_SEQ]! & 1) !== 0) t.unlockAndWait()
      else t.unlock()
      continue
    }
    if ((t.nodes[n + N_INFO]! & F_UPPER) !== 0) {
      t.unlock()
      return 0
    }
    t.nodes[n + N_SEQ]!++
    copyName(u, t.nodes[n + N_DENTRY]! * DENTRY_WORDS, COPY_DIR_NAME)
    t.unlock()

    const made = makeUpperDirectory(u, lowerFd, parent, parentFd)
    t.lock()
    let result = made
    if (made === 0) {
      readReals(t, node, u.other)
      prependUpper(u)
      if (writeReals(t, node, u.other)) t.nodes[n + N_INFO]! |= F_UPPER
      else result = -ENOMEM
    }
    t.nodes[n + N_SEQ]!++
    t.announce()
    t.unlock()
    return result
  }
  return -EIO
}

/** A directory that somebody still has open is in the upper when an fd holds a copy of it without a name. */
function copyUpRemovedDirectory(u: Union, node: number): number {
  const { t, sys } = u
  const { workFd } = u.config
  const n = at(node)
  let r = locate(u, node)
  if (r < 0 || u.isUpper(u.layer)) return r
  const lowerFd = u.fd
  r = sys.statAt(lowerFd, 0, SCRATCH_STAT)
  if (r < 0) return r
  const temp = tempName(u, 1)
  r = sys.mkdirAt(workFd, temp, 0o700, -1, -1, 0)
  if (r < 0) return r
  r = copyAttributes(u, lowerFd, 0, workFd, temp, SCRATCH_STAT >> 2)
  const pin = r < 0 ? r : sys.openAt(workFd, temp, O_PATH | O_DIRECTORY)
  sys.unlinkAt(workFd, temp, AT_REMOVEDIR)
  if (pin < 0) return pin
  t.lock()
  let spare = pin
  if ((t.nodes[n + N_INFO]! & (F_UPPER | F_NAMELESS)) === F_NAMELESS) {
    readReals(t, node, u.reals)
    u.other.count = 1
    u.other.layers[0] = u.other.paths[0] = 0
    if (writeReals(t, node, u.other)) {
      releasePaths(t, u.reals)
      spare = t.nodes[n + N_PIN]! - 1
      t.nodes[n + N_PIN] = pin + 1
      t.nodes[n + N_INFO]! |= F_UPPER
      t.nodes[n + N_SEQ]! += 2
    } else r = -ENOMEM
  }
  t.unlock()
  if (spare >= 0) sys.close(spare)
  return r
}

/** Puts the upper in front of the reals in u.other. */
function prependUpper(u: Union): void {
  const reals = u.other
  reals.layers.copyWithin(1, 0, reals.count)
  reals.paths.copyWithin(1, 0, reals.count)
  reals.layers[0] = 0
  reals.paths[0] = 0
  reals.count++
}

function makeUpperDirectory(u: Union, lowerFd: number, parent: number, parentFd: number): number {
  const { sys } = u
  const { workFd } = u.config
  let r = sys.statAt(lowerFd, 0, SCRATCH_STAT)
  if (r < 0) return r
  // The other slot: a file's copy may be under way to the directory that is made here.
  const temp = tempName(u, 1)
  r = sys.mkdirAt(workFd, temp, 0o700, -1, -1, 0)
  if (r < 0) return r
  r = copyAttributes(u, lowerFd, 0, workFd, temp, SCRATCH_STAT >> 2)
  if (r === 0) r = moveIntoPlace(u, parent, parentFd, temp, COPY_DIR_NAME)
  if (r < 0) sys.unlinkAt(workFd, temp, AT_REMOVEDIR)
  // Made by an earlier life of this mount.
  return r === -EEXIST || r === -ENOTEMPTY ? 0 : r
}

/** Renames a finished temporary object into an upper directory and keeps that one's times. */
function moveIntoPlace(u: Union, parent: number, parentFd: number, temp: number, name: number): number {
  const marked = markImpure(u, parent, parentFd)
  if (marked < 0) return marked
  const s = u.sys.statAt(parentFd, 0, PARENT_STAT)
  if (s < 0) return s
  const r = u.sys.renameAt(u.config.workFd, temp, parentFd, name, 0)
  if (r < 0) return r
  writeTimes(u, PARENT_STAT >> 2)
  u.sys.utimensAt(parentFd, 0, TIMES)
  return 0
}

/**
 * Ensures that an upper directory carries `overlay.impure`: it holds objects whose ino or place
 * is stored (fs/overlayfs/util.c:ovl_set_impure()).
 */
export function markImpure(u: Union, node: number, fd: number): number {
  const t = u.t
  if ((t.nodes[at(node) + N_INFO]! & F_IMPURE) !== 0) return 0
  const r = u.sys.setXattrAt(fd, 0, u.refs.impure, YES_AT, 1, 0)
  if (r < 0 && r !== -EOPNOTSUPP && r !== -EPERM) return r
  t.lock()
  t.nodes[at(node) + N_INFO]! |= F_IMPURE
  t.unlock()
  return 0
}

function copyUpFile(u: Union, node: number, length: number): number {
  const t = u.t
  const n = at(node)
  let hasAsked = false
  for (let attempt = 0; attempt < 1000; attempt++) {
    t.lock()
    const parent = parentOf(u, node)
    const hasLinks = (t.nodes[n + N_INFO]! & (F_LINKED | F_UPPER | F_STALE)) === F_LINKED
    t.unlock()
    if (parent !== 0) {
      const parentFd = upperDir(u, parent)
      if (parentFd < 0) return parentFd
    } else if (hasLinks && !hasAsked) {
      // Its other names are the copy's.
      hasAsked = true
      const e = findOtherNames(u, node)
      if (e < 0) return e
      continue
    }
    const r = locate(u, node)
    if (r < 0) return r
    if (u.isUpper(u.layer)) return 0
    t.lock()
    const info = t.nodes[n + N_INFO]!
    if ((info & F_COPYING) !== 0) {
      const parked = u.sys.park(node)
      t.unlock()
      if (parked !== -EAGAIN) return parked
      continue
    }
    // Odd, or another worker puts its data into the kernel's page cache (open-file.ts).
    if ((t.nodes[n + N_SEQ]! & 1) !== 0 || t.nodes[n + N_BACKING] === -1) {
      t.unlockAndWait()
      continue
    }
    if ((info & (F_UPPER | F_STALE)) !== 0) {
      t.unlock()
      return copyUp(u, node, length)
    }
    if (parentOf(u, node) !== parent || t.nodes[n + N_SEQ] !== u.seq) {
      t.unlock()
      continue
    }
    t.nodes[n + N_INFO]! |= F_COPYING
    t.unlock()
    return startCopy(u, node, length)
  }
  return -EIO
}

/** Makes the temporary copy of the object at u.fd/u.ref; F_COPYING is ours. */
function startCopy(u: Union, node: number, length: number): number {
  const { sys } = u
  const { workFd } = u.config
  const fd = u.fd
  const ref = u.ref
  let r = sys.statAt(fd, ref, SCRATCH_STAT)
  if (r < 0) return endCopy(u, node, r)
  const w = SCRATCH_STAT >> 2
  // What the lower's owner made unchangeable is not changed by way of a copy.
  if ((u.u32[w + STAT_ATTRIBUTES]! & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND)) !== 0) {
    return endCopy(u, node, -EPERM)
  }
  const mode = u.u32[w + STAT_MODE]!
  const temp = tempName(u)
  if ((mode & S_IFMT) === S_IFREG) return copyRegular(u, node, fd, ref, temp, length)
  if ((mode & S_IFMT) === S_IFLNK) {
    const size = sys.readlinkAt(fd, ref, SCRATCH_VALUE, 8192)
    if (size < 0) return endCopy(u, node, size)
    u.bytes[SCRATCH_VALUE + size] = 0
    r = sys.symlinkAt(SCRATCH_VALUE, workFd, temp, -1, -1)
  } else r = sys.mknodAt(workFd, temp, (mode & S_IFMT) | 0o600, u.u32[w + STAT_RDEV]!, -1, -1, 0)
  if (r === 0) r = copyAttributes(u, fd, ref, workFd, temp, w)
  return endCopy(u, node, finish(u, node, r, temp))
}

function copyRegular(u: Union, node: number, fd: number, ref: number, temp: number, length: number): number {
  const { sys } = u
  const w = SCRATCH_STAT >> 2
  const size = u.u32[w + STAT_SIZE]! + u.u32[w + STAT_SIZE + 1]! * 2 ** 32
  const to = sys.createAt(u.config.workFd, temp, O_RDWR | O_CREAT | O_EXCL, 0o600, -1, -1, 0)
  if (to < 0) return endCopy(u, node, to)
  const bytes = Math.min(size, length)
  if (bytes === 0) {
    sys.close(to)
    const r = copyAttributes(u, fd, ref, u.config.workFd, temp, w)
    return endCopy(u, node, finish(u, node, r, temp))
  }
  let from = sys.openAt(fd, ref, O_RDONLY | O_NOATIME)
  if (from === -EPERM) from = sys.openAt(fd, ref, O_RDONLY)
  if (from < 0) {
    sys.close(to)
    sys.unlinkAt(u.config.workFd, temp, 0)
    return endCopy(u, node, from)
  }
  // The request waits for the node, then runs again and finds it in the upper. A small copy that is
  // not synced costs less than handing it over.
  const isQuick = bytes <= QUICK_BYTES && u.config.isVolatile
  const parked = isQuick ? -EAGAIN : sys.park(node)
  if (parked !== PARKED && parked !== -EAGAIN) {
    sys.close(from)
    sys.close(to)
    sys.unlinkAt(u.config.workFd, temp, 0)
    return endCopy(u, node, parked)
  }
  const job = numberOf(u, temp)
  const r = sys.copyData(from, to, bytes, u.config.durability, parked === PARKED ? job : 0)
  if (r !== PARKED) {
    // No pool, or no request (tests without a mount): done here and now.
    const ended = completeCopy(u, node, from, to, job, r)
    return parked === PARKED ? PARKED : ended
  }
  u.jobs.set(job, { node, from, to })
  return PARKED
}

/** The data of a copy-up is there (result 0) or not (-errno): finishes it and lets waiters go. */
export function copyEnded(u: Union, job: number, result: number): void {
  const copy = u.jobs.get(job)
  if (copy === undefined) return
  u.jobs.delete(job)
  completeCopy(u, copy.node, copy.from, copy.to, job, result)
}

function completeCopy(u: Union, node: number, from: number, to: number, job: number, result: number): number {
  let r = result < 0 ? result : u.sys.statAt(from, 0, SCRATCH_STAT)
  if (r >= 0) r = copyAttributes(u, from, 0, to, 0, SCRATCH_STAT >> 2)
  u.sys.close(from)
  u.sys.close(to)
  return endCopy(u, node, finish(u, node, r, writeTempName(u, job)))
}

/** F_COPYING is over: all requests that wait for it go on, or fail as it did. Returns `result`. */
function endCopy(u: Union, node: number, result: number): number {
  const t = u.t
  t.lock()
  t.nodes[at(node) + N_INFO]! &= ~F_COPYING
  t.unlock()
  u.sys.wake(node, Math.min(result, 0))
  return result
}

/**
 * The copy `temp` is complete (r = 0; its Stat's source at SCRATCH_STAT): puts it in place and
 * makes the node an upper one. On failure the copy is removed. Returns 0 or -errno.
 */
function finish(u: Union, node: number, r: number, temp: number): number {
  const t = u.t
  const { sys } = u
  const { workFd } = u.config
  const n = at(node)
  const nlink = u.u32[(SCRATCH_STAT >> 2) + STAT_NLINK]!
  if (r === 0) r = storeIno(u, node, workFd, temp)
  if (r < 0) {
    sys.unlinkAt(workFd, temp, 0)
    return r
  }
  const { parent, fd: parentFd } = claimPlace(u, node)
  let pin = -1
  let hasHeir = false
  if (parent === 0) {
    // Nameless: its copy lives on behind an fd alone.
    pin = sys.openAt(workFd, temp, O_PATH)
    r = pin < 0 ? pin : sys.unlinkAt(workFd, temp, 0)
  } else if (parentFd < 0) r = parentFd
  else {
    if (nlink > 1) r = copyUpOtherNames(u, node, temp, COPY_NAME, parent)
    if (r === 0) {
      r = moveIntoPlace(u, parent, parentFd, temp, COPY_NAME)
      if (r < 0 && nlink > 1) takeBackNames(u)
    }
  }
  if (r < 0) sys.unlinkAt(workFd, temp, 0)

  t.lock()
  // A pin of the lower would outlive the name that the node may have got meanwhile.
  const oldPin = r === 0 ? t.nodes[n + N_PIN]! : pin + 1
  if (r === 0) {
    t.nodes[n + N_PIN] = pin + 1
    if (parent !== 0) ageSnapshot(t, parent)
    t.nodes[n + N_LAYER] = 0
    t.nodes[n + N_HIDDEN] = 0
    t.nodes[n + N_INFO]! |= F_UPPER
    if (t.nodes[n + N_IO]! > 0 && (t.nodes[n + N_INFO]! & TYPE_MASK) === T_REG)
      hasHeir = supersede(u, node) > 0
  }
  t.nodes[n + N_SEQ]!++
  t.announce()
  t.unlock()
  if (oldPin > 0) sys.close(oldPin - 1)
  if (hasHeir) dropKeptAttributes(u, node)
  return r
}

/**
 * Makes a node whose copy is ready odd. Returns the directory of its first name (0: it has none) and
 * that one's upper fd or -errno; the name is left at COPY_NAME. A lookup may have added a name since
 * the last time somebody looked: name and directory are taken together.
 */
function claimPlace(u: Union, node: number): { parent: number; fd: number } {
  const t = u.t
  const n = at(node)
  for (;;) {
    t.lock()
    const parent = parentOf(u, node)
    t.unlock()
    const fd = parent === 0 ? -1 : upperDir(u, parent)
    t.lock()
    if (parentOf(u, node) === parent) {
      t.nodes[n + N_SEQ]!++
      if (parent !== 0) copyName(u, t.nodes[n + N_DENTRY]! * DENTRY_WORDS, COPY_NAME)
      t.unlock()
      return { parent, fd }
    }
    t.unlock()
  }
}

/** Notes on the copy which ino the object shows, so that it does after a remount too. */
export function storeIno(u: Union, node: number, fd: number, ref: number): number {
  const n = at(node)
  const lo = (u.t.nodes[n + N_INO]! >>> 0).toString(16).padStart(8, '0')
  const hi = (u.t.nodes[n + N_INO + 1]! >>> 0).toString(16).padStart(8, '0')
  const text = hi + lo
  for (let i = 0; i < 16; i++) u.bytes[SCRATCH_VALUE + i] = text.charCodeAt(i)
  const r = u.sys.setXattrAt(fd, ref, u.refs.ino, SCRATCH_VALUE, 16, 0)
  // Where the attribute can't be kept (user.* on a symbolic link) the ino changes at remount.
  return r === -EOPNOTSUPP || r === -EPERM ? 0 : r
}
