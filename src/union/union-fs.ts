// The union as a FileSystem: one object per worker over the shared state of its mount. Thin: every
// method is a verb of this folder.

import { EAGAIN, EINVAL, ENOENT, ENOTTY, EROFS, ESTALE } from '../base/errno.js'
import { O_DIRECTORY, O_NONBLOCK } from '../base/open-flags.js'
import { IMPURE, INO, LINKS, OPAQUE, OVERRIDE_STAT, OWN, REDIRECT } from '../format/markers.js'
import { type Native, native } from '../sys/native.js'
import {
  type Arena,
  createArena,
  SCRATCH_DIRENTS,
  SCRATCH_DIRENTS_CAPACITY,
  SCRATCH_STAT,
  SCRATCH_VALUE,
  STAT_DEV,
  STAT_INO,
} from '../vfs/arena.js'
import { type Caller, ENTRY_ATTR, type FileSystem, type OpenResult, PARKED } from '../vfs/file-system.js'
import { hasMoved, locate } from './address.js'
import { getAttr, showIno } from './attr.js'
import { bind, forget, writeEntry, writeEntryHead } from './bind.js'
import { N_SNAPSHOT } from './block-chain.js'
import { copyEnded, copyUp } from './copy-up.js'
import { createFile, linkNode, makeDirectory, makeNode, makeSymlink, makeTmpfile } from './create.js'
import { D_NODE, findDentry, hashName } from './dentry-table.js'
import { Reals, writeReals } from './dir-stack.js'
import { noteAsked } from './eagerness.js'
import { pushIndexedRoot } from './indexed.js'
import {
  at,
  F_IMPURE,
  F_UPPER,
  isLive,
  N_GENERATION,
  N_INFO,
  N_INO,
  N_LOOKUPS,
  T_DIR,
  TYPE_MASK,
} from './inode-table.js'
import {
  find,
  hasDotOpaque,
  isDotWhiteout,
  M_IMPURE,
  M_LINKS,
  M_OPAQUE,
  M_OWN,
  readMarkers,
} from './lookup.js'
import { beginUse, closeFile, endUse, openFile, syncDirectory, writeFile } from './open-file.js'
import { markRoot } from './override.js'
import { readDirectory, readDirectoryPlus } from './readdir.js'
import { removeDirectory, removeFile } from './remove.js'
import { renameNode } from './rename.js'
import { setAttr } from './set-attr.js'
import {
  createTables,
  DENTRY_WORDS,
  H_DEVICE_COUNT,
  H_DEVICES,
  H_INDEX,
  H_LINKS_REMOVED,
  ROOT,
  type UnionConfig,
  type UnionState,
} from './state.js'
import { killSuid } from './suid.js'
import { Tables } from './tables.js'
import { Union, YES_AT } from './union.js'
import { dropSetGid, getXattr, listXattr, removeXattr, setXattr } from './user-xattr.js'
import { sweepWorkdir } from './workdir.js'

export type { UnionConfig, UnionState } from './state.js'

const FS_IOC_GETFLAGS = 0x80086601
const FS_IOC_SETFLAGS = 0x40086602
const FS_IOC_FSGETXATTR = 0x801c581f
const FS_IOC_FSSETXATTR = 0x401c5820
const FUSE_SETXATTR_ACL_KILL_SGID = 1

/** Makes the shared state of a mount: tables, constants and the root node. */
export function createUnionState(config: UnionConfig, sys: Native = native): UnionState {
  const state = createTables(config)
  const t = new Tables(state)
  const text = new TextEncoder()
  const store = (name: string) => {
    const bytes = text.encode(name)
    return t.names.store(bytes, 0, bytes.length)
  }
  const { xattrPrefix } = config
  state.refs = {
    opaque: store(xattrPrefix + OPAQUE),
    redirect: store(xattrPrefix + REDIRECT),
    impure: store(xattrPrefix + IMPURE),
    ino: store(xattrPrefix + INO),
    links: store(xattrPrefix + LINKS),
    whiteoutName: store('whiteout%'),
    defaultAcl: store('system.posix_acl_default'),
    capability: store('security.capability'),
    override: overrideNames(config).map(store),
  }
  const union = new Union(state, createArena(), sys)
  if (config.isWritable) {
    sweepWorkdir(union)
    if (isOurs(union, store(xattrPrefix + OWN))) config.layers[0]!.hasDotWhiteouts = false
  }
  if (config.isWritable && union.hasOverride) markRoot(union)
  if (config.indexFd !== undefined) union.t.header[H_INDEX] = 1
  bindRoot(union)
  return state
}

