// Requests about attributes: stat in its forms, changes, link targets, xattrs, the file system's.

import { E2BIG, EBADF, EFBIG, EINVAL, EIO, ERANGE } from '../base/errno.js'
import {
  ATTR_WORDS,
  STAT_ATIME,
  STAT_ATIME_NS,
  STAT_ATTRIBUTES,
  STAT_BLKSIZE,
  STAT_BLOCKS,
  STAT_BTIME,
  STAT_BTIME_NS,
  STAT_CTIME,
  STAT_CTIME_NS,
  STAT_DEV,
  STAT_GID,
  STAT_INO,
  STAT_MODE,
  STAT_MTIME,
  STAT_MTIME_NS,
  STAT_NLINK,
  STAT_RDEV,
  STAT_SIZE,
  STAT_UID,
  STAT_WORDS,
} from '../vfs/arena.js'
import { type Handle, NO_HANDLE } from '../vfs/file-system.js'
import {
  FATTR_ATIME,
  FATTR_ATIME_NOW,
  FATTR_FH,
  FATTR_MTIME,
  FATTR_MTIME_NOW,
  FATTR_SIZE,
  FUSE_COMPAT_SETXATTR_IN_SIZE,
  FUSE_GETATTR_FH,
  fuse_attr_out,
  fuse_getattr_in,
  fuse_getxattr_in,
  fuse_getxattr_out,
  fuse_kstatfs,
  fuse_setattr_in,
  fuse_setxattr_in,
  fuse_statx,
  fuse_statx_out,
  STATX_BASIC_STATS,
  STATX_BTIME,
} from './abi.js'
import {
  isFinal,
  isNoOpen,
  putAttrTimeout,
  type Request,
  replyAttr,
  replyEmpty,
  takeFileHandle,
  takeHandle,
  takeNumber,
  takeString,
  word,
} from './request.js'
import { AGREED_HAS_SETXATTR_EXT } from './session-shared.js'

const TARGET_MAX = 4095
const XATTR_NAME_MAX = 255
const XATTR_SIZE_MAX = 65536
const NS_PER_S = 1_000_000_000
/** STATX_ATTR_COMPRESSED | IMMUTABLE | APPEND | NODUMP | ENCRYPTED | VERITY: what may be passed on. */
const STATX_ATTRIBUTES = 0x4 | 0x10 | 0x20 | 0x40 | 0x800 | 0x100000

/** The handle of a request in which it is optional; fuse_getattr_in and fuse_statx_in begin alike. */
function optionalHandle(r: Request): Handle {
  if ((word(r, r.at + fuse_getattr_in.getattr_flags) & FUSE_GETATTR_FH) === 0) return NO_HANDLE
  return takeFileHandle(r, r.at + fuse_getattr_in.fh)
}

export function getattr(r: Request): number {
  const handle = optionalHandle(r)
  if (handle < NO_HANDLE) return -EBADF
  return replyAttr(r, r.fs.getattr(r.node, handle, r.out + fuse_attr_out.attr))
}

export function setattr(r: Request): number {
  let valid = word(r, r.at + fuse_setattr_in.valid)
  if ((valid & FATTR_FH) !== 0 && isNoOpen(r)) {
    valid &= ~FATTR_FH
    r.u32[(r.at + fuse_setattr_in.valid) >> 2] = valid
  }
  if ((valid & FATTR_FH) !== 0 && takeHandle(r, r.at + fuse_setattr_in.fh) < 0) return -EBADF
  if ((valid & FATTR_SIZE) !== 0 && takeNumber(r, r.at + fuse_setattr_in.size) < 0) return -EFBIG
  const isAtimeGiven = (valid & (FATTR_ATIME | FATTR_ATIME_NOW)) === FATTR_ATIME
  if (isAtimeGiven && word(r, r.at + fuse_setattr_in.atimensec) >= NS_PER_S) return -EINVAL
  const isMtimeGiven = (valid & (FATTR_MTIME | FATTR_MTIME_NOW)) === FATTR_MTIME
  if (isMtimeGiven && word(r, r.at + fuse_setattr_in.mtimensec) >= NS_PER_S) return -EINVAL
  return replyAttr(r, r.fs.setattr(r.node, r.at, r.out + fuse_attr_out.attr))
}

export function readlink(r: Request): number {
  return r.fs.readlink(r.node, r.out, Math.min(r.capacity, TARGET_MAX))
}

function copyWords(u32: Uint32Array, to: number, from: number, count: number): void {
  for (let i = 0; i < count; i++) u32[to + i] = u32[from + i]!
}

function putTime(u32: Uint32Array, to: number, seconds: number, nanoseconds: number): void {
  copyWords(u32, to, seconds, 2)
  u32[to + 2] = u32[nanoseconds]!
  u32[to + 3] = 0
}

/** Writes major and minor of a device number packed by new_encode_dev(). */
function putDevice(u32: Uint32Array, to: number, device: number): void {
  u32[to] = (device >>> 8) & 0xfff
  u32[to + 1] = (device & 0xff) | ((device >>> 12) & 0xfff00)
}

