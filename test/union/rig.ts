// A union over plain folders, driven without a mount: requests are put into the arena as the kernel
// would, by path, and every reference that the union gives out is counted so that all can be given back.

import { closeSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { ENOENT } from '../../src/base/errno.js'
import {
  fuse_getxattr_in,
  fuse_in_header,
  fuse_open_in,
  fuse_open_out,
  fuse_release_in,
  opcodes,
} from '../../src/fuse/abi.js'
import { createSessionShared } from '../../src/fuse/session-shared.js'
import { serveAtOnce } from '../../src/mount/at-once.js'
import { DURABILITY_NONE, type Native, native } from '../../src/sys/native.js'
import type { UnionConfig, UnionState } from '../../src/union/state.js'
import { createUnionState, UnionFileSystem } from '../../src/union/union-fs.js'
import {
  IN,
  OUT,
  OUT_CAPACITY,
  STAT_GID,
  STAT_INO,
  STAT_MODE,
  STAT_MTIME,
  STAT_MTIME_NS,
  STAT_NLINK,
  STAT_RDEV,
  STAT_SIZE,
  STAT_UID,
} from '../../src/vfs/arena.js'
import { ENTRY_ATTR, ENTRY_BYTES, LIGHT_HANDLE, NO_HANDLE } from '../../src/vfs/file-system.js'
import { checkTables } from './consistency.js'
import { arena, attach, build, forgetAttached, openLayer, type Tree, temporaryFolder } from './disk.js'

export const ROOT = 1
const ARGS = IN + 64
const NAME = IN + 256
const NAME2 = IN + 1024
const TEXT = IN + 8192
const VALUE = IN + 16384

export type Attr = {
  ino: string
  mode: number
  uid: number
  gid: number
  nlink: number
  size: number
  rdev: number
  mtime: string
}

export type Options = Partial<UnionConfig> & {
  sys?: Native
  /** Native code answers the requests that it can, as for a mount. The last such rig of the process. */
  isQuick?: boolean
}

/** How long its answers to LOOKUP may be kept: entry, attributes, missing names. */
export const TIMEOUTS = { entryTimeoutMs: 1500, attrTimeoutMs: 2500, negativeTimeoutMs: 3500 }

/** Folders of one union: lowers top first, upper and workdir. */
export type Folders = { path: string; lowers: string[]; upper: string | null; work: string }

/** Writes layers to a new temporary folder. `upper` null: read-only. */
export function makeFolders(lowers: Tree[], upper: Tree | null = {}, parent = temporaryFolder()): Folders {
  const paths = lowers.map((_, i) => join(parent, `lower${i}`))
  for (const [i, tree] of lowers.entries()) build(paths[i]!, tree)
  if (upper !== null) build(join(parent, 'upper'), upper)
  mkdirSync(join(parent, 'work'))
  return {
    path: parent,
    lowers: paths,
    upper: upper === null ? null : join(parent, 'upper'),
    work: join(parent, 'work'),
  }
}

export const errnoOf = (result: number) => Math.min(result, 0)

/** Throws for a negative result. */
export function ok(result: number, what = ''): number {
  if (result < 0) throw new Error(`errno ${-result} ${what}`)
  return result
}

export class Rig {
  readonly folders: Folders
  readonly state: UnionState
  readonly fs: UnionFileSystem
  readonly #fds: number[] = []
  readonly #constantUnits: number
  /** References that we, as the kernel, hold. */
  readonly held = new Map<number, number>()
  /** Open files and their nodes: what must be closed at the end. Light ones have numbers of ours, as they share a handle. */
  readonly files = new Map<number, number>()
  #lastLight = LIGHT_HANDLE
  /** The session's counters: of what native code answered. */
  readonly shared = createSessionShared(1)
  readonly #isQuick: boolean

  constructor(folders: Folders, options: Options = {}) {
    this.folders = folders
    const { sys = native, isQuick = false, ...config } = options
    const layers = [...(folders.upper === null ? [] : [folders.upper]), ...folders.lowers].map((path) => {
      const fd = openLayer(path)
      this.#fds.push(fd)
      return { fd, path, hasDotWhiteouts: true }
    })
    const workFd = folders.upper === null ? -1 : openLayer(folders.work)
    if (workFd >= 0) this.#fds.push(workFd)
    const full: UnionConfig = {
      layers,
      isWritable: folders.upper !== null,
      workFd,
      device: -1,
      dataMode: 'cache',
      passthroughMin: 128 * 1024,
      isVolatile: true,
      durability: DURABILITY_NONE,
      hasRedirects: true,
      hasXino: true,
      xattrPrefix: 'trusted.overlay.',
      whiteouts: 'device',
      overrideName: null,
      uidMap: [],
      gidMap: [],
      squashUid: -1,
      squashGid: -1,
      maxNodes: 16384,
      maxFds: 4096,
      maxDirFds: 1024,
      workers: 1,
      isUnlocked: false,
      ...config,
    }
    this.state = createUnionState(full, sys)
    this.fs = new UnionFileSystem(this.state, arena, sys)
    this.fs.caller.uid = this.fs.caller.gid = 0
    this.fs.caller.umask = 0o022
    forgetAttached()
    this.enter()
    this.#constantUnits = checkTables(this.state).unknownUnits
    this.#isQuick = isQuick
    if (isQuick) serveAtOnce(this.state, this.fs.union, this.shared, 0, TIMEOUTS)
  }

  /** What is wrong with the tables now; for a union at rest. */
  problems(): string[] {
    const { problems, unknownUnits } = checkTables(this.state, this.fs.union.found)
    const lost = unknownUnits - this.#constantUnits
    return lost === 0 ? problems : [...problems, `${lost} units of names are lost`]
  }

  /** Gives everything back and tells what is wrong then: only the root may be left. */
  problemsAtRest(): string[] {
    this.quiesce()
    const { liveNodes } = checkTables(this.state)
    return liveNodes === 1 ? this.problems() : [...this.problems(), `${liveNodes} nodes are left`]
  }

  /** Called right before the request that an operation is about; LOOKUPs on the way come before. */
  onRequest: () => void = () => {}

  /** Makes native calls speak of this union's names. */
  enter(): void {
    attach(this.fs.union.t.names.bytes)
  }

  put(at: number, text: string): number {
    this.enter()
    const length = Buffer.from(arena.bytes.buffer).write(text, at)
    arena.bytes[at + length] = 0
    return length
  }

  #take(node: number): number {
    this.held.set(node, (this.held.get(node) ?? 0) + 1)
    return node
  }

  /** Takes the entry at OUT into the books and returns its node. */
  entry(result: number): number {
    return result < 0 ? result : this.#take(arena.u32[OUT >> 2]!)
  }

  /** LOOKUP. Returns the node or -errno; the attributes are at attr(ENTRY_ATTR). */
  lookup(parent: number, name: string): number {
    const length = this.put(NAME, name)
    if (this.#isQuick && this.lookupAtOnce(parent, length + 1)) {
      return this.entry(arena.u32[OUT >> 2] === 0 ? -ENOENT : 0)
    }
    return this.entry(this.fs.lookup(parent, NAME, length, OUT))
  }

  /** LOOKUP by native code of the name of `size` bytes at NAME. Returns whether it was answered. */
  lookupAtOnce(parent: number, size: number): boolean {
    return this.#tryAtOnce(opcodes.FUSE_LOOKUP, parent, NAME, size) === ENTRY_BYTES
  }

  #tryAtOnce(opcode: number, node: number, args: number, size: number): number {
    arena.u32[(IN + fuse_in_header.opcode) >> 2] = opcode
    arena.u32[(IN + fuse_in_header.nodeid) >> 2] = node
    arena.u32[((IN + fuse_in_header.nodeid) >> 2) + 1] = 0
    return native.tryAtOnce(IN, args, size, OUT)
  }

  /** OPEN by native code. Returns whether it was answered, which fills fs.opened. */
  openAtOnce(node: number, flags: number): boolean {
    this.enter()
    arena.u32.fill(0, ARGS >> 2, (ARGS + fuse_open_in.bytes) >> 2)
    arena.u32[ARGS >> 2] = flags
    if (this.#tryAtOnce(opcodes.FUSE_OPEN, node, ARGS, fuse_open_in.bytes) !== fuse_open_out.bytes)
      return false
    const { opened } = this.fs
    const w = OUT >> 2
    opened.handle = arena.u32[w]! + arena.u32[w + 1]! * 2 ** 32
    opened.flags = arena.u32[w + 2]!
    opened.backingId = arena.u32[w + 3]!
    return true
  }

  /** GETXATTR, or without a name LISTXATTR, by native code. Returns what it answered, or NOT_AT_ONCE. */
  xattrAtOnce(node: number, name: string | undefined, size: number): number {
    this.enter()
    arena.u32.fill(0, ARGS >> 2, (ARGS + fuse_getxattr_in.bytes) >> 2)
    arena.u32[ARGS >> 2] = size
    const opcode = name === undefined ? opcodes.FUSE_LISTXATTR : opcodes.FUSE_GETXATTR
    const length = name === undefined ? 0 : this.put(ARGS + fuse_getxattr_in.bytes, name) + 1
    return this.#tryAtOnce(opcode, node, ARGS, fuse_getxattr_in.bytes + length)
  }

  /** RELEASE by native code. Returns whether it was answered. */
  releaseAtOnce(node: number, handle: number): boolean {
    this.enter()
    arena.u32.fill(0, ARGS >> 2, (ARGS + fuse_release_in.bytes) >> 2)
    arena.u32[ARGS >> 2] = handle
    return this.#tryAtOnce(opcodes.FUSE_RELEASE, node, ARGS, fuse_release_in.bytes) === 0
  }

  /** Looks a path up from the root on. Returns the node or -errno. */
  node(path: string): number {
    this.enter()
    let node = ROOT
    for (const name of path.split('/').filter(Boolean)) {
      node = this.lookup(node, name)
      if (node < 0) return node
    }
    return node
  }

  #parent(path: string): [parent: number, name: string] {
    const parts = path.split('/').filter(Boolean)
    const name = parts.pop()!
    return [this.node(parts.join('/')), name]
  }

  /** Calls `request` with the parent's node and the name placed at `at`. As the kernel does, looks the name up first. */
  #at(path: string, at: number, request: (parent: number, length: number) => number): number {
    const [parent, name] = this.#parent(path)
    if (parent < 0) return parent
    this.lookup(parent, name)
    const length = this.put(at, name)
    this.onRequest()
    return request(parent, length)
  }

  readAttr(at: number): Attr {
    const w = at >> 2
    const u32 = arena.u32
    return {
      ino: `${u32[w + STAT_INO + 1]}.${u32[w + STAT_INO]}`,
      mode: u32[w + STAT_MODE]!,
      uid: u32[w + STAT_UID]!,
      gid: u32[w + STAT_GID]!,
      nlink: u32[w + STAT_NLINK]!,
      size: u32[w + STAT_SIZE]! + u32[w + STAT_SIZE + 1]! * 2 ** 32,
      rdev: u32[w + STAT_RDEV]!,
      mtime: `${u32[w + STAT_MTIME]}.${u32[w + STAT_MTIME_NS]}`,
    }
  }

  /** GETATTR of a node. Throws. */
  attrOf(node: number): Attr {
    this.enter()
    ok(this.fs.getattr(node, NO_HANDLE, OUT), `getattr ${node}`)
    return this.readAttr(OUT)
  }

  stat(path: string): Attr {
    return this.attrOf(ok(this.node(path), path))
  }

  errno(path: string): number {
    return errnoOf(this.node(path))
  }

  mkdir(path: string, mode = 0o755): number {
    return this.#at(path, NAME, (parent, length) =>
      errnoOf(this.entry(this.fs.mkdir(parent, NAME, length, mode, OUT))),
    )
  }

  mknod(path: string, mode: number, rdev = 0): number {
    return this.#at(path, NAME, (parent, length) =>
      errnoOf(this.entry(this.fs.mknod(parent, NAME, length, mode, rdev, OUT))),
    )
  }

  symlink(target: string, path: string): number {
    return this.#at(path, NAME, (parent, length) => {
      this.put(TEXT, target)
      return errnoOf(this.entry(this.fs.symlink(parent, NAME, length, TEXT, OUT)))
    })
  }

  link(from: string, path: string): number {
    const node = this.node(from)
    if (node < 0) return node
    return this.#at(path, NAME, (parent, length) =>
      errnoOf(this.entry(this.fs.link(node, parent, NAME, length, OUT))),
    )
  }

  unlink(path: string): number {
    return this.#at(path, NAME, (parent, length) => this.fs.unlink(parent, NAME, length))
  }

  rmdir(path: string): number {
    return this.#at(path, NAME, (parent, length) => this.fs.rmdir(parent, NAME, length))
  }

  rename(from: string, to: string, flags = 0): number {
    const [parent, name] = this.#parent(from)
    if (parent < 0) return parent
    this.lookup(parent, name)
    return this.#at(to, NAME2, (newParent, newLength) => {
      const length = this.put(NAME, name)
      return this.fs.rename(parent, NAME, length, newParent, NAME2, newLength, flags)
    })
  }

  /** CREATE; returns the handle or -errno. */
  create(path: string, mode = 0o644, flags = 2): number {
    return this.#at(path, NAME, (parent, length) => {
      const r = this.fs.create(parent, NAME, length, flags, mode, 0, OUT)
      if (r < 0) return r
      return this.#opened(this.entry(r))
    })
  }

  #opened(node: number): number {
    const { handle } = this.fs.opened
    const file = handle === LIGHT_HANDLE ? ++this.#lastLight : handle
    this.files.set(file, node)
    return file
  }

  tmpfile(path: string): number {
    const node = ok(this.node(path), path)
    this.onRequest()
    const r = this.fs.tmpfile(node, 2, 0o600, 0, OUT)
    return r < 0 ? r : this.#opened(this.entry(r))
  }

  /** OPEN of a node; returns the handle or -errno. */
  openNode(node: number, flags = 0): number {
    this.enter()
    this.onRequest()
    if (this.#isQuick && this.openAtOnce(node, flags)) return this.#opened(node)
    const r = this.fs.open(node, flags, 0)
    return r < 0 ? r : this.#opened(node)
  }

  open(path: string, flags = 0): number {
    const node = this.node(path)
    return node < 0 ? node : this.openNode(node, flags)
  }

  release(file: number): number {
    this.enter()
    const node = this.files.get(file)!
    this.files.delete(file)
    const handle = Math.min(file, LIGHT_HANDLE)
    return this.#isQuick && this.releaseAtOnce(node, handle) ? 0 : this.fs.release(node, handle)
  }

  readHandle(file: number, size = 65536): string {
    this.enter()
    const node = this.files.get(file) ?? 0
    const count = ok(this.fs.read(node, Math.min(file, LIGHT_HANDLE), 0, size, OUT), 'read')
    return Buffer.from(arena.bytes.slice(OUT, OUT + count)).toString('latin1')
  }

  writeHandle(file: number, text: string, offset = 0): number {
    const length = this.put(VALUE, text)
    return this.fs.write(this.files.get(file) ?? 0, Math.min(file, LIGHT_HANDLE), offset, length, VALUE, 0)
  }

  read(path: string): string {
    const handle = ok(this.open(path), `open ${path}`)
    const text = this.readHandle(handle)
    this.release(handle)
    return text
  }

  /** Opens, writes and closes; returns 0 or -errno. */
  write(path: string, text: string, flags = 1): number {
    const handle = this.open(path, flags)
    if (handle < 0) return handle
    const r = this.writeHandle(handle, text)
    this.release(handle)
    return errnoOf(r)
  }

  /** CREATE, WRITE, RELEASE. */
  make(path: string, text: string): number {
    const handle = this.create(path)
    if (handle < 0) return handle
    const r = this.writeHandle(handle, text)
    this.release(handle)
    return errnoOf(r)
  }

  readlink(path: string): string {
    const node = ok(this.node(path), path)
    const length = ok(this.fs.readlink(node, OUT, 4096), 'readlink')
    return Buffer.from(arena.bytes.slice(OUT, OUT + length)).toString('latin1')
  }

  /** SETATTR: `words` are those of struct fuse_setattr_in by index. */
  setattrNode(node: number, valid: number, words: Record<number, number>): number {
    this.enter()
    const w = IN >> 2
    arena.u32.fill(0, w, w + 24)
    arena.u32[w] = valid
    for (const [index, value] of Object.entries(words)) arena.u32[w + Number(index)] = value
    this.onRequest()
    return this.fs.setattr(node, IN, OUT)
  }

  chmodNode(node: number, mode: number): number {
    return this.setattrNode(node, 1, { 17: mode })
  }

  chmod(path: string, mode: number): number {
    const node = this.node(path)
    return node < 0 ? node : this.chmodNode(node, mode)
  }

  chown(path: string, uid: number, gid: number): number {
    const node = this.node(path)
    return node < 0 ? node : this.setattrNode(node, 6, { 19: uid, 20: gid })
  }

  truncate(path: string, size: number): number {
    const node = this.node(path)
    return node < 0 ? node : this.setattrNode(node, 8, { 4: size })
  }

  utimes(path: string, seconds: number): number {
    const node = this.node(path)
    return node < 0 ? node : this.setattrNode(node, 48, { 8: seconds, 10: seconds })
  }

  setxattr(path: string, name: string, value: string, flags = 0): number {
    const node = this.node(path)
    if (node < 0) return node
    this.put(TEXT, name)
    const length = this.put(VALUE, value)
    this.onRequest()
    return this.fs.setxattr(node, TEXT, VALUE, length, flags, 0)
  }

  removexattr(path: string, name: string): number {
    const node = this.node(path)
    if (node < 0) return node
    this.put(TEXT, name)
    this.onRequest()
    return this.fs.removexattr(node, TEXT)
  }

  xattrs(path: string): Record<string, string> {
    const node = ok(this.node(path), path)
    const length = ok(this.fs.listxattr(node, OUT, 65536), 'listxattr')
    const names = Buffer.from(arena.bytes.slice(OUT, OUT + length)).toString('latin1')
    const result: Record<string, string> = {}
    for (const name of names.split('\0').filter(Boolean).sort()) {
      this.put(TEXT, name)
      const size = ok(this.fs.getxattr(node, TEXT, OUT, 65536), `getxattr ${name}`)
      result[name] = Buffer.from(arena.bytes.slice(OUT, OUT + size)).toString('latin1')
    }
    return result
  }

  /** The entries behind a cookie, as many as `size` bytes hold. */
  readdirPart(node: number, cookie: number, size = OUT_CAPACITY): Dirent[] {
    this.enter()
    const length = ok(this.fs.readdir(node, cookie, OUT, size), 'readdir')
    return parseDirents(OUT, length, 0)
  }

  readdir(path: string): Dirent[] {
    const node = ok(this.node(path), path)
    const all: Dirent[] = []
    for (;;) {
      const part = this.readdirPart(node, all.at(-1)?.cookie ?? 0)
      if (part.length === 0) return all
      all.push(...part)
    }
  }

  /** Called for each entry that READDIRPLUS looked up. */
  onReaddirplus = (_name: string, _attr: Attr): void => {}

  /** The same as READDIRPLUS gives it, with the nodes that it bound. */
  readdirplusPart(node: number, cookie: number, size = OUT_CAPACITY): (Dirent & { node: number })[] {
    this.enter()
    const length = ok(this.fs.readdirplus(node, cookie, OUT, size))
    return parseDirents(OUT, length, ENTRY_BYTES).map((entry) => {
      const child = arena.u32[(entry.at - ENTRY_BYTES) >> 2]!
      if (child !== 0) this.#take(child)
      if (child !== 0) this.onReaddirplus(entry.name, this.readAttr(entry.at - ENTRY_BYTES + ENTRY_ATTR))
      return { ...entry, node: child }
    })
  }

  readdirplus(path: string): (Dirent & { node: number })[] {
    const node = ok(this.node(path), path)
    const all: (Dirent & { node: number })[] = []
    for (;;) {
      const part = this.readdirplusPart(node, all.at(-1)?.cookie ?? 0)
      if (part.length === 0) return all
      all.push(...part)
    }
  }

  /** Visible names of a directory, sorted, without the dots. */
  names(path: string): string[] {
    return this.readdir(path)
      .map(({ name }) => name)
      .filter((name) => name !== '.' && name !== '..')
      .sort()
  }

  /** The kernel drops all its caches: open files stay open. */
  forgetAll(): void {
    this.enter()
    for (const [node, count] of this.held) this.fs.forget(node, count)
    this.held.clear()
  }

  /** Closes all files and gives all references back. */
  quiesce(): void {
    for (const handle of [...this.files.keys()]) this.release(handle)
    this.forgetAll()
  }

  /** Ends the union; the layers stay for the next one. */
  end(): void {
    this.quiesce()
    this.fs.destroy()
    for (const fd of this.#fds) closeSync(fd)
    this.#fds.length = 0
  }
}

export type Dirent = { name: string; type: number; ino: string; cookie: number; at: number }

function parseDirents(start: number, length: number, head: number): Dirent[] {
  const all: Dirent[] = []
  for (let at = start + head; at < start + length; ) {
    const w = at >> 2
    const size = arena.u32[w + 4]!
    all.push({
      name: Buffer.from(arena.bytes.slice(at + 24, at + 24 + size)).toString('latin1'),
      type: arena.u32[w + 5]!,
      ino: `${arena.u32[w + 1]}.${arena.u32[w]}`,
      cookie: arena.u32[w + 2]!,
      at,
    })
    at += ((24 + size + 7) & ~7) + head
  }
  return all
}

export { ENTRY_ATTR, NAME, OUT }

/** Everything that a union shows, by path: what users can tell apart, dir times aside. */
export function view(rig: Rig, path = '', into: Record<string, string> = {}): Record<string, string> {
  const attr = rig.stat(path)
  const type = attr.mode & 0o170000
  const parts = [attr.mode.toString(8), `${attr.uid}:${attr.gid}`, `ino ${attr.ino}`, `nlink ${attr.nlink}`]
  if (type !== 0o040000) parts.push(`mtime ${attr.mtime}`, `rdev ${attr.rdev}`)
  if (type === 0o100000) parts.push(JSON.stringify(rig.read(path)))
  if (type === 0o120000) parts.push(rig.readlink(path))
  parts.push(JSON.stringify(rig.xattrs(path)))
  into[path || '/'] = parts.join(' ')
  if (type === 0o040000) {
    for (const { name, ino, type: kind } of rig.readdir(path)) {
      if (name === '.' || name === '..') continue
      const child = rig.stat(`${path}/${name}`)
      into[`${path}/${name} (dirent)`] = `${kind === child.mode >>> 12} ${ino === child.ino}`
      view(rig, `${path}/${name}`, into)
    }
  }
  return into
}