/** The name that is written comes first: what it says counts before others. */
function overrideNames({ overrideName }: UnionConfig): string[] {
  const others = OVERRIDE_STAT.filter((name) => name !== overrideName)
  return overrideName === null ? [] : [overrideName, ...others]
}

/**
 * Tells whether only we ever wrote to the upper: it bears our mark, or is empty and gets it. Then no
 * name in it can be an AUFS whiteout, and nobody has to look for one.
 */
function isOurs(u: Union, mark: number): boolean {
  if (u.config.whiteouts !== 'device') return false
  const { fd } = u.config.layers[0]!
  const markers = readMarkers(u, fd, 0)
  if (markers > 0 && (markers & M_OWN) !== 0) return true
  const dir = u.sys.openAt(fd, 0, O_DIRECTORY)
  if (dir < 0) return false
  const bytes = u.sys.getdents(dir, SCRATCH_DIRENTS, SCRATCH_DIRENTS_CAPACITY)
  u.sys.close(dir)
  // `.` and `..` take 24 bytes each.
  return bytes === 48 && u.sys.setXattrAt(fd, 0, mark, YES_AT, 1, 0) === 0
}

/** The root exists in all layers down to the first that is opaque. */
function bindRoot(u: Union): void {
  const { t, config } = u
  const n = at(ROOT)
  const reals = new Reals()
  let info = T_DIR
  let isOpaque = false
  for (let layer = 0; layer < config.layers.length; layer++) {
    const fd = config.layers[layer]!.fd
    u.sys.statAt(fd, 0, SCRATCH_STAT)
    const w = SCRATCH_STAT >> 2
    const device = u.u32[w + STAT_DEV]!
    const known = t.header.subarray(H_DEVICES, H_DEVICES + t.header[H_DEVICE_COUNT]!).includes(device | 0)
    if (!known && t.header[H_DEVICE_COUNT]! < 63) t.header[H_DEVICES + t.header[H_DEVICE_COUNT]!++] = device
    const isTopmostLower = layer === 0 || (layer === 1 && config.isWritable)
    if (isTopmostLower) {
      const ino = new Int32Array(2)
      showIno(u, u.u32[w + STAT_INO]!, u.u32[w + STAT_INO + 1]!, device, ino)
      t.nodes[n + N_INO] = ino[0]!
      t.nodes[n + N_INO + 1] = ino[1]!
    }
    config.layers[layer]!.device = device
    u.devices[layer] = device
    const isCovered = u.index !== null && layer >= u.indexBase
    // Its list of layers ends where one is opaque; devices are numbered as without an index.
    if (isCovered) continue
    reals.push(layer, 0)
    let markers = readMarkers(u, fd, 0)
    if (u.isUpper(layer) && markers > 0 && (markers & M_LINKS) !== 0) t.header[H_LINKS_REMOVED] = 1
    if (hasDotOpaque(u, fd, 0) === 1) markers |= M_OPAQUE
    if (layer === 0 && config.isWritable && (markers & M_IMPURE) !== 0) info |= F_IMPURE
    if (markers > 0 && (markers & M_OPAQUE) !== 0) {
      isOpaque = true
      break
    }
  }
  if (!isOpaque) pushIndexedRoot(u, reals)
  t.nodes[n + N_INFO] = info
  t.nodes[n + N_GENERATION] = 0
  t.nodes[n + N_LOOKUPS] = 1
  writeReals(t, ROOT, reals)
  if (config.isWritable) t.nodes[n + N_INFO]! |= F_UPPER
}

export class UnionFileSystem implements FileSystem {
  readonly caller: Caller
  readonly opened: OpenResult
  readonly union: Union

  constructor(state: UnionState, arena: Arena, sys: Native = native) {
    this.union = new Union(state, arena, sys)
    this.caller = this.union.caller
    this.opened = this.union.opened
  }

