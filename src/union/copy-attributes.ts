// What a copy shows beside its bytes: owner, extended attributes, mode and times of what it is a copy of.
//
// See fs/overlayfs/copy_up.c:ovl_set_attr() and ovl_copy_xattr().

import { EINVAL, ENODATA, EOPNOTSUPP, EPERM, ERANGE } from '../base/errno.js'
import {
  SCRATCH_LIST,
  SCRATCH_VALUE,
  STAT_ATIME,
  STAT_ATIME_NS,
  STAT_GID,
  STAT_MODE,
  STAT_MTIME,
  STAT_MTIME_NS,
  STAT_UID,
} from '../vfs/arena.js'
import { S_IFLNK, S_IFMT } from './attr.js'
import { copyOverride } from './override.js'
import { TIMES } from './scratch.js'
import type { Union } from './union.js'
import { isInternalAt, isOverride } from './user-xattr.js'

/**
 * Copies owner, xattrs (not ours), mode and times, in this order: a change of owner drops suid bits
 * and the capability, an ACL changes the mode. `w`: the source's Stat. Returns 0 or -errno.
 */
export function copyAttributes(
  u: Union,
  fromFd: number,
  fromRef: number,
  toFd: number,
  toRef: number,
  w: number,
): number {
  const { sys } = u
  if (u.hasOverride) return copyShown(u, fromFd, fromRef, toFd, toRef, w)
  const mode = u.u32[w + STAT_MODE]!
  let r = sys.chownAt(toFd, toRef, u.u32[w + STAT_UID]!, u.u32[w + STAT_GID]!)
  // An unprivileged owner of the mount can't give files away; the file is his then.
  if (r < 0 && r !== -EPERM && r !== -EINVAL) return r
  r = copyXattrs(u, fromFd, fromRef, toFd, toRef)
  if (r < 0) return r
  if ((mode & S_IFMT) !== S_IFLNK) {
    r = sys.chmodAt(toFd, toRef, mode & 0o7777)
    if (r < 0) return r
  }
  return sys.utimensAt(toFd, toRef, writeTimes(u, w))
}

/** copyAttributes() where an attribute keeps owner and mode. */
function copyShown(
  u: Union,
  fromFd: number,
  fromRef: number,
  toFd: number,
  toRef: number,
  w: number,
): number {
  const times = writeTimes(u, w)
  let r = copyXattrs(u, fromFd, fromRef, toFd, toRef)
  if (r >= 0) r = copyOverride(u, fromFd, fromRef, toFd, toRef)
  return r < 0 ? r : u.sys.utimensAt(toFd, toRef, times)
}

function copyXattrs(u: Union, fromFd: number, fromRef: number, toFd: number, toRef: number): number {
  const { sys } = u
  const length = sys.listXattrAt(fromFd, fromRef, SCRATCH_LIST, 65536)
  if (length <= 0) return length === -EOPNOTSUPP ? 0 : length
  const end = SCRATCH_LIST + length
  for (let name = SCRATCH_LIST; name < end; ) {
    let nul = name
    while (nul < end && u.bytes[nul] !== 0) nul++
    if (!isInternalAt(u.bytes, name, nul - name) && !isOverride(u, name, nul - name)) {
      const size = sys.getXattrAt(fromFd, fromRef, name, SCRATCH_VALUE, 65536)
      if (size >= 0) {
        const r = sys.setXattrAt(toFd, toRef, name, SCRATCH_VALUE, size, 0)
        if (r < 0 && r !== -EOPNOTSUPP && !(r === -EPERM && !isUserXattr(u.bytes, name))) return r
      } else if (size !== -ENODATA && size !== -EOPNOTSUPP && size !== -ERANGE) return size
    }
    name = nul + 1
  }
  return 0
}

/** Names that any owner may set: a refusal there is an error, elsewhere (trusted.) it is our lack. */
function isUserXattr(bytes: Uint8Array, name: number): boolean {
  return (
    bytes[name] === 0x75 && bytes[name + 1] === 0x73 && bytes[name + 2] === 0x65 && bytes[name + 3] === 0x72
  )
}

/** Writes the atime and mtime of the Stat at word `w` to TIMES and returns its place. */
export function writeTimes(u: Union, w: number): number {
  const o = TIMES >> 2
  u.u32[o] = u.u32[w + STAT_ATIME]!
  u.u32[o + 1] = u.u32[w + STAT_ATIME + 1]!
  u.u32[o + 2] = u.u32[w + STAT_ATIME_NS]!
  u.u32[o + 3] = u.u32[w + STAT_MTIME]!
  u.u32[o + 4] = u.u32[w + STAT_MTIME + 1]!
  u.u32[o + 5] = u.u32[w + STAT_MTIME_NS]!
  return TIMES
}
