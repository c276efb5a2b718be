// Open files: which real file a handle reads, how the kernel is to do the data, and its end.
//
// A handle is the real fd; HANDLES[fd] says whose it is. Data modes of one inode never mix in the
// kernel: while passthrough handles live all opens are passthrough with the same backing id, while
// cached ones live all are cached (N_IO counts them, + and -). A lower backing id is never given to
// an open that may write: the kernel would write to the lower file.
//
// A small file of a lower is opened light: its bytes are put into the kernel's page cache with the first
// OPEN, so that no READ comes, and nothing stays open here. Further OPENs cost no system call.

import { EBADF, EIO, ENOENT, ENOMEM, EPERM, EROFS, ESTALE } from '../base/errno.js'
import { O_ACCMODE, O_DIRECTORY, O_NOATIME, O_RDONLY, O_RDWR, O_SYNC, O_TRUNC } from '../base/open-flags.js'
import { SCRATCH_DIRENTS, SCRATCH_STAT, SCRATCH_VALUE, STAT_MODE, STAT_SIZE } from '../vfs/arena.js'
import { LIGHT_HANDLE, NO_HANDLE, PARKED } from '../vfs/file-system.js'
import { dirFd, hasMoved, locate } from './address.js'
import { statReal } from './attr.js'
import { closeDoomed, reap } from './bind.js'
import { ALL, copyUp } from './copy-up.js'
import {
  at,
  F_COPYING,
  F_DEAD,
  F_LIGHT,
  F_LOWER_BACKING,
  F_STALE,
  F_UPPER,
  isLive,
  N_BACKING,
  N_INFO,
  N_IO,
  N_OPENS,
  T_REG,
  TYPE_MASK,
} from './inode-table.js'
import { HANDLE_WORDS } from './state.js'
import { killSuid } from './suid.js'
import type { Union } from './union.js'

const KEPT_FLAGS = O_ACCMODE | O_SYNC
const FUSE_OPEN_KILL_SUIDGID = 1
const FUSE_WRITE_CACHE = 1
const FUSE_WRITE_KILL_SUIDGID = 4

const FOPEN_KEEP_CACHE = 2
const FOPEN_NOFLUSH = 32
const FOPEN_PASSTHROUGH = 128

/** Body: nodeid and offset (64 bits each), length, a word of nothing; then the data. */
const FUSE_NOTIFY_STORE = 4
const STORE_HEAD = 24
/** Larger files are read when somebody asks: not all who open one read it. */
const STORE_MAX = 32 * 1024

// Words of a handle.
export const H_NODE = 0
export const H_FLAGS = 1
export const H_IS_LOWER = 1
export const H_IS_PASSTHROUGH = 2

/** OPEN: opens a node's real file, copying it up first when the open may write. */
export function openFile(u: Union, node: number, flags: number, openFlags: number): number {
  const t = u.t
  if (!isLive(t, node)) return -ESTALE
  const info = t.nodes[at(node) + N_INFO]!
  // The kernel looks the name up again and finds the node that took over.
  if ((info & F_STALE) !== 0) return -ESTALE
  if ((info & TYPE_MASK) !== T_REG) return -EIO
  const isTruncating = (flags & O_TRUNC) !== 0
  const mayWrite = (flags & O_ACCMODE) !== O_RDONLY || isTruncating
  if (mayWrite) {
    if (!u.isWritable) return -EROFS
    if ((info & F_UPPER) === 0) {
      const r = copyUp(u, node, isTruncating ? 0 : ALL)
      if (r !== 0) return r
      if ((t.nodes[at(node) + N_INFO]! & F_STALE) !== 0) return -ESTALE
    }
  }
  if (!mayWrite && (info & (F_LIGHT | F_UPPER)) === F_LIGHT && openAgain(u, node)) return 0
  for (let attempt = 0; attempt < 1000; attempt++) {
    const r = locate(u, node)
    if (r < 0) return r
    if (u.node !== node) return -ESTALE
    const isLower = !u.isUpper(u.layer)
    if (mayWrite && isLower) return -ESTALE
    const fd = openAddress(u, flags, isLower)
    if (hasMoved(u)) {
      if (fd >= 0) u.sys.close(fd)
      continue
    }
    if (fd < 0) return fd === -ENOENT ? -ESTALE : fd
    if (isTruncating) {
      const e = truncateOpen(u, fd, openFlags)
      if (e < 0) {
        u.sys.close(fd)
        return e
      }
    }
    const e = isLower ? openLower(u, node, fd) : openReal(u, node, fd, false, mayPass(u, fd))
    if (e !== MOVED) return e
  }
  return -EIO
}

