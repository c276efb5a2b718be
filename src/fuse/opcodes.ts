// One row per opcode: its name, the size of its struct, what follows the struct, and its call.
//
// The session checks size and names by the row before it makes the call, so a call may read its
// whole struct and use its names. What else a request holds, the call checks itself.

import { EINVAL, EIO, ENOSYS } from '../base/errno.js'
import { NO_REPLY } from '../vfs/file-system.js'
import {
  FUSE_COMPAT_SETXATTR_IN_SIZE,
  FUSE_INIT_IN_BASE_BYTES,
  fuse_access_in,
  fuse_batch_forget_in,
  fuse_copy_file_range_in,
  fuse_create_in,
  fuse_fallocate_in,
  fuse_forget_in,
  fuse_fsync_in,
  fuse_getattr_in,
  fuse_getxattr_in,
  fuse_interrupt_in,
  fuse_ioctl_in,
  fuse_link_in,
  fuse_lseek_in,
  fuse_mkdir_in,
  fuse_mknod_in,
  fuse_open_in,
  fuse_read_in,
  fuse_release_in,
  fuse_rename_in,
  fuse_rename2_in,
  fuse_setattr_in,
  fuse_statx_in,
  fuse_syncfs_in,
  fuse_write_in,
  opcodes as op,
} from './abi.js'
import * as attr from './attr-calls.js'
import * as entry from './entry-calls.js'
import * as file from './file-calls.js'
import { init } from './init-call.js'
import { type Request, replyEmpty, takeName, takeString } from './request.js'

/** What lies behind the operation's struct. */
export const NOTHING = 0 // or something that the call takes apart itself
export const NAME = 1
export const NAME_OR_DOTS = 2 // "." and ".." too
export const TWO_NAMES = 3
export const NAME_AND_TARGET = 4 // a name, then a string of any bytes
export type Follows =
  | typeof NOTHING
  | typeof NAME
  | typeof NAME_OR_DOTS
  | typeof TWO_NAMES
  | typeof NAME_AND_TARGET

export type OpcodeRow = {
  /** As the kernel calls it, without `FUSE_`. */
  readonly name: string
  /** Bytes of its struct; a shorter request is refused. */
  readonly bytes: number
  readonly follows: Follows
  /** Returns the length of the reply's body, -errno, PARKED or NO_REPLY. */
  readonly call: (request: Request) => number
  /** The header's nodeid says which inode is meant. */
  readonly hasNode: boolean
  /** The kernel waits for no answer, and takes none. */
  readonly isReplyless: boolean
}

/** The kernel remembers this answer and asks no more. */
const unsupported = () => -ENOSYS
const ignored = () => NO_REPLY

function destroy(r: Request): number {
  r.onDestroy()
  return 0
}

