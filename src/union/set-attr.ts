// SETATTR: mode, owner, size and times of a node.
// Order: size, owner, mode, times. A change of owner clears suid bits, so the mode comes after it.

import { EINVAL, EIO, EPERM, EROFS } from '../base/errno.js'
import { O_WRONLY } from '../base/open-flags.js'
import { locate } from './address.js'
import { getAttr } from './attr.js'
import { ALL, copyUp, current } from './copy-up.js'
import { at, F_UPPER, N_INFO } from './inode-table.js'
import { H_FLAGS, H_IS_LOWER, ownsHandle } from './open-file.js'
import { changeOverride } from './override.js'
import { TIMES } from './scratch.js'
import { HANDLE_WORDS } from './state.js'
import { killSuid } from './suid.js'
import type { Union } from './union.js'

export const FATTR_MODE = 1
export const FATTR_UID = 2
export const FATTR_GID = 4
export const FATTR_SIZE = 8
export const FATTR_ATIME = 16
export const FATTR_MTIME = 32
export const FATTR_FH = 64
export const FATTR_ATIME_NOW = 128
export const FATTR_MTIME_NOW = 256
export const FATTR_KILL_SUIDGID = 2048

// struct fuse_setattr_in, in words.
const S_VALID = 0
const S_FH = 2
const S_SIZE = 4
const S_ATIME = 8
const S_MTIME = 10
const S_ATIME_NS = 14
const S_MTIME_NS = 15
const S_MODE = 17
const S_UID = 19
const S_GID = 20

const UTIME_NOW = 0x3fffffff
const UTIME_OMIT = 0x3ffffffe

/** See fs/fuse/dir.c:fuse_do_setattr(). Writes the new attributes at `out`. */
export function setAttr(u: Union, node: number, input: number, out: number): number {
  if (!u.isWritable) return -EROFS
  const i = input >> 2
  const valid = u.u32[i + S_VALID]!
  const size = u.u32[i + S_SIZE]! + u.u32[i + S_SIZE + 1]! * 2 ** 32
  if ((valid & FATTR_SIZE) !== 0 && size > Number.MAX_SAFE_INTEGER) return -EINVAL
  if ((u.t.nodes[at(node) + N_INFO]! & F_UPPER) === 0 || current(u, node) !== node) {
    const r = copyUp(u, node, (valid & FATTR_SIZE) !== 0 ? size : ALL)
    if (r !== 0) return r
  }
  const r = locate(u, node)
  if (r < 0) return r
  if (!u.isUpper(u.layer)) return -EIO
  const e = change(u, i, valid, size)
  return e < 0 ? e : getAttr(u, node, out)
}

function change(u: Union, i: number, valid: number, size: number): number {
  const { fd, ref, sys } = u
  let r = 0
  if ((valid & FATTR_SIZE) !== 0) {
    r = truncate(u, i, valid, size)
    if (r < 0) return r
  }
  if (u.hasOverride && (valid & (FATTR_UID | FATTR_GID | FATTR_MODE)) !== 0) {
    r = changeShown(u, i, valid)
    if (r < 0) return r
    valid &= ~(FATTR_UID | FATTR_GID | FATTR_MODE)
  }
  if ((valid & (FATTR_UID | FATTR_GID)) !== 0) {
    const uid = (valid & FATTR_UID) !== 0 ? u.ids.diskUid(u.u32[i + S_UID]!) : -1
    const gid = (valid & FATTR_GID) !== 0 ? u.ids.diskGid(u.u32[i + S_GID]!) : -1
    if (u.ids.isUnmapped(uid, gid, valid)) return -EINVAL
    r = sys.chownAt(fd, ref, uid, gid)
    // A squashed owner is whatever it is.
    if (r < 0 && !(r === -EPERM && u.ids.isSquashed)) return r
  }
  if ((valid & FATTR_MODE) !== 0) {
    r = sys.chmodAt(fd, ref, u.u32[i + S_MODE]! & 0o7777)
    if (r < 0) return r
  }
  const times = FATTR_ATIME | FATTR_MTIME | FATTR_ATIME_NOW | FATTR_MTIME_NOW
  if ((valid & times) !== 0) r = setTimes(u, i, valid)
  return r
}

/** Owner and mode, where an attribute keeps them. */
function changeShown(u: Union, i: number, valid: number): number {
  const uid = (valid & FATTR_UID) !== 0 ? u.ids.diskUid(u.u32[i + S_UID]!) : -1
  const gid = (valid & FATTR_GID) !== 0 ? u.ids.diskGid(u.u32[i + S_GID]!) : -1
  if (u.ids.isUnmapped(uid, gid, valid)) return -EINVAL
  return changeOverride(u, u.fd, u.ref, uid, gid, (valid & FATTR_MODE) !== 0 ? u.u32[i + S_MODE]! : -1)
}

function truncate(u: Union, i: number, valid: number, size: number): number {
  const { sys } = u
  const handle = u.u32[i + S_FH]!
  const canUseHandle =
    (valid & FATTR_FH) !== 0 &&
    ownsHandle(u, handle) &&
    (u.t.handles[handle * HANDLE_WORDS + H_FLAGS]! & H_IS_LOWER) === 0
  const fd = canUseHandle ? handle : sys.openAt(u.fd, u.ref, O_WRONLY)
  if (fd < 0) return fd
  let r = sys.truncate(fd, size)
  if (r >= 0 && (valid & FATTR_KILL_SUIDGID) !== 0) r = killSuid(u, fd)
  if (!canUseHandle) sys.close(fd)
  return r
}

function setTimes(u: Union, i: number, valid: number): number {
  const o = TIMES >> 2
  u.u32[o] = u.u32[i + S_ATIME]!
  u.u32[o + 1] = u.u32[i + S_ATIME + 1]!
  u.u32[o + 2] = nanoseconds(u.u32[i + S_ATIME_NS]!, valid, FATTR_ATIME, FATTR_ATIME_NOW)
  u.u32[o + 3] = u.u32[i + S_MTIME]!
  u.u32[o + 4] = u.u32[i + S_MTIME + 1]!
  u.u32[o + 5] = nanoseconds(u.u32[i + S_MTIME_NS]!, valid, FATTR_MTIME, FATTR_MTIME_NOW)
  return u.sys.utimensAt(u.fd, u.ref, TIMES)
}

function nanoseconds(value: number, valid: number, set: number, now: number): number {
  if ((valid & now) !== 0) return UTIME_NOW
  return (valid & set) !== 0 ? value : UTIME_OMIT
}
