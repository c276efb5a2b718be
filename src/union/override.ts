// Owner and mode kept in an attribute instead of on the file, for servers that may not give files away
// (--xattr-permissions, containers/storage's force_mask): `UID:GID:MODE[:TYPE]`, mode in octal.
//
// The file itself belongs to the server, which can always read and write it. Symbolic links, and what
// else can't have the attribute, keep what they really are. For reading see attr.ts:overrideStat().

import { EINVAL, EOPNOTSUPP, EPERM } from '../base/errno.js'
import { SCRATCH_STAT2, SCRATCH_VALUE, STAT_GID, STAT_MODE, STAT_RDEV, STAT_UID } from '../vfs/arena.js'
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, statReal } from './attr.js'
import type { Union } from './union.js'

const S_ISUID = 0o4000
const S_ISGID = 0o2000
const TYPES = new Map([
  [0o010000, 'pipe'],
  [0o140000, 'socket'],
  [0o020000, 'char'],
  [0o060000, 'block'],
])
const W2 = SCRATCH_STAT2 >> 2

/** Returns the type in words where a plain file stands for something else, else ''. */
function typeWords(mode: number, rdev: number): string {
  const type = TYPES.get(mode & S_IFMT) ?? ''
  if (type !== 'char' && type !== 'block') return type === '' ? '' : `:${type}`
  return `:${type}-${(rdev >>> 8) & 0xfff}-${(rdev & 0xff) | ((rdev >>> 12) & 0xfff00)}`
}

/** The bits that the file itself gets: those of the mode, and what the server needs. */
export function realMode(mode: number): number {
  return (mode & 0o777) | ((mode & S_IFMT) === S_IFDIR ? 0o700 : 0o600)
}

/**
 * Writes owner and mode (as on disk, before any mapping) to an object of the upper. `isStandIn`: it is a
 * plain file that stands for what the mode's type says. Returns 0 or -errno.
 */
export function writeOverride(
  u: Union,
  fd: number,
  ref: number,
  uid: number,
  gid: number,
  mode: number,
  isStandIn: boolean,
  rdev: number,
): number {
  const type = isStandIn ? typeWords(mode, rdev) : ''
  const text = `${uid}:${gid}:${(mode & 0o7777).toString(8)}${type}`
  for (let i = 0; i < text.length; i++) u.bytes[SCRATCH_VALUE + i] = text.charCodeAt(i)
  const r = u.sys.setXattrAt(fd, ref, u.refs.override[0]!, SCRATCH_VALUE, text.length, 0)
  if (r !== -EPERM && r !== -EOPNOTSUPP) return r
  // Attributes of users are for plain files and directories only (xattr(7)).
  return (mode & S_IFMT) === S_IFREG || (mode & S_IFMT) === S_IFDIR || isStandIn
    ? r
    : writeReal(u, fd, ref, mode)
}

function writeReal(u: Union, fd: number, ref: number, mode: number): number {
  return (mode & S_IFMT) === S_IFLNK ? 0 : u.sys.chmodAt(fd, ref, mode & 0o777)
}

/** Tells whether a plain file stands for what the Stat at word `w` shows, after overrideStat(). */
function isStandIn(u: Union, fd: number, ref: number, shown: number): boolean {
  if ((shown & S_IFMT) === S_IFREG || (shown & S_IFMT) === S_IFDIR) return false
  if (u.sys.statAt(fd, ref, SCRATCH_STAT2) < 0) return false
  return (u.u32[W2 + STAT_MODE]! & S_IFMT) === S_IFREG
}

/**
 * Changes what an object of the upper shows as owner (disk ids; -1: as it is) and mode (-1: as it is). A
 * change of owner takes set-id bits along, as chown(2) does. Returns 0 or -errno.
 */
