// Requests on open files, and on directories.
//
// Handles pass through as numbers; directories have none. Offsets beyond 2^53 lie behind the end of every file: reading
// there finds nothing, writing there is EFBIG.

import { EBADF, EFBIG, EINVAL, EIO, ENOSYS, ENOTTY, ENXIO } from '../base/errno.js'
import { NO_HANDLE } from '../vfs/file-system.js'
import {
  FOPEN_CACHE_DIR,
  FOPEN_KEEP_CACHE,
  FS_IOC_FSGETXATTR,
  FS_IOC_FSSETXATTR,
  FS_IOC_GETFLAGS,
  FS_IOC_SETFLAGS,
  FS_IOC32_GETFLAGS,
  FS_IOC32_SETFLAGS,
  FUSE_FSYNC_FDATASYNC,
  fuse_copy_file_range_in,
  fuse_copy_file_range_out,
  fuse_dirent,
  fuse_direntplus,
  fuse_fallocate_in,
  fuse_fsync_in,
  fuse_ioctl_in,
  fuse_ioctl_out,
  fuse_lseek_in,
  fuse_lseek_out,
  fuse_open_in,
  fuse_open_out,
  fuse_read_in,
  fuse_release_in,
  fuse_write_in,
  fuse_write_out,
} from './abi.js'
import {
  isFinal,
  isNoOpen,
  isNoOpendir,
  putEntryTimeouts,
  putOpened,
  type Request,
  replyEmpty,
  takeFileHandle,
  takeHandle,
  takeNode,
  takeNumber,
  word,
} from './request.js'

const SEEK_LAST = 4 // SEEK_HOLE
/** What COPY_FILE_RANGE's u32 count can say, in whole pages. */
const COPY_MAX = 0xfffff000
const IOCTL_IS_DIR = 1 << 4
const IOCTL_DATA_MAX = 4096
const FSXATTR_BYTES = 28
const NAME_LIMIT = 1024

/** ENOSYS makes the kernel open without asking from here on (fs/fuse/file.c:fuse_file_open()). */
export function open(r: Request): number {
  if (isNoOpen(r)) return -ENOSYS
  const flags = word(r, r.at + fuse_open_in.flags)
  const result = r.fs.open(r.node, flags, word(r, r.at + fuse_open_in.open_flags))
  return isFinal(result) ? result : putOpened(r, r.out)
}

/** ENOSYS makes the kernel open without asking, and keep listings as these flags say (fs/fuse/file.c:fuse_file_open()). */
export function opendir(r: Request): number {
  if (isNoOpendir(r)) return -ENOSYS
  const w = r.out >> 2
  r.u32.fill(0, w, w + (fuse_open_out.bytes >> 2))
  r.u32[w + (fuse_open_out.open_flags >> 2)] = FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR
  return fuse_open_out.bytes
}

export function read(r: Request): number {
  const handle = takeFileHandle(r, r.at + fuse_read_in.fh)
  if (handle < NO_HANDLE) return -EBADF
  const size = word(r, r.at + fuse_read_in.size)
  if (size > r.capacity) return -EINVAL
  const offset = takeNumber(r, r.at + fuse_read_in.offset)
  return offset < 0 ? 0 : r.fs.read(r.node, handle, offset, size, r.out)
}

export function write(r: Request): number {
  const handle = takeFileHandle(r, r.at + fuse_write_in.fh)
  if (handle < NO_HANDLE) return -EBADF
  const size = word(r, r.at + fuse_write_in.size)
  let { data } = r
  if (data === 0) {
    data = r.rest
    if (size > r.end - data) return -EINVAL
  } else if (size > r.bytes.length - data) return -EINVAL
  const offset = takeNumber(r, r.at + fuse_write_in.offset)
  if (offset < 0 || offset + size > Number.MAX_SAFE_INTEGER) return -EFBIG
  const writeFlags = word(r, r.at + fuse_write_in.write_flags)
  const result = r.fs.write(r.node, handle, offset, size, data, writeFlags)
  if (isFinal(result)) return result
  r.u32[(r.out + fuse_write_out.size) >> 2] = result
  r.u32[(r.out >> 2) + 1] = 0
  return fuse_write_out.bytes
}

