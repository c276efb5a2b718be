// Extended attributes as users see them: a driver's own are hidden, and a user's attribute with one
// of those names (a container that runs overlayfs itself) is stored one level deeper.
//
// See fs/overlayfs/xattrs.c: `trusted.overlay.X` of a user is `trusted.overlay.overlay.X` on disk.

import { E2BIG, EEXIST, EINVAL, EIO, ENODATA, EOPNOTSUPP, EPERM, ERANGE, EROFS } from '../base/errno.js'
import { ESCAPE, ESCAPED_PREFIXES, INTERNAL_PREFIXES, OVERRIDE_STAT } from '../format/markers.js'
import { SCRATCH_LIST, SCRATCH_STAT, STAT_MODE } from '../vfs/arena.js'
import { hasMoved, locate } from './address.js'
import { statReal } from './attr.js'
import { copyUp } from './copy-up.js'
import { startsWith } from './lookup.js'
import { changeOverride } from './override.js'
import { XATTR_NAME } from './scratch.js'
import type { Union } from './union.js'

const text = new TextEncoder()
const internal = INTERNAL_PREFIXES.map((prefix) => text.encode(prefix))
const overrides = OVERRIDE_STAT.map((name) => text.encode(name))
const escaped = ESCAPED_PREFIXES.map((prefix) => text.encode(prefix))
/** Names that the kernel lists for CAP_SYS_ADMIN only. */
const trusted = text.encode('trusted.')
const escapePrefix = text.encode(ESCAPE)
const XATTR_NAME_MAX = 255
const XATTR_CREATE = 1
const XATTR_REPLACE = 2

/** Tells whether an attribute on disk is a driver's own: not shown, not copied up. */
export function isInternalAt(bytes: Uint8Array, name: number, length: number): boolean {
  for (const prefix of internal) {
    if (!startsWith(bytes, name, length, prefix)) continue
    return !isEscapedAt(bytes, name, length)
  }
  return false
}

/** Tells whether an attribute says owner and mode, where that counts: who may write it may be anybody. */
export function isOverride(u: Union, name: number, length: number): boolean {
  if (!u.hasOverride) return false
  return overrides.some((each) => each.length === length && startsWith(u.bytes, name, length, each))
}

/** Tells whether an attribute on disk is a user's, stored one level deeper. */
function isEscapedAt(bytes: Uint8Array, name: number, length: number): boolean {
  for (const prefix of escaped) {
    if (startsWith(bytes, name, length, prefix)) {
      return startsWith(bytes, name + prefix.length, length - prefix.length, escapePrefix)
    }
  }
  return false
}

/** Returns where the on-disk name of a user's attribute name is, or -errno when it can't have one. */
function realName(u: Union, name: number): number {
  let length = 0
  while (u.bytes[name + length] !== 0) length++
  for (const prefix of escaped) {
    if (!startsWith(u.bytes, name, length, prefix)) continue
    if (length + escapePrefix.length > XATTR_NAME_MAX) return -EINVAL
    u.bytes.copyWithin(XATTR_NAME, name, name + prefix.length)
    u.bytes.set(escapePrefix, XATTR_NAME + prefix.length)
    u.bytes.copyWithin(
      XATTR_NAME + prefix.length + escapePrefix.length,
      name + prefix.length,
      name + length + 1,
    )
    return XATTR_NAME
  }
  return isInternalAt(u.bytes, name, length) || isOverride(u, name, length) ? -EPERM : name
}

/** getxattr(2): the value at `out`, its size; `capacity` 0 asks for the size alone. */
export function getXattr(u: Union, node: number, name: number, out: number, capacity: number): number {
  const real = realName(u, name)
  if (real < 0) return real === -EPERM ? -ENODATA : real
  for (let attempt = 0; attempt < 1000; attempt++) {
    const r = locate(u, node)
    if (r < 0) return r
    const size = u.sys.getXattrAt(u.fd, u.ref, real, out, capacity)
    if (!hasMoved(u)) return size
  }
  return -EIO
}