/** Writes struct fuse_statx at word `to` from the Stat at word `from`. */
function putStatx(u32: Uint32Array, to: number, from: number): void {
  u32.fill(0, to, to + (fuse_statx.bytes >> 2))
  const hasBtime = u32[from + STAT_BTIME] !== 0 || u32[from + STAT_BTIME + 1] !== 0
  u32[to + (fuse_statx.mask >> 2)] = STATX_BASIC_STATS | (hasBtime ? STATX_BTIME : 0)
  u32[to + (fuse_statx.blksize >> 2)] = u32[from + STAT_BLKSIZE]!
  u32[to + (fuse_statx.attributes >> 2)] = u32[from + STAT_ATTRIBUTES]! & STATX_ATTRIBUTES
  u32[to + (fuse_statx.nlink >> 2)] = u32[from + STAT_NLINK]!
  u32[to + (fuse_statx.uid >> 2)] = u32[from + STAT_UID]!
  u32[to + (fuse_statx.gid >> 2)] = u32[from + STAT_GID]!
  u32[to + (fuse_statx.mode >> 2)] = u32[from + STAT_MODE]! & 0xffff
  copyWords(u32, to + (fuse_statx.ino >> 2), from + STAT_INO, 2)
  copyWords(u32, to + (fuse_statx.size >> 2), from + STAT_SIZE, 2)
  copyWords(u32, to + (fuse_statx.blocks >> 2), from + STAT_BLOCKS, 2)
  u32[to + (fuse_statx.attributes_mask >> 2)] = STATX_ATTRIBUTES
  putTime(u32, to + (fuse_statx.atime >> 2), from + STAT_ATIME, from + STAT_ATIME_NS)
  putTime(u32, to + (fuse_statx.btime >> 2), from + STAT_BTIME, from + STAT_BTIME_NS)
  putTime(u32, to + (fuse_statx.ctime >> 2), from + STAT_CTIME, from + STAT_CTIME_NS)
  putTime(u32, to + (fuse_statx.mtime >> 2), from + STAT_MTIME, from + STAT_MTIME_NS)
  putDevice(u32, to + (fuse_statx.rdev_major >> 2), u32[from + STAT_RDEV]!)
  putDevice(u32, to + (fuse_statx.dev_major >> 2), u32[from + STAT_DEV]!)
}

/** The Stat is taken behind the reply and spread out from there. */
export function statx(r: Request): number {
  const handle = optionalHandle(r)
  if (handle < NO_HANDLE) return -EBADF
  const stat = r.out + fuse_statx_out.bytes
  if (r.capacity < fuse_statx_out.bytes + STAT_WORDS * 4) return -EIO
  const w = stat >> 2
  r.u32.fill(0, w + ATTR_WORDS, w + STAT_WORDS)
  const result = r.fs.statx(r.node, handle, stat)
  if (isFinal(result)) return result
  putAttrTimeout(r, w)
  r.u32.fill(0, (r.out >> 2) + 4, (r.out + fuse_statx_out.stat) >> 2)
  putStatx(r.u32, (r.out + fuse_statx_out.stat) >> 2, w)
  return fuse_statx_out.bytes
}

export function statfs(r: Request): number {
  const result = r.fs.statfs(r.node, r.out)
  return isFinal(result) ? result : fuse_kstatfs.bytes
}

/** Returns the end of the attribute's name at `from` (its NUL), or a negative errno. */
function takeXattrName(r: Request, from: number): number {
  const length = takeString(r, from)
  if (length < 0) return length
  return length > 0 && length <= XATTR_NAME_MAX ? from + length : -ERANGE
}

/** Ends GETXATTR and LISTXATTR: with the bytes, or with their number when `size` is 0. */
function replyXattr(r: Request, size: number, result: number): number {
  if (isFinal(result)) return result
  if (size > 0) return result <= size ? result : -ERANGE
  r.u32[(r.out + fuse_getxattr_out.size) >> 2] = result
  r.u32[(r.out >> 2) + 1] = 0
  return fuse_getxattr_out.bytes
}

export function getxattr(r: Request): number {
  const end = takeXattrName(r, r.rest)
  if (end < 0) return end
  const size = Math.min(word(r, r.at + fuse_getxattr_in.size), r.capacity)
  return replyXattr(r, size, r.fs.getxattr(r.node, r.rest, r.out, size))
}

export function listxattr(r: Request): number {
  const size = Math.min(word(r, r.at + fuse_getxattr_in.size), r.capacity)
  return replyXattr(r, size, r.fs.listxattr(r.node, r.out, size))
}

export function setxattr(r: Request): number {
  const isLong = r.agreed[AGREED_HAS_SETXATTR_EXT] !== 0
  const name = r.at + (isLong ? fuse_setxattr_in.bytes : FUSE_COMPAT_SETXATTR_IN_SIZE)
  const end = takeXattrName(r, name)
  if (end < 0) return end
  const size = word(r, r.at + fuse_setxattr_in.size)
  if (size > XATTR_SIZE_MAX) return -E2BIG
  const value = end + 1
  if (size > r.end - value) return -EINVAL
  const flags = word(r, r.at + fuse_setxattr_in.flags)
  const extra = isLong ? word(r, r.at + fuse_setxattr_in.setxattr_flags) : 0
  return replyEmpty(r.fs.setxattr(r.node, name, value, size, flags, extra))
}

export function removexattr(r: Request): number {
  const end = takeXattrName(r, r.rest)
  return end < 0 ? end : replyEmpty(r.fs.removexattr(r.node, r.rest))
}
