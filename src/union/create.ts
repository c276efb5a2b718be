// Making new objects: create, mkdir, mknod, symlink, O_TMPFILE, link.
//
// The fast way makes the object right in the upper directory, owned by the caller from its first
// moment. Where a whiteout stands (fs/overlayfs/dir.c:ovl_create_over_whiteout()) it is made in the
// workdir and takes the whiteout's place in one rename; a directory there is opaque.

import { EEXIST, EIO, ENODATA, ENOMEM, EOPNOTSUPP, EPERM, isAbsent } from '../base/errno.js'
import { O_ACCMODE, O_CREAT, O_DIRECTORY, O_EXCL, O_PATH, O_SYNC } from '../base/open-flags.js'
import {
  SCRATCH_STAT,
  SCRATCH_VALUE,
  STAT_DEV,
  STAT_GID,
  STAT_INO,
  STAT_MODE,
  STAT_NLINK,
  STAT_UID,
} from '../vfs/arena.js'
import { ENTRY_ATTR } from '../vfs/file-system.js'
import { locate } from './address.js'
import { S_IFCHR, S_IFDIR, S_IFMT, S_IFREG, showIno, statReal } from './attr.js'
import { bind, forget, newNode, writeEntry } from './bind.js'
import { copyUp, markImpure, upperDir } from './copy-up.js'
import { addDentry, hashName } from './dentry-table.js'
import { releasePaths } from './dir-stack.js'
import { addLinked, at, F_DEAD, F_NAMELESS, N_INFO, N_LOOKUPS, N_PIN, N_SEQ } from './inode-table.js'
import { found, isDotWhiteout } from './lookup.js'
import { openReal } from './open-file.js'
import { stampNew } from './override.js'
import { LINK_NAME, STAGED_NAME } from './scratch.js'
import { directoryChanged, dropHalfListed } from './snapshot.js'
import { type Union, YES_AT } from './union.js'
import { hasDot, isWhiteoutAt, removeDot, replaceByWhiteout } from './whiteout.js'
import { tempName } from './workdir.js'

const AT_REMOVEDIR = 0x200
const RENAME_EXCHANGE = 2
const S_ISGID = 0o2000
/** Flags of the user's open that our own fd takes over: access mode, O_SYNC and O_DSYNC. */
export const KEPT_FLAGS = O_ACCMODE | O_SYNC

const KIND_FILE = 0
const KIND_DIR = 1
const KIND_NODE = 2
const KIND_SYMLINK = 3
const KIND_LINK = 4

/** What is to be made; filled by the entry points below, used by makeAt(). */
const spec = {
  kind: 0,
  mode: 0,
  rdev: 0,
  flags: 0,
  target: 0,
  uid: 0,
  gid: 0,
  umask: 0,
  fromFd: 0,
  fromRef: 0,
  /** The type of which a plain file is made, as only such a one can have the attribute; else 0. */
  standIn: 0,
}
/** What the object is to show, where an attribute says that: see override.ts. */
const shown = { uid: 0, gid: 0, mode: 0 }

function setOwner(u: Union, mode: number): void {
  spec.uid = u.ids.isIdentity ? u.caller.uid : u.ids.diskUid(u.caller.uid)
  spec.gid = u.ids.isIdentity ? u.caller.gid : u.ids.diskGid(u.caller.gid)
  spec.umask = u.caller.umask
  spec.mode = mode
  spec.standIn = 0
  if (!u.hasOverride) return
  shown.uid = spec.uid === -1 ? 0 : spec.uid
  shown.gid = spec.gid === -1 ? 0 : spec.gid
  shown.mode = mode
  spec.uid = spec.gid = -1
  spec.mode = mode & ~0o7000
}

/** Where an attribute keeps owner and mode, gives it to what was made in a directory. Returns 0 or -errno. */
function stamp(u: Union, dir: number, fd: number, ref: number): number {
  return u.hasOverride ? stampNew(u, dir, fd, ref, shown, spec.standIn, spec.rdev) : 0
}

/** Makes the object of `spec` at (fd, ref). Returns an fd for KIND_FILE, else 0, or -errno. */
function makeAt(u: Union, fd: number, ref: number): number {
  const { kind, mode, uid, gid, umask } = spec
  switch (kind) {
    case KIND_FILE:
      return u.sys.createAt(fd, ref, spec.flags | O_CREAT | O_EXCL, mode, uid, gid, umask)
    case KIND_DIR:
      return u.sys.mkdirAt(fd, ref, mode, uid, gid, umask)
    case KIND_NODE:
      if (spec.standIn !== 0) return makeStandIn(u, fd, ref)
      return u.sys.mknodAt(fd, ref, mode, spec.rdev, uid, gid, umask)
    case KIND_SYMLINK:
      return u.sys.symlinkAt(spec.target, fd, ref, uid, gid)
    default:
      return u.sys.linkAt(spec.fromFd, spec.fromRef, fd, ref)
  }
}