export function fsync(r: Request): number {
  const handle = takeFileHandle(r, r.at + fuse_fsync_in.fh)
  if (handle < NO_HANDLE) return -EBADF
  const isDataOnly = (word(r, r.at + fuse_fsync_in.fsync_flags) & FUSE_FSYNC_FDATASYNC) !== 0
  return replyEmpty(r.fs.fsync(r.node, handle, isDataOnly))
}

export function release(r: Request): number {
  const handle = takeFileHandle(r, r.at + fuse_release_in.fh)
  return handle < 0 ? -EBADF : replyEmpty(r.fs.release(r.node, handle))
}

export function fallocate(r: Request): number {
  const handle = takeFileHandle(r, r.at + fuse_fallocate_in.fh)
  if (handle < NO_HANDLE) return -EBADF
  const offset = takeNumber(r, r.at + fuse_fallocate_in.offset)
  const length = takeNumber(r, r.at + fuse_fallocate_in.length)
  if (offset < 0 || length < 0 || offset + length > Number.MAX_SAFE_INTEGER) return -EFBIG
  const mode = word(r, r.at + fuse_fallocate_in.mode)
  return replyEmpty(r.fs.fallocate(r.node, handle, offset, length, mode))
}

export function lseek(r: Request): number {
  const handle = takeFileHandle(r, r.at + fuse_lseek_in.fh)
  if (handle < NO_HANDLE) return -EBADF
  const whence = word(r, r.at + fuse_lseek_in.whence)
  if (whence > SEEK_LAST) return -EINVAL
  const offset = takeNumber(r, r.at + fuse_lseek_in.offset)
  if (offset < 0) return -ENXIO
  const result = r.fs.lseek(r.node, handle, offset, whence, r.out)
  return isFinal(result) ? result : fuse_lseek_out.bytes
}

/**
 * Both forms: the old reply is a u32 count with padding, which reads the same as the new u64
 * as long as the count fits. Copying less than asked for is allowed (copy_file_range(2)).
 */
function copyRange(r: Request, most: number): number {
  const handleIn = takeFileHandle(r, r.at + fuse_copy_file_range_in.fh_in)
  const handleOut = takeFileHandle(r, r.at + fuse_copy_file_range_in.fh_out)
  if (handleIn < NO_HANDLE || handleOut < NO_HANDLE) return -EBADF
  const nodeOut = takeNode(r, r.at + fuse_copy_file_range_in.nodeid_out)
  if (nodeOut < 0) return nodeOut
  const flagsAt = r.at + fuse_copy_file_range_in.flags
  if (word(r, flagsAt) !== 0 || word(r, flagsAt + 4) !== 0) return -EINVAL
  const offsetIn = takeNumber(r, r.at + fuse_copy_file_range_in.off_in)
  const offsetOut = takeNumber(r, r.at + fuse_copy_file_range_in.off_out)
  if (offsetOut < 0) return -EFBIG
  const asked = takeNumber(r, r.at + fuse_copy_file_range_in.len)
  const room = Number.MAX_SAFE_INTEGER - Math.max(offsetIn, offsetOut)
  const length = Math.min(asked < 0 ? most : asked, most, room)
  r.u32[r.out >> 2] = 0
  r.u32[(r.out >> 2) + 1] = 0
  if (offsetIn < 0) return fuse_copy_file_range_out.bytes
  const result = r.fs.copyFileRange(r.node, handleIn, offsetIn, nodeOut, handleOut, offsetOut, length, r.out)
  return isFinal(result) ? result : fuse_copy_file_range_out.bytes
}