/**
 * Tells whether a file of the upper may be read and written past us. The kernel leaves it to the server to
 * clear suid bits on WRITE, so files with such bits must not be written without one.
 */
function mayPass(u: Union, fd: number): boolean {
  if (u.config.dataMode !== 'passthrough' || u.hasNoPassthrough) return false
  if (statReal(u, fd, 0, SCRATCH_STAT) < 0) return false
  return (u.u32[(SCRATCH_STAT >> 2) + STAT_MODE]! & 0o6000) === 0
}

/** Makes a handle for reading from the real fd of a lower file, as openReal() does. */
function openLower(u: Union, node: number, fd: number): number {
  if (statReal(u, fd, 0, SCRATCH_STAT) < 0) return openReal(u, node, fd, true, false)
  const w = SCRATCH_STAT >> 2
  const size = u.u32[w + STAT_SIZE]! + u.u32[w + STAT_SIZE + 1]! * 2 ** 32
  if (size < u.config.passthroughMin) return openSmall(u, node, fd, size)
  const isPassable = u.config.dataMode === 'passthrough' && !u.hasNoPassthrough
  return openReal(u, node, fd, true, isPassable)
}

/** openLower() for a file that is better kept in the page cache. */
function openSmall(u: Union, node: number, fd: number, size: number): number {
  const t = u.t
  const n = at(node)
  t.lock()
  for (;;) {
    if (isUp(u, node)) return giveUp(u, fd, 0, MOVED)
    if (t.nodes[n + N_BACKING] === -1) {
      t.unlockAndWait()
      t.lock()
      continue
    }
    if (t.nodes[n + N_IO]! > 0) {
      t.unlock()
      return openReal(u, node, fd, true, false)
    }
    // A copy-up that is under way does not wait: what is stored after it would be the old bytes.
    const isNew = (t.nodes[n + N_INFO]! & (F_LIGHT | F_COPYING)) === 0 && t.nodes[n + N_IO] === 0
    if (!isNew || size === 0 || size > STORE_MAX || u.hasNoStore) break
    // Nobody has it open, so the kernel waits for no READ of it, and all who would open or change it wait
    // for us: else storing could wait for a page that a READ of this worker's is to fill.
    t.nodes[n + N_BACKING] = -1
    t.unlock()
    store(u, node, fd, size)
    t.lock()
    t.nodes[n + N_BACKING] = 0
    t.nodes[n + N_INFO]! |= F_LIGHT
    t.announce()
  }
  t.nodes[n + N_INFO]! |= F_LIGHT
  countLight(u, node)
  t.unlock()
  u.sys.close(fd)
  return 0
}

/** Opens a file light that was before. Returns false when it can't be. */
function openAgain(u: Union, node: number): boolean {
  const t = u.t
  const n = at(node)
  t.lock()
  const isLight = (t.nodes[n + N_INFO]! & (F_LIGHT | F_UPPER | F_STALE)) === F_LIGHT
  if (isLight && t.nodes[n + N_IO]! <= 0 && t.nodes[n + N_BACKING] !== -1) countLight(u, node)
  else {
    t.unlock()
    return false
  }
  t.unlock()
  return true
}

/** Under the lock: one more light handle; fills u.opened. */
function countLight(u: Union, node: number): void {
  u.t.nodes[at(node) + N_IO]!--
  u.t.nodes[at(node) + N_OPENS]!++
  u.opened.handle = LIGHT_HANDLE
  u.opened.flags = FOPEN_NOFLUSH | FOPEN_KEEP_CACHE
  u.opened.backingId = 0
}