function makeStandIn(u: Union, fd: number, ref: number): number {
  const file = u.sys.createAt(fd, ref, O_CREAT | O_EXCL, spec.mode & 0o777, -1, -1, spec.umask)
  return file < 0 ? file : u.sys.close(file)
}

/** Makes the object of `spec` in a directory of the mount. Returns as makeAt(). */
function make(u: Union, parent: number, name: number, length: number): number {
  // Such a name would be a whiteout at the next mount.
  if (isDotWhiteout(u.bytes, name, length)) return -EPERM
  isOverWhiteout = false
  const fd = upperDir(u, parent)
  if (fd < 0) return fd
  if (spec.kind === KIND_DIR) {
    const dot = hasDot(u, fd, name)
    if (dot < 0) return dot
    if (dot === 1) return makeOver(u, fd, name, false)
  }
  const r = makeAt(u, fd, name)
  if (r !== -EEXIST) return r
  const whiteout = isWhiteoutAt(u, fd, name)
  return whiteout === 1 ? makeOver(u, fd, name, true) : whiteout < 0 ? whiteout : -EEXIST
}

/** Set by make(): a whiteout was there before. */
let isOverWhiteout = false

/** Makes the object in the workdir and puts it where a whiteout stands (or a `.wh.` hides). */
function makeOver(u: Union, fd: number, name: number, hasNode: boolean): number {
  const { sys } = u
  const { workFd } = u.config
  isOverWhiteout = true
  const stage = inheriting(u, fd)
  if (stage < 0) return stage
  const dir = stage === 0 ? workFd : stage
  const temp = stage === 0 ? tempName(u) : STAGED_NAME
  if (stage !== 0) {
    u.bytes[STAGED_NAME] = 0x66
    u.bytes[STAGED_NAME + 1] = 0
  }
  const isDir = spec.kind === KIND_DIR
  const made = makeAt(u, dir, temp)
  let r = made
  if (made >= 0 && isDir) r = sys.setXattrAt(dir, temp, u.refs.opaque, YES_AT, 1, 0)
  if (r >= 0) r = sys.renameAt(dir, temp, fd, name, isDir && hasNode ? RENAME_EXCHANGE : 0)
  if (r >= 0 && isDir) {
    if (hasNode) sys.unlinkAt(dir, temp, 0)
    removeDot(u, fd, name)
  }
  if (made >= 0 && r < 0) {
    sys.unlinkAt(dir, temp, isDir ? AT_REMOVEDIR : 0)
    if (spec.kind === KIND_FILE) sys.close(made)
  }
  if (stage !== 0) {
    sys.unlinkAt(workFd, stageName, AT_REMOVEDIR)
    sys.close(stage)
  }
  return r < 0 ? r : made
}

let stageName = 0

/**
 * A new object inherits group and default ACL from its directory. When `fd` has something to
 * inherit, returns the fd of a staging directory like it (named stageName), else 0.
 */
function inheriting(u: Union, fd: number): number {
  const { sys } = u
  if (spec.kind === KIND_LINK) return 0
  let r = sys.statAt(fd, 0, SCRATCH_STAT)
  if (r < 0) return r
  const w = SCRATCH_STAT >> 2
  const mode = u.u32[w + STAT_MODE]!
  const acl = sys.getXattrAt(fd, 0, u.refs.defaultAcl, SCRATCH_VALUE, 65536)
  if (acl < 0 && acl !== -ENODATA && acl !== -EOPNOTSUPP) return acl
  if ((mode & S_ISGID) === 0 && acl < 0) return 0
  stageName = tempName(u, 1)
  const { workFd } = u.config
  r = sys.mkdirAt(workFd, stageName, 0o700, -1, -1, 0)
  if (r < 0) return r
  r = sys.chownAt(workFd, stageName, u.u32[w + STAT_UID]!, u.u32[w + STAT_GID]!)
  if (r >= 0 && acl >= 0) r = sys.setXattrAt(workFd, stageName, u.refs.defaultAcl, SCRATCH_VALUE, acl, 0)
  if (r >= 0) r = sys.chmodAt(workFd, stageName, mode & 0o7777)
  if (r >= 0) r = sys.openAt(workFd, stageName, O_PATH | O_DIRECTORY)
  if (r < 0) sys.unlinkAt(workFd, stageName, AT_REMOVEDIR)
  return r
}