/** listxattr(2) of what users may see. */
export function listXattr(u: Union, node: number, out: number, capacity: number): number {
  let length = 0
  for (let attempt = 0; ; attempt++) {
    const r = locate(u, node)
    if (r < 0) return r
    length = u.sys.listXattrAt(u.fd, u.ref, SCRATCH_LIST, 65536)
    if (!hasMoved(u)) break
    if (attempt > 1000) return -EIO
  }
  if (length <= 0) return length === -EOPNOTSUPP ? 0 : length
  const end = SCRATCH_LIST + length
  let used = 0
  for (let name = SCRATCH_LIST; name < end; ) {
    let nul = name
    while (nul < end && u.bytes[nul] !== 0) nul++
    let size = nul - name + 1
    const isSecret = u.caller.uid !== 0 && startsWith(u.bytes, name, size - 1, trusted)
    if (!isSecret && !isInternalAt(u.bytes, name, size - 1) && !isOverride(u, name, size - 1)) {
      if (isEscapedAt(u.bytes, name, size - 1)) {
        // Shown without the extra level.
        for (const prefix of escaped) {
          if (!startsWith(u.bytes, name, size - 1, prefix)) continue
          u.bytes.copyWithin(name + prefix.length, name + prefix.length + escapePrefix.length, nul + 1)
          size -= escapePrefix.length
          break
        }
      }
      if (capacity !== 0) {
        if (used + size > capacity) return -ERANGE
        u.bytes.copyWithin(out + used, name, name + size)
      }
      used += size
    }
    name = nul + 1
  }
  return used
}

/** setxattr(2); a call that must fail does so without a copy-up. */
export function setXattr(
  u: Union,
  node: number,
  name: number,
  value: number,
  size: number,
  flags: number,
): number {
  if (!u.isWritable) return -EROFS
  if (size > 65536) return -E2BIG
  const real = realName(u, name)
  if (real < 0) return real
  if ((flags & (XATTR_CREATE | XATTR_REPLACE)) !== 0) {
    const r = locate(u, node)
    if (r < 0) return r
    if (!u.isUpper(u.layer)) {
      const has = u.sys.getXattrAt(u.fd, u.ref, real, SCRATCH_LIST, 0)
      if (has >= 0 && (flags & XATTR_CREATE) !== 0) return -EEXIST
      if (has === -ENODATA && (flags & XATTR_REPLACE) !== 0) return -ENODATA
    }
  }
  const r = copyUp(u, node)
  if (r !== 0) return r
  const l = locate(u, node)
  if (l < 0) return l
  return u.sys.setXattrAt(u.fd, u.ref, real, value, size, flags)
}

/** removexattr(2); of an absent name without a copy-up. */
export function removeXattr(u: Union, node: number, name: number): number {
  if (!u.isWritable) return -EROFS
  const real = realName(u, name)
  if (real < 0) return real === -EPERM ? -ENODATA : real
  let r = locate(u, node)
  if (r < 0) return r
  if (!u.isUpper(u.layer)) {
    const has = u.sys.getXattrAt(u.fd, u.ref, real, SCRATCH_LIST, 0)
    if (has < 0) return has
  }
  r = copyUp(u, node)
  if (r !== 0) return r
  r = locate(u, node)
  if (r < 0) return r
  return u.sys.removeXattrAt(u.fd, u.ref, real)
}

/** After a set of an ACL that asked for it: drops S_ISGID (FUSE_SETXATTR_ACL_KILL_SGID). */
export function dropSetGid(u: Union, node: number): void {
  if (locate(u, node) < 0 || statReal(u, u.fd, u.ref, SCRATCH_STAT) < 0) return
  const mode = u.u32[(SCRATCH_STAT >> 2) + STAT_MODE]!
  if ((mode & 0o2000) === 0) return
  if (u.hasOverride) changeOverride(u, u.fd, u.ref, -1, -1, mode & 0o5777)
  else u.sys.chmodAt(u.fd, u.ref, mode & 0o5777)
}