/** Puts a file's bytes into the kernel's page cache, when they are in that of the layer's file system. */
function store(u: Union, node: number, fd: number, size: number): void {
  if (u.sys.readNow(fd, 0, size, SCRATCH_DIRENTS + STORE_HEAD) !== size) return
  const w = SCRATCH_DIRENTS >> 2
  u.u32.fill(0, w, w + (STORE_HEAD >> 2))
  u.u32[w] = node
  u.u32[w + 4] = size
  const r = u.sys.notify(u.config.device, FUSE_NOTIFY_STORE, SCRATCH_DIRENTS, STORE_HEAD + size)
  // ENOENT: the kernel let go of it meanwhile.
  if (r < 0 && r !== -ENOENT) u.hasNoStore = true
}

/** Opens what locate() found. Lower files are opened without touching their atime. */
function openAddress(u: Union, flags: number, isLower: boolean): number {
  // O_RDONLY | O_TRUNC cuts all the same, which takes an fd that may write.
  const isCutOnly = (flags & (O_ACCMODE | O_TRUNC)) === O_TRUNC
  if (!isLower) return u.sys.openAt(u.fd, u.ref, (flags & KEPT_FLAGS) | (isCutOnly ? O_RDWR : 0))
  const fd = u.sys.openAt(u.fd, u.ref, O_RDONLY | O_NOATIME)
  return fd === -EPERM ? u.sys.openAt(u.fd, u.ref, O_RDONLY) : fd
}

function truncateOpen(u: Union, fd: number, openFlags: number): number {
  const r = u.sys.truncate(fd, 0)
  if (r < 0) return r
  return (openFlags & FUSE_OPEN_KILL_SUIDGID) !== 0 ? killSuid(u, fd) : 0
}

/** The file was copied up since its lower was opened: open it anew. */
const MOVED = 1

/**
 * Makes a handle of a real fd of a node and chooses its data mode; fills u.opened. The fd is the
 * handle's from here on, and closed when there is none. `isPassable`: the kernel may do the data
 * itself. Returns 0, -errno, or (for a lower's fd) MOVED.
 */
export function openReal(u: Union, node: number, fd: number, isLower: boolean, isPassable: boolean): number {
  const t = u.t
  const n = at(node)
  const { config } = u
  const h = fd * HANDLE_WORDS
  if (h + HANDLE_WORDS > t.handles.length) {
    u.sys.close(fd)
    return -EBADF
  }
  let backing = 0
  for (;;) {
    t.lock()
    const io = t.nodes[n + N_IO]!
    backing = t.nodes[n + N_BACKING]!
    if (isLower && isUp(u, node)) return giveUp(u, fd, 0, MOVED)
    if (io > 0 && backing > 0) {
      // No node could take over at the copy-up: the kernel must not write by a lower's id.
      if (!isLower && (t.nodes[n + N_INFO]! & F_LOWER_BACKING) !== 0) return giveUp(u, fd, 0, -ENOMEM)
      t.nodes[n + N_IO] = io + 1
      break
    }
    if (io < 0 || !isPassable) {
      t.nodes[n + N_IO] = io - 1
      backing = 0
      break
    }
    if (backing === -1) {
      t.unlockAndWait()
      continue
    }
    t.nodes[n + N_BACKING] = -1
    t.unlock()
    // Who opens it later shares this id, root too; its rights are looked at once only, as that takes time.
    const id = u.sys.backingOpen(config.device, fd, Number(u.caller.uid !== 0 && !isLower))
    t.lock()
    const hasMoved = isLower && isUp(u, node)
    const isUsed = id > 0 && !hasMoved && t.nodes[n + N_IO]! >= 0
    t.nodes[n + N_BACKING] = isUsed ? id + 1 : 0
    t.announce()
    if (isUsed) {
      backing = id + 1
      t.nodes[n + N_IO]!++
      if (isLower) t.nodes[n + N_INFO]! |= F_LOWER_BACKING
      else t.nodes[n + N_INFO]! &= ~F_LOWER_BACKING
      break
    }
    if (hasMoved) return giveUp(u, fd, id, MOVED)
    // Not on this file system, or not permitted to this process at all: the page cache does it.
    if (id === -EPERM) u.hasNoPassthrough = true
    t.unlock()
    if (id > 0) u.sys.backingClose(config.device, id)
    return openReal(u, node, fd, isLower, false)
  }
  t.nodes[n + N_OPENS]!++
  t.handles[h + H_NODE] = node
  t.handles[h + H_FLAGS] = (isLower ? H_IS_LOWER : 0) | (backing > 0 ? H_IS_PASSTHROUGH : 0)
  t.unlock()
  u.opened.handle = fd
  u.opened.backingId = backing > 0 ? backing - 1 : 0
  // Pages may be kept unless passthrough writes went past them.
  const keep = isLower || config.dataMode !== 'passthrough' || u.hasNoPassthrough ? FOPEN_KEEP_CACHE : 0
  u.opened.flags = FOPEN_NOFLUSH | (backing > 0 ? FOPEN_PASSTHROUGH : keep)
  return 0
}