/** Fills `found` from the Stat at word `w` of a new upper object. */
function foundNew(u: Union, w: number): void {
  found.mode = u.u32[w + STAT_MODE]!
  found.nlink = u.u32[w + STAT_NLINK]!
  found.layer = 0
  found.markers = 0
  showIno(u, u.u32[w + STAT_INO]!, u.u32[w + STAT_INO + 1]!, u.u32[w + STAT_DEV]!, found.ino)
  if ((found.mode & S_IFMT) === S_IFDIR) {
    u.t.lock()
    releasePaths(u.t, u.found)
    u.t.unlock()
    u.found.push(0, 0)
  }
}

/** Binds the object just made at `name`, Stat already at `out` + ENTRY_ATTR; writes the Entry. */
function bindNew(u: Union, parent: number, name: number, length: number, out: number): number {
  foundNew(u, (out + ENTRY_ATTR) >> 2)
  u.t.lock()
  directoryChanged(u.t, parent)
  u.t.unlock()
  dropHalfListed(u)
  const node = bind(u, parent, name, length)
  if (node > 0) writeEntry(u, node, out)
  return node
}

function makeAndBind(u: Union, parent: number, name: number, length: number, out: number): number {
  const r = make(u, parent, name, length)
  if (r < 0) return r
  const dir = upperDir(u, parent)
  let s = stamp(u, dir, dir, name)
  if (s >= 0) s = statReal(u, dir, name, out + ENTRY_ATTR)
  const node = s < 0 ? s : bindNew(u, parent, name, length, out)
  if (node < 0) unmake(u, parent, name)
  return Math.min(node, 0)
}

/** Takes back what make() made, when the kernel can't be told of it: it would not look again. */
function unmake(u: Union, parent: number, name: number): void {
  const { sys } = u
  const fd = upperDir(u, parent)
  const flags = spec.kind === KIND_DIR ? AT_REMOVEDIR : 0
  if (!isOverWhiteout) {
    sys.unlinkAt(fd, name, flags)
    return
  }
  const temp = tempName(u)
  if (replaceByWhiteout(u, fd, name, temp) === 0) sys.unlinkAt(u.config.workFd, temp, flags)
}

export function makeDirectory(
  u: Union,
  parent: number,
  name: number,
  length: number,
  mode: number,
  out: number,
): number {
  setOwner(u, mode & 0o7777)
  spec.kind = KIND_DIR
  return makeAndBind(u, parent, name, length, out)
}

export function makeNode(
  u: Union,
  parent: number,
  name: number,
  length: number,
  mode: number,
  rdev: number,
  out: number,
): number {
  // A device 0:0 is a whiteout: nobody makes one by hand.
  if ((mode & S_IFMT) === S_IFCHR && rdev === 0) return -EPERM
  setOwner(u, mode)
  spec.kind = KIND_NODE
  spec.rdev = rdev
  const isPlain = (mode & S_IFMT) === 0 || (mode & S_IFMT) === S_IFREG
  if (!isPlain && u.config.overrideName?.startsWith('user.')) spec.standIn = mode & S_IFMT
  return makeAndBind(u, parent, name, length, out)
}

export function makeSymlink(
  u: Union,
  parent: number,
  name: number,
  length: number,
  target: number,
  out: number,
): number {
  setOwner(u, 0o777)
  spec.kind = KIND_SYMLINK
  spec.target = target
  return makeAndBind(u, parent, name, length, out)
}

/** See open-file.ts: files with suid bits are written through us. */
function isPassable(u: Union, mode: number): boolean {
  return u.config.dataMode === 'passthrough' && !u.hasNoPassthrough && (mode & 0o6000) === 0
}

/** FUSE_CREATE: makes a regular file and opens it. */
export function createFile(
  u: Union,
  parent: number,
  name: number,
  length: number,
  flags: number,
  mode: number,
  out: number,
): number {
  setOwner(u, mode & 0o7777)
  spec.kind = KIND_FILE
  spec.flags = flags & KEPT_FLAGS
  const fd = make(u, parent, name, length)
  if (fd < 0) return fd
  let s = u.hasOverride ? stamp(u, upperDir(u, parent), fd, 0) : 0
  if (s >= 0) s = statReal(u, fd, 0, out + ENTRY_ATTR)
  const node = s < 0 ? s : bindNew(u, parent, name, length, out)
  if (node < 0) u.sys.close(fd)
  const r = node < 0 ? node : openReal(u, node, fd, false, isPassable(u, mode))
  if (r < 0) unmake(u, parent, name)
  if (r < 0 && node > 0) forget(u, node, 1)
  return r
}