export function changeOverride(
  u: Union,
  fd: number,
  ref: number,
  uid: number,
  gid: number,
  mode: number,
): number {
  let r = statReal(u, fd, ref, SCRATCH_STAT2)
  if (r < 0) return r
  const had = u.u32[W2 + STAT_MODE]!
  const newUid = uid === -1 ? u.u32[W2 + STAT_UID]! : uid
  const newGid = gid === -1 ? u.u32[W2 + STAT_GID]! : gid
  const rdev = u.u32[W2 + STAT_RDEV]!
  const standsIn = isStandIn(u, fd, ref, had)
  let bits = had & 0o7777
  if ((uid !== -1 || gid !== -1) && (had & S_IFMT) !== S_IFDIR) {
    bits &= ~S_ISUID
    if ((bits & 0o010) !== 0) bits &= ~S_ISGID
  }
  if (mode !== -1) bits = mode & 0o7777
  r = writeOverride(u, fd, ref, newUid, newGid, (had & S_IFMT) | bits, standsIn, rdev)
  if (r < 0 || mode === -1 || (had & S_IFMT) === S_IFLNK) return r
  return u.sys.chmodAt(fd, ref, realMode((had & S_IFMT) | bits))
}

/**
 * Gives a new object of the upper, made by the server for itself, what it is to show: the permissions that
 * umask and default ACL left it, the rest of `mode`, the owner, and the group of a setgid directory
 * (`parent`: an fd of it). `type`: what a plain file stands for, else 0. Returns 0 or -errno.
 */
export function stampNew(
  u: Union,
  parent: number,
  fd: number,
  ref: number,
  owner: { readonly uid: number; readonly gid: number; readonly mode: number },
  type: number,
  rdev: number,
): number {
  let r = statReal(u, parent, 0, SCRATCH_STAT2)
  if (r < 0) return r
  const isSetGid = (u.u32[W2 + STAT_MODE]! & S_ISGID) !== 0
  const gid = isSetGid ? u.u32[W2 + STAT_GID]! : owner.gid
  r = u.sys.statAt(fd, ref, SCRATCH_STAT2)
  if (r < 0) return r
  const real = u.u32[W2 + STAT_MODE]!
  const isDir = (real & S_IFMT) === S_IFDIR
  let mode = (real & 0o777) | (owner.mode & 0o7000)
  if (isDir && isSetGid) mode |= S_ISGID
  if (owner.uid < 0 || gid < 0) return -EINVAL
  const kind = type === 0 ? real & S_IFMT : type
  r = writeOverride(u, fd, ref, owner.uid, gid, kind | mode, type !== 0, rdev)
  if (r < 0 || kind === S_IFLNK) return r
  return u.sys.chmodAt(fd, ref, realMode(kind | mode))
}

/** Makes an object of the upper show what another one shows. Returns 0 or -errno. */
export function copyOverride(u: Union, fromFd: number, fromRef: number, toFd: number, toRef: number): number {
  const r = statReal(u, fromFd, fromRef, SCRATCH_STAT2)
  if (r < 0) return r
  const mode = u.u32[W2 + STAT_MODE]!
  const uid = u.u32[W2 + STAT_UID]!
  const gid = u.u32[W2 + STAT_GID]!
  const rdev = u.u32[W2 + STAT_RDEV]!
  const e = writeOverride(u, toFd, toRef, uid, gid, mode, isStandIn(u, toFd, toRef, mode), rdev)
  return e < 0 || (mode & S_IFMT) === S_IFLNK ? e : u.sys.chmodAt(toFd, toRef, realMode(mode))
}

/** Makes the upper's root show what a marked lower's shows, or its own, unless it says something already. */
export function markRoot(u: Union): number {
  const { layers } = u.config
  const { fd } = layers[0]!
  const has = (at: number, ref: number) => u.sys.getXattrAt(at, 0, ref, SCRATCH_VALUE, 0) >= 0
  if (has(fd, u.refs.override[0]!)) return 0
  const marked = layers.slice(1).find((layer) => u.refs.override.some((ref) => has(layer.fd, ref)))
  return copyOverride(u, marked?.fd ?? fd, 0, fd, 0)
}