/** Under the lock: a node's data is in the upper now. */
function isUp(u: Union, node: number): boolean {
  return (u.t.nodes[at(node) + N_INFO]! & (F_UPPER | F_STALE)) !== 0
}

/** Under the lock, which it gives back: closes an fd (and a backing id > 0) that no handle gets. */
function giveUp(u: Union, fd: number, backingId: number, result: number): number {
  u.t.unlock()
  if (backingId > 0) u.sys.backingClose(u.config.device, backingId)
  u.sys.close(fd)
  return result
}

/** RELEASE of a light handle. */
function closeLight(u: Union, node: number): number {
  const t = u.t
  const n = at(node)
  t.lock()
  const isOpen = isLive(t, node) && t.nodes[n + N_OPENS]! > 0 && t.nodes[n + N_IO]! < 0
  if (isOpen) {
    t.nodes[n + N_IO]!++
    if (--t.nodes[n + N_OPENS]! === 0 && (t.nodes[n + N_INFO]! & F_DEAD) !== 0) reap(u, node)
  }
  t.unlock()
  closeDoomed(u)
  return isOpen ? 0 : -EBADF
}

/** RELEASE: closes a handle. */
export function closeFile(u: Union, node: number, fd: number): number {
  return fd === LIGHT_HANDLE ? closeLight(u, node) : closeHeavy(u, fd)
}

function closeHeavy(u: Union, fd: number): number {
  const t = u.t
  const h = fd * HANDLE_WORDS
  if (fd < 0 || h + HANDLE_WORDS > t.handles.length) return -EBADF
  t.lock()
  const node = t.handles[h + H_NODE]!
  if (node === 0) {
    t.unlock()
    return -EBADF
  }
  const n = at(node)
  let backing = 0
  t.handles[h + H_NODE] = 0
  if ((t.handles[h + H_FLAGS]! & H_IS_PASSTHROUGH) !== 0) {
    if (--t.nodes[n + N_IO]! === 0) {
      backing = t.nodes[n + N_BACKING]!
      t.nodes[n + N_BACKING] = 0
    }
  } else t.nodes[n + N_IO]!++
  if (--t.nodes[n + N_OPENS]! === 0 && (t.nodes[n + N_INFO]! & F_DEAD) !== 0) reap(u, node)
  t.unlock()
  if (backing > 0) u.sys.backingClose(u.config.device, backing - 1)
  u.sys.close(fd)
  closeDoomed(u)
  return 0
}

/** Tells whether a handle is one of a node's; anything else gets EBADF. */
export function ownsHandle(u: Union, fd: number): boolean {
  const h = fd * HANDLE_WORDS
  return fd >= 0 && h + HANDLE_WORDS <= u.t.handles.length && u.t.handles[h + H_NODE] !== 0
}

/**
 * Returns the fd to use for a request on a file: the handle's own, brought up to date, or without one
 * (light handles, and no-open mode) one that endUse() closes. May return PARKED or -errno.
 */