/** O_TMPFILE: a file without a name in `parent`, whose default ACL and group it inherits. */
export function makeTmpfile(u: Union, parent: number, flags: number, mode: number, out: number): number {
  const dir = upperDir(u, parent)
  if (dir < 0) return dir
  setOwner(u, mode & 0o7777)
  // O_EXCL would forbid linkat() for ever, also to us when the user's call did not ask for that.
  const kept = flags & (KEPT_FLAGS | O_EXCL)
  const fd = u.sys.tmpfileAt(dir, kept, spec.mode, spec.uid, spec.gid, spec.umask)
  if (fd < 0) return fd
  let r = stamp(u, dir, fd, 0)
  if (r >= 0) r = statReal(u, fd, 0, out + ENTRY_ATTR)
  const pin = r < 0 ? r : u.sys.openAt(fd, 0, O_PATH)
  if (pin < 0) {
    u.sys.close(fd)
    return pin
  }
  foundNew(u, (out + ENTRY_ATTR) >> 2)
  const t = u.t
  t.lock()
  const node = newNode(u, false)
  if (node !== 0) {
    t.nodes[at(node) + N_INFO]! |= F_NAMELESS
    t.nodes[at(node) + N_PIN] = pin + 1
    t.nodes[at(node) + N_LOOKUPS] = 1
  }
  t.unlock()
  if (node === 0) {
    u.sys.close(pin)
    u.sys.close(fd)
    return -ENOMEM
  }
  writeEntry(u, node, out)
  r = openReal(u, node, fd, false, isPassable(u, mode))
  if (r < 0) forget(u, node, 1)
  return r
}

/** link(2): a further name for a file, copied up first. */
export function linkNode(
  u: Union,
  node: number,
  parent: number,
  name: number,
  length: number,
  out: number,
): number {
  const r = copyUp(u, node)
  if (r !== 0) return r
  const t = u.t
  for (let attempt = 0; attempt < 1000; attempt++) {
    const l = locate(u, node)
    if (l < 0) return l
    node = u.node
    const fromRef = u.ref
    const fromFd = u.fd
    const seq = u.seq
    // upperDir() below may take steps of its own: the address is kept aside.
    let from = 0
    if (fromRef !== 0) {
      from = LINK_NAME
      let i = 0
      do u.bytes[from + i] = u.bytes[fromRef + i]!
      while (u.bytes[fromRef + i++] !== 0)
    }
    const dir = upperDir(u, parent)
    if (dir < 0) return dir
    // The name may come to a directory that holds nothing else with a stored ino.
    const m = markImpure(u, parent, dir)
    if (m < 0) return m
    if (Atomics.load(t.nodes, at(node) + N_SEQ) !== seq) continue
    spec.kind = KIND_LINK
    spec.fromFd = fromFd
    spec.fromRef = from
    const made = make(u, parent, name, length)
    if (made < 0) {
      if (isAbsent(made) && Atomics.load(t.nodes, at(node) + N_SEQ) !== seq) continue
      return made
    }
    const bound = bindLink(u, node, parent, name, length, dir, out)
    if (bound < 0) unmake(u, parent, name)
    return bound
  }
  return -EIO
}

function bindLink(
  u: Union,
  node: number,
  parent: number,
  name: number,
  length: number,
  dir: number,
  out: number,
): number {
  const t = u.t
  const s = statReal(u, dir, name, out + ENTRY_ATTR)
  if (s < 0) return s
  const n = at(node)
  let oldPin = 0
  t.lock()
  directoryChanged(u.t, parent)
  const hash = hashName(parent, u.bytes, name, length)
  const dentry = addDentry(t, parent, hash, u.bytes, name, length, node)
  if (dentry !== 0) {
    addLinked(t, node)
    t.nodes[n + N_LOOKUPS]!++
    if ((t.nodes[n + N_INFO]! & F_NAMELESS) !== 0) {
      oldPin = t.nodes[n + N_PIN]!
      t.nodes[n + N_PIN] = 0
      t.nodes[n + N_INFO]! &= ~(F_NAMELESS | F_DEAD)
      t.nodes[n + N_SEQ]! += 2
    }
  }
  t.unlock()
  dropHalfListed(u)
  if (oldPin !== 0) u.sys.close(oldPin - 1)
  if (dentry === 0) return -ENOMEM
  writeEntry(u, node, out)
  return 0
}