/** Indexed by opcode; holes are opcodes that nobody knows. */
export const opcodeRows: readonly (OpcodeRow | undefined)[] = (() => {
  const table: (OpcodeRow | undefined)[] = []
  const codes = new Map<number, string>(Object.entries(op).map(([name, code]) => [code, name.slice(5)]))
  const fill = (
    code: number,
    bytes: number,
    follows: Follows,
    call: (r: Request) => number,
    traits: Partial<OpcodeRow> = {},
  ) => {
    table[code] = {
      name: codes.get(code)!,
      bytes,
      follows,
      call,
      hasNode: true,
      isReplyless: false,
      ...traits,
    }
  }
  const noNode = { hasNode: false }
  const noNodeNoReply = { hasNode: false, isReplyless: true }

  // -- the session
  fill(op.FUSE_INIT, FUSE_INIT_IN_BASE_BYTES, NOTHING, init, noNode)
  fill(op.FUSE_DESTROY, 0, NOTHING, destroy, noNode)
  // Parked requests end by themselves; an answer here would ask the kernel to send it again.
  fill(op.FUSE_INTERRUPT, fuse_interrupt_in.bytes, NOTHING, ignored, noNodeNoReply)
  fill(op.FUSE_NOTIFY_REPLY, 0, NOTHING, ignored, noNodeNoReply)

  // -- names
  fill(op.FUSE_LOOKUP, 0, NAME_OR_DOTS, entry.lookup)
  fill(op.FUSE_FORGET, fuse_forget_in.bytes, NOTHING, entry.forget, { isReplyless: true })
  fill(op.FUSE_BATCH_FORGET, fuse_batch_forget_in.bytes, NOTHING, entry.batchForget, noNodeNoReply)
  fill(op.FUSE_MKNOD, fuse_mknod_in.bytes, NAME, entry.mknod)
  fill(op.FUSE_MKDIR, fuse_mkdir_in.bytes, NAME, entry.mkdir)
  fill(op.FUSE_SYMLINK, 0, NAME_AND_TARGET, entry.symlink)
  fill(op.FUSE_LINK, fuse_link_in.bytes, NAME, entry.link)
  fill(op.FUSE_UNLINK, 0, NAME, entry.unlink)
  fill(op.FUSE_RMDIR, 0, NAME, entry.rmdir)
  fill(op.FUSE_RENAME, fuse_rename_in.bytes, TWO_NAMES, entry.rename)
  fill(op.FUSE_RENAME2, fuse_rename2_in.bytes, TWO_NAMES, entry.rename2)
  fill(op.FUSE_CREATE, fuse_create_in.bytes, NAME, entry.create)
  fill(op.FUSE_TMPFILE, fuse_create_in.bytes, NOTHING, entry.tmpfile)

  // -- attributes
  fill(op.FUSE_GETATTR, fuse_getattr_in.bytes, NOTHING, attr.getattr)
  fill(op.FUSE_SETATTR, fuse_setattr_in.bytes, NOTHING, attr.setattr)
  fill(op.FUSE_STATX, fuse_statx_in.bytes, NOTHING, attr.statx)
  fill(op.FUSE_READLINK, 0, NOTHING, attr.readlink)
  fill(op.FUSE_GETXATTR, fuse_getxattr_in.bytes, NOTHING, attr.getxattr)
  fill(op.FUSE_LISTXATTR, fuse_getxattr_in.bytes, NOTHING, attr.listxattr)
  fill(op.FUSE_SETXATTR, FUSE_COMPAT_SETXATTR_IN_SIZE, NOTHING, attr.setxattr)
  fill(op.FUSE_REMOVEXATTR, 0, NOTHING, attr.removexattr)
  fill(op.FUSE_STATFS, 0, NOTHING, attr.statfs)
  // The kernel checks permissions itself: mounts are default_permissions.
  fill(op.FUSE_ACCESS, fuse_access_in.bytes, NOTHING, unsupported)

  // -- files
  fill(op.FUSE_OPEN, fuse_open_in.bytes, NOTHING, file.open)
  fill(op.FUSE_READ, fuse_read_in.bytes, NOTHING, file.read)
  fill(op.FUSE_WRITE, fuse_write_in.bytes, NOTHING, file.write)
  // Nothing is kept back that a close would have to push out.
  fill(op.FUSE_FLUSH, 0, NOTHING, unsupported)
  fill(op.FUSE_RELEASE, fuse_release_in.bytes, NOTHING, file.release)
  fill(op.FUSE_FSYNC, fuse_fsync_in.bytes, NOTHING, file.fsync)
  fill(op.FUSE_FALLOCATE, fuse_fallocate_in.bytes, NOTHING, file.fallocate)
  fill(op.FUSE_LSEEK, fuse_lseek_in.bytes, NOTHING, file.lseek)
  fill(op.FUSE_COPY_FILE_RANGE, fuse_copy_file_range_in.bytes, NOTHING, file.copyFileRange)
  fill(op.FUSE_COPY_FILE_RANGE_64, fuse_copy_file_range_in.bytes, NOTHING, file.copyFileRange64)
  fill(op.FUSE_IOCTL, fuse_ioctl_in.bytes, NOTHING, file.ioctl)
  fill(op.FUSE_SYNCFS, fuse_syncfs_in.bytes, NOTHING, (r) => replyEmpty(r.fs.syncfs()), noNode)
  // Always ready, as plain files are.
  fill(op.FUSE_POLL, 0, NOTHING, unsupported)
  // A swap file on a union has no blocks of its own.
  fill(op.FUSE_BMAP, 0, NOTHING, unsupported)
  // Locks are the kernel's; see negotiate.ts.
  fill(op.FUSE_GETLK, 0, NOTHING, unsupported)
  fill(op.FUSE_SETLK, 0, NOTHING, unsupported)
  fill(op.FUSE_SETLKW, 0, NOTHING, unsupported)
  // virtiofs's.
  fill(op.FUSE_SETUPMAPPING, 0, NOTHING, unsupported)
  fill(op.FUSE_REMOVEMAPPING, 0, NOTHING, unsupported)

  // -- directories
  fill(op.FUSE_OPENDIR, fuse_open_in.bytes, NOTHING, file.opendir)
  fill(op.FUSE_READDIR, fuse_read_in.bytes, NOTHING, file.readdir)
  fill(op.FUSE_READDIRPLUS, fuse_read_in.bytes, NOTHING, file.readdirplus)
  fill(op.FUSE_RELEASEDIR, fuse_release_in.bytes, NOTHING, () => 0)
  fill(op.FUSE_FSYNCDIR, fuse_fsync_in.bytes, NOTHING, file.fsyncdir)
  return table
})()

/** Takes the names behind the struct into the request. Returns 0 or a negative errno. */
export function takeNames(r: Request, follows: Follows): number {
  if (follows === NOTHING) return 0
  r.name = r.rest
  r.nameLength = takeName(r, r.name, follows === NAME_OR_DOTS)
  if (r.nameLength < 0) return r.nameLength
  if (follows === NAME || follows === NAME_OR_DOTS) return 0
  r.name2 = r.name + r.nameLength + 1
  r.name2Length = follows === TWO_NAMES ? takeName(r, r.name2, false) : takeString(r, r.name2)
  return Math.min(r.name2Length, 0)
}

/** The errno of a request that is not what its header says. */
export const MALFORMED = -EINVAL
/** The errno of a request that could not be worked on. */
export const BROKEN = -EIO