export function beginUse(u: Union, node: number, handle: number, mayWrite: boolean): number {
  if (handle === NO_HANDLE) return openForUse(u, node, mayWrite)
  if (handle === LIGHT_HANDLE) return mayWrite ? -EBADF : openForUse(u, node, false)
  if (!ownsHandle(u, handle)) return -EBADF
  const r = refresh(u, handle)
  if (r < 0) return r
  const isLower = (u.t.handles[handle * HANDLE_WORDS + H_FLAGS]! & H_IS_LOWER) !== 0
  return mayWrite && isLower ? -EBADF : handle
}

export function endUse(u: Union, handle: number, fd: number): void {
  if (handle === NO_HANDLE || handle === LIGHT_HANDLE) u.sys.close(fd)
}

function openForUse(u: Union, node: number, mayWrite: boolean): number {
  if (!isLive(u.t, node)) return -ESTALE
  if (mayWrite) {
    const r = copyUp(u, node)
    if (r !== 0) return r
  }
  for (let attempt = 0; attempt < 1000; attempt++) {
    const r = locate(u, node)
    if (r < 0) return r
    const fd = openAddress(u, mayWrite ? O_RDWR : O_RDONLY, !u.isUpper(u.layer))
    if (!hasMoved(u)) return fd
    if (fd >= 0) u.sys.close(fd)
  }
  return -EIO
}

/**
 * Ensures that a handle that was opened on the lower is on the copy in the upper once there is one:
 * the open file behind the fd is replaced, its number stays.
 */
function refresh(u: Union, fd: number): number {
  const t = u.t
  const h = fd * HANDLE_WORDS
  if ((t.handles[h + H_FLAGS]! & H_IS_LOWER) === 0) return 0
  const node = t.handles[h + H_NODE]!
  if ((t.nodes[at(node) + N_INFO]! & (F_UPPER | F_STALE)) === 0) return 0
  for (let attempt = 0; attempt < 1000; attempt++) {
    const r = locate(u, node)
    if (r < 0) return r
    if (!u.isUpper(u.layer)) return 0
    const upper = u.sys.openAt(u.fd, u.ref, O_RDONLY)
    if (hasMoved(u)) {
      if (upper >= 0) u.sys.close(upper)
      continue
    }
    if (upper < 0) return upper
    const d = u.sys.replaceFd(upper, fd)
    u.sys.close(upper)
    if (d < 0) return d
    t.handles[h + H_FLAGS]! &= ~H_IS_LOWER
    return 0
  }
  return -EIO
}

/** WRITE. */
export function writeFile(
  u: Union,
  node: number,
  handle: number,
  offset: number,
  size: number,
  data: number,
  writeFlags: number,
): number {
  const fd = beginUse(u, node, handle, true)
  if (fd < 0 || fd === PARKED) return fd
  // Pages of a mapping come back long after the store: that is no write(2), and the capability stays.
  const isMapped = (writeFlags & FUSE_WRITE_CACHE) !== 0
  const kept = isMapped ? u.sys.getXattrAt(fd, 0, u.refs.capability, SCRATCH_VALUE, 1024) : 0
  const r = u.sys.write(fd, offset, size, data)
  if (kept > 0) u.sys.setXattrAt(fd, 0, u.refs.capability, SCRATCH_VALUE, kept, 0)
  if (r > 0 && (writeFlags & FUSE_WRITE_KILL_SUIDGID) !== 0) killSuid(u, fd)
  endUse(u, handle, fd)
  return r
}

/** fsync of a directory: what is in its upper real; a lower one is durable already. */
export function syncDirectory(u: Union, node: number, isDataOnly: boolean): number {
  if (!u.isWritable || u.config.isVolatile || (u.t.nodes[at(node) + N_INFO]! & F_UPPER) === 0) return 0
  const path = dirFd(u, node, 0)
  if (path < 0) return path
  const fd = u.sys.openAt(path, 0, O_DIRECTORY)
  if (fd < 0) return fd
  const r = u.sys.fsync(fd, isDataOnly ? 1 : 0)
  u.sys.close(fd)
  return r
}