  lookup(parent: number, name: number, length: number, out: number): number {
    const u = this.union
    const { t } = u
    if (!this.#isDirectory(parent)) return -ESTALE
    if (length <= 2 && u.bytes[name] === 0x2e && (length === 1 || u.bytes[name + 1] === 0x2e)) return -ENOENT
    if (isDotWhiteout(u.bytes, name, length)) return -ENOENT
    const hash = hashName(parent, u.bytes, name, length)
    t.lock()
    const dentry = findDentry(t, parent, hash, u.bytes, name, length)
    let node = dentry === 0 ? 0 : t.dentries[dentry * DENTRY_WORDS + D_NODE]!
    if (node !== 0) t.nodes[at(node) + N_LOOKUPS]!++
    t.unlock()
    if (node !== 0) {
      const r = getAttr(u, node, out + ENTRY_ATTR)
      if (r === 0) {
        writeEntryHead(u, node, out)
        return 0
      }
      forget(u, node, 1)
      return r
    }
    do {
      const r = find(u, parent, name, length, out + ENTRY_ATTR)
      if (r < 0) return r
      node = bind(u, parent, name, length)
    } while (node === -EAGAIN)
    if (node < 0) return node
    if (t.nodes[at(parent) + N_SNAPSHOT] !== 0) noteAsked(t)
    writeEntry(u, node, out)
    return 0
  }

  forget(node: number, count: number): void {
    if (node !== ROOT) forget(this.union, node, count)
  }

  getattr(node: number, _handle: number, out: number): number {
    return getAttr(this.union, node, out)
  }

  setattr(node: number, input: number, out: number): number {
    return isLive(this.union.t, node) ? setAttr(this.union, node, input, out) : -ESTALE
  }

  readlink(node: number, out: number, capacity: number): number {
    const u = this.union
    for (;;) {
      const r = locate(u, node)
      if (r < 0) return r
      const size = u.sys.readlinkAt(u.fd, u.ref, out, capacity)
      if (!hasMoved(u)) return size
    }
  }

  mknod(parent: number, name: number, length: number, mode: number, rdev: number, out: number): number {
    if (!this.#isDirectory(parent)) return -ESTALE
    return makeNode(this.union, parent, name, length, mode, rdev, out)
  }

  mkdir(parent: number, name: number, length: number, mode: number, out: number): number {
    if (!this.#isDirectory(parent)) return -ESTALE
    return makeDirectory(this.union, parent, name, length, mode, out)
  }

  symlink(parent: number, name: number, length: number, target: number, out: number): number {
    if (!this.#isDirectory(parent)) return -ESTALE
    return makeSymlink(this.union, parent, name, length, target, out)
  }

  link(node: number, parent: number, name: number, length: number, out: number): number {
    if (!isLive(this.union.t, node) || !this.#isDirectory(parent)) return -ESTALE
    return linkNode(this.union, node, parent, name, length, out)
  }

  unlink(parent: number, name: number, length: number): number {
    if (!this.#isDirectory(parent)) return -ESTALE
    return removeFile(this.union, parent, name, length)
  }

  rmdir(parent: number, name: number, length: number): number {
    if (!this.#isDirectory(parent)) return -ESTALE
    return removeDirectory(this.union, parent, name, length)
  }

  rename(
    parent: number,
    name: number,
    length: number,
    newParent: number,
    newName: number,
    newLength: number,
    flags: number,
  ): number {
    if (!this.#isDirectory(parent) || !this.#isDirectory(newParent)) return -ESTALE
    return renameNode(this.union, parent, name, length, newParent, newName, newLength, flags)
  }

  open(node: number, flags: number, openFlags: number): number {
    return openFile(this.union, node, flags, openFlags)
  }

  create(
    parent: number,
    name: number,
    length: number,
    flags: number,
    mode: number,
    _openFlags: number,
    out: number,
  ): number {
    if (!this.#isDirectory(parent)) return -ESTALE
    return createFile(this.union, parent, name, length, flags, mode, out)
  }

  tmpfile(parent: number, flags: number, mode: number, _openFlags: number, out: number): number {
    if (!this.#isDirectory(parent)) return -ESTALE
    return makeTmpfile(this.union, parent, flags, mode, out)
  }

  read(node: number, handle: number, offset: number, size: number, out: number): number {
    const u = this.union
    const fd = beginUse(u, node, handle, false)
    if (fd < 0) return fd
    const r = u.sys.read(fd, offset, size, out)
    endUse(u, handle, fd)
    return r
  }

  write(
    node: number,
    handle: number,
    offset: number,
    size: number,
    data: number,
    writeFlags: number,
  ): number {
    return writeFile(this.union, node, handle, offset, size, data, writeFlags)
  }

  flush(): number {
    return 0
  }

  fsync(node: number, handle: number, isDataOnly: boolean): number {
    const u = this.union
    const fd = beginUse(u, node, handle, false)
    if (fd < 0) return fd
    const r = u.config.isVolatile ? 0 : u.sys.fsync(fd, isDataOnly ? 1 : 0)
    endUse(u, handle, fd)
    return r
  }

  release(node: number, handle: number): number {
    return closeFile(this.union, node, handle)
  }

  fallocate(node: number, handle: number, offset: number, length: number, mode: number): number {
    const u = this.union
    const fd = beginUse(u, node, handle, true)
    if (fd < 0 || fd === PARKED) return fd
    if (u.caller.uid !== 0) killSuid(u, fd)
    const r = u.sys.fallocate(fd, mode, offset, length)
    endUse(u, handle, fd)
    return r
  }

  lseek(node: number, handle: number, offset: number, whence: number, out: number): number {
    const u = this.union
    const fd = beginUse(u, node, handle, false)
    if (fd < 0) return fd
    const r = u.sys.seekReply(fd, offset, whence, out)
    endUse(u, handle, fd)
    return r
  }

  copyFileRange(
    nodeIn: number,
    handleIn: number,
    offsetIn: number,
    nodeOut: number,
    handleOut: number,
    offsetOut: number,
    length: number,
    out: number,
  ): number {
    const u = this.union
    const to = beginUse(u, nodeOut, handleOut, true)
    if (to < 0 || to === PARKED) return to
    if (u.caller.uid !== 0) killSuid(u, to)
    const from = beginUse(u, nodeIn, handleIn, false)
    const r = from < 0 ? from : u.sys.copyFileRange(from, offsetIn, to, offsetOut, length, out)
    if (from >= 0) endUse(u, handleIn, from)
    endUse(u, handleOut, to)
    return r
  }

  ioctl(
    node: number,
    _handle: number,
    command: number,
    input: number,
    inputSize: number,
    out: number,
    capacity: number,
  ): number {
    const u = this.union
    const code = command >>> 0
    const isSet = code === FS_IOC_SETFLAGS || code === FS_IOC_FSSETXATTR
    if (!isSet && code !== FS_IOC_GETFLAGS && code !== FS_IOC_FSGETXATTR) return -ENOTTY
    const size = (code >>> 16) & 0x3fff
    if (isSet ? inputSize < 4 : capacity < 4) return -EINVAL
    if (isSet) {
      if (!u.isWritable) return -EROFS
      const r = copyUp(u, node)
      if (r !== 0) return r
    }
    const fd = this.#openReal(node)
    if (fd < 0) return fd
    if (isSet) u.bytes.copyWithin(SCRATCH_VALUE, input, input + inputSize)
    const e = u.sys.ioctl(fd, command, SCRATCH_VALUE)
    u.sys.close(fd)
    if (e < 0 || isSet) return Math.min(e, 0)
    const bytes = Math.min(size, capacity)
    u.bytes.copyWithin(out, SCRATCH_VALUE, SCRATCH_VALUE + bytes)
    return bytes
  }

  readdir(node: number, offset: number, out: number, capacity: number): number {
    return readDirectory(this.union, node, offset, out, capacity)
  }

  readdirplus(node: number, offset: number, out: number, capacity: number): number {
    return readDirectoryPlus(this.union, node, offset, out, capacity)
  }

  fsyncdir(node: number, isDataOnly: boolean): number {
    return isLive(this.union.t, node) ? syncDirectory(this.union, node, isDataOnly) : -ESTALE
  }

  getxattr(node: number, name: number, out: number, capacity: number): number {
    return getXattr(this.union, node, name, out, capacity)
  }

  listxattr(node: number, out: number, capacity: number): number {
    return listXattr(this.union, node, out, capacity)
  }

  setxattr(node: number, name: number, value: number, size: number, flags: number, extra: number): number {
    if (!isLive(this.union.t, node)) return -ESTALE
    const r = setXattr(this.union, node, name, value, size, flags)
    if (r === 0 && (extra & FUSE_SETXATTR_ACL_KILL_SGID) !== 0) dropSetGid(this.union, node)
    return r
  }

  removexattr(node: number, name: number): number {
    if (!isLive(this.union.t, node)) return -ESTALE
    return removeXattr(this.union, node, name)
  }

  statfs(_node: number, out: number): number {
    const u = this.union
    const r = u.sys.fstatfs(u.config.layers[0]!.fd, out)
    return r < 0 ? r : 80
  }

  statx(node: number, _handle: number, out: number): number {
    return getAttr(this.union, node, out)
  }

  syncfs(): number {
    const u = this.union
    return u.isWritable && !u.config.isVolatile ? u.sys.syncfs(u.config.layers[0]!.fd) : 0
  }

  destroy(): void {
    this.union.dirs.close()
  }

  completed(job: number, result: number): void {
    copyEnded(this.union, job, result)
  }

  /** Opens what a node's topmost real is; the caller closes it. */
  #openReal(node: number): number {
    const u = this.union
    for (;;) {
      const r = locate(u, node)
      if (r < 0) return r
      const fd = u.sys.openAt(u.fd, u.ref, O_NONBLOCK)
      if (!hasMoved(u)) return fd
      if (fd >= 0) u.sys.close(fd)
    }
  }

  #isDirectory(node: number): boolean {
    const { t } = this.union
    return isLive(t, node) && (t.nodes[at(node) + N_INFO]! & TYPE_MASK) === T_DIR
  }
}