export function copyFileRange(r: Request): number {
  return copyRange(r, COPY_MAX)
}

export function copyFileRange64(r: Request): number {
  return copyRange(r, Number.MAX_SAFE_INTEGER)
}

/** Returns the bytes an ioctl takes and gives, or 0 for one that is not served. */
function ioctlBytes(command: number): number {
  switch (command) {
    case FS_IOC_GETFLAGS:
    case FS_IOC_SETFLAGS:
    case FS_IOC32_GETFLAGS:
    case FS_IOC32_SETFLAGS:
      return 4
    case FS_IOC_FSGETXATTR:
    case FS_IOC_FSSETXATTR:
      return FSXATTR_BYTES
    default:
      return 0
  }
}

/** The reply is always as long as asked for (fs/fuse/ioctl.c:fuse_priv_ioctl() wants it exact). */
export function ioctl(r: Request): number {
  const command = word(r, r.at + fuse_ioctl_in.cmd)
  const bytes = ioctlBytes(command)
  if (bytes === 0) return -ENOTTY
  const isDir = (word(r, r.at + fuse_ioctl_in.flags) & IOCTL_IS_DIR) !== 0
  const handle = isDir ? takeHandle(r, r.at + fuse_ioctl_in.fh) : takeFileHandle(r, r.at + fuse_ioctl_in.fh)
  if (handle < NO_HANDLE) return -EBADF
  const inSize = word(r, r.at + fuse_ioctl_in.in_size)
  const outSize = word(r, r.at + fuse_ioctl_in.out_size)
  if (inSize > r.end - r.rest || outSize > IOCTL_DATA_MAX) return -EINVAL
  const isSet = command === FS_IOC_SETFLAGS || command === FS_IOC32_SETFLAGS || command === FS_IOC_FSSETXATTR
  if ((isSet ? inSize : outSize) < bytes) return -EINVAL

  const head = r.out >> 2
  const body = r.out + fuse_ioctl_out.bytes
  const result = r.fs.ioctl(r.node, handle, command, r.rest, inSize, body, outSize)
  if (isFinal(result)) return result
  if (result > outSize) return -EIO
  r.u32.fill(0, head, head + (fuse_ioctl_out.bytes >> 2))
  r.bytes.fill(0, body + result, body + outSize)
  return fuse_ioctl_out.bytes + outSize
}

export function readdir(r: Request): number {
  const offset = takeNumber(r, r.at + fuse_read_in.offset)
  if (offset < 0) return -EINVAL
  const capacity = Math.min(word(r, r.at + fuse_read_in.size), r.capacity)
  return r.fs.readdir(r.node, offset, r.out, capacity)
}

/** Entries with nodeid 0 were not looked up; the kernel takes nothing but the name from them. */
function stampEntries(r: Request, length: number): void {
  const end = r.out + length
  let at = r.out
  while (at + fuse_direntplus.bytes <= end) {
    if (r.u32[at >> 2] !== 0) putEntryTimeouts(r, at)
    const nameLength = word(r, at + fuse_direntplus.dirent + fuse_dirent.namelen)
    if (nameLength > NAME_LIMIT) return
    at += (fuse_direntplus.bytes + nameLength + 7) & ~7
  }
}

export function readdirplus(r: Request): number {
  const offset = takeNumber(r, r.at + fuse_read_in.offset)
  if (offset < 0) return -EINVAL
  const capacity = Math.min(word(r, r.at + fuse_read_in.size), r.capacity)
  const result = r.fs.readdirplus(r.node, offset, r.out, capacity)
  if (!isFinal(result)) stampEntries(r, Math.min(result, capacity))
  return result
}

export function fsyncdir(r: Request): number {
  const isDataOnly = (word(r, r.at + fuse_fsync_in.fsync_flags) & FUSE_FSYNC_FDATASYNC) !== 0
  return replyEmpty(r.fs.fsyncdir(r.node, isDataOnly))
}
