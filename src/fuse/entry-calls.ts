// Requests about names in directories: looking up, making, removing, moving, and forgetting.
//
// The names were checked before; see opcodes.ts for which requests carry which.

import { EINVAL, ENAMETOOLONG, ENOENT, ENOSYS } from '../base/errno.js'
import { NO_REPLY } from '../vfs/file-system.js'
import {
  fuse_batch_forget_in,
  fuse_create_in,
  fuse_entry_out,
  fuse_forget_in,
  fuse_forget_one,
  fuse_link_in,
  fuse_mkdir_in,
  fuse_mknod_in,
  fuse_rename_in,
  fuse_rename2_in,
} from './abi.js'
import {
  isFinal,
  isNoOpen,
  putOpened,
  type Request,
  replyEmpty,
  replyEntry,
  replyNegativeEntry,
  takeNode,
  takeNumber,
  word,
} from './request.js'

const RENAME_FLAGS = 7 // RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT
const TARGET_MAX = 4095

export function lookup(r: Request): number {
  const result = r.fs.lookup(r.node, r.name, r.nameLength, r.out)
  if (result === -ENOENT && r.hasNegativeEntries) return replyNegativeEntry(r)
  return replyEntry(r, result)
}

export function forget(r: Request): number {
  const count = takeNumber(r, r.at + fuse_forget_in.nlookup)
  if (count > 0) r.fs.forget(r.node, count)
  return NO_REPLY
}

/** Forgets as many as the request really holds. */
export function batchForget(r: Request): number {
  const held = Math.floor((r.end - r.rest) / fuse_forget_one.bytes)
  const count = Math.min(word(r, r.at + fuse_batch_forget_in.count), held)
  for (let i = 0, at = r.rest; i < count; i++, at += fuse_forget_one.bytes) {
    const node = takeNode(r, at + fuse_forget_one.nodeid)
    const references = takeNumber(r, at + fuse_forget_one.nlookup)
    if (node > 0 && references > 0) r.fs.forget(node, references)
  }
  return NO_REPLY
}

export function mknod(r: Request): number {
  r.fs.caller.umask = word(r, r.at + fuse_mknod_in.umask)
  const mode = word(r, r.at + fuse_mknod_in.mode)
  const rdev = word(r, r.at + fuse_mknod_in.rdev)
  return replyEntry(r, r.fs.mknod(r.node, r.name, r.nameLength, mode, rdev, r.out))
}

export function mkdir(r: Request): number {
  r.fs.caller.umask = word(r, r.at + fuse_mkdir_in.umask)
  const mode = word(r, r.at + fuse_mkdir_in.mode)
  return replyEntry(r, r.fs.mkdir(r.node, r.name, r.nameLength, mode, r.out))
}

/** The second name is the target: any bytes, 1 to 4095 of them (symlink(2)). */
export function symlink(r: Request): number {
  if (r.name2Length === 0) return -ENOENT
  if (r.name2Length > TARGET_MAX) return -ENAMETOOLONG
  return replyEntry(r, r.fs.symlink(r.node, r.name, r.nameLength, r.name2, r.out))
}

export function link(r: Request): number {
  const node = takeNode(r, r.at + fuse_link_in.oldnodeid)
  if (node < 0) return node
  return replyEntry(r, r.fs.link(node, r.node, r.name, r.nameLength, r.out))
}

export function unlink(r: Request): number {
  return replyEmpty(r.fs.unlink(r.node, r.name, r.nameLength))
}

export function rmdir(r: Request): number {
  return replyEmpty(r.fs.rmdir(r.node, r.name, r.nameLength))
}

function move(r: Request, newParent: number, flags: number): number {
  if (newParent < 0) return newParent
  if ((flags & ~RENAME_FLAGS) !== 0) return -EINVAL
  return replyEmpty(r.fs.rename(r.node, r.name, r.nameLength, newParent, r.name2, r.name2Length, flags))
}

export function rename(r: Request): number {
  return move(r, takeNode(r, r.at + fuse_rename_in.newdir), 0)
}

export function rename2(r: Request): number {
  return move(r, takeNode(r, r.at + fuse_rename2_in.newdir), word(r, r.at + fuse_rename2_in.flags))
}

/** Ends a call that made an entry and opened it: fuse_entry_out, then fuse_open_out. */
function replyCreated(r: Request, result: number): number {
  if (isFinal(result)) return result
  return replyEntry(r, result) + putOpened(r, r.out + fuse_entry_out.bytes)
}

/**
 * Without OPEN there is no RELEASE either (fs/fuse/file.c:fuse_file_put()), so a handle given
 * here would never come back: the kernel makes the file by MKNOD instead.
 */
export function create(r: Request): number {
  if (isNoOpen(r)) return -ENOSYS
  r.fs.caller.umask = word(r, r.at + fuse_create_in.umask)
  const flags = word(r, r.at + fuse_create_in.flags)
  const mode = word(r, r.at + fuse_create_in.mode)
  const openFlags = word(r, r.at + fuse_create_in.open_flags)
  return replyCreated(r, r.fs.create(r.node, r.name, r.nameLength, flags, mode, openFlags, r.out))
}

/** The name that the kernel sends along means nothing. Without OPEN: as create(). */
export function tmpfile(r: Request): number {
  if (isNoOpen(r)) return -ENOSYS
  r.fs.caller.umask = word(r, r.at + fuse_create_in.umask)
  const flags = word(r, r.at + fuse_create_in.flags)
  const mode = word(r, r.at + fuse_create_in.mode)
  const openFlags = word(r, r.at + fuse_create_in.open_flags)
  return replyCreated(r, r.fs.tmpfile(r.node, flags, mode, openFlags, r.out))
}
