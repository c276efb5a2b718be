// Operations on paths as requests of a session: walks down by LOOKUP, asks, and gives the references
// back. For a transport that is told paths instead of nodeids; see fuse-native.ts.
//
// Requests are laid out at IN as the kernel would, so that they are checked, counted and traced as all
// others. Everything is done when a call returns: nothing is parked, as native knows of no request.

import { LRUCache } from 'lru-cache'
import { EIO, EISDIR, ENOENT, ENOTDIR, ERANGE, ESTALE } from '../base/errno.js'
import { O_CREAT, O_RDWR } from '../base/open-flags.js'
import { type Arena, CTL, CTL_DATA, CTL_OUT, CTL_OUT_CAPACITY, IN, OUT, OUT_CAPACITY } from '../vfs/arena.js'
import { NO_REPLY } from '../vfs/file-system.js'
import {
  FATTR_ATIME,
  FATTR_GID,
  FATTR_MODE,
  FATTR_MTIME,
  FATTR_SIZE,
  FATTR_UID,
  FUSE_COMPAT_SETXATTR_IN_SIZE,
  FUSE_FSYNC_FDATASYNC,
  FUSE_KERNEL_MINOR_VERSION,
  FUSE_KERNEL_VERSION,
  FUSE_ROOT_ID,
  fuse_attr,
  fuse_attr_out,
  fuse_create_in,
  fuse_dirent,
  fuse_entry_out,
  fuse_forget_in,
  fuse_fsync_in,
  fuse_getattr_in,
  fuse_getxattr_in,
  fuse_in_header,
  fuse_init_in,
  fuse_link_in,
  fuse_mkdir_in,
  fuse_mknod_in,
  fuse_open_in,
  fuse_open_out,
  fuse_read_in,
  fuse_release_in,
  fuse_rename_in,
  fuse_setattr_in,
  fuse_setxattr_in,
  fuse_write_in,
  initFlags,
  opcodes as op,
} from './abi.js'
import type { Session } from './session.js'

/** Directories whose nodes are held, so that not every path is walked from the root. */
const HELD_DIRS = 4096
const READDIR_BYTES = 64 * 1024
const EILSEQ = 84
const S_IFMT = 0o170000
const S_IFDIR = 0o040000
const SET_ID_BITS = 0o6000
const NO_ID = 0xffffffff
const WORD = 2 ** 32
const NS_PER_MS = 1_000_000
const MS_PER_S = 1000
/** What bytes that are no UTF-8 have become in a path, so that nobody knows what they were. */
const REPLACEMENT = '\ufffd'

/** What is kept of an open file. */
type OpenFile = { readonly node: number; readonly handle: number }
const NO_FILE: OpenFile = { node: 0, handle: 0 }
const FILES_MAX = 2 ** 31 - 1

export type DirEntry = { readonly name: string; readonly type: number; readonly ino: number }

/** Returns an ino in 32 bits. Those beyond, of a second device, are mixed to stay apart mostly. */
function shortIno(lo: number, hi: number): number {
  return hi === 0 ? lo : (lo ^ Math.imul(hi, 0x9e3779b1)) >>> 0
}

export class PathCalls {
  readonly #session: Session
  readonly #bytes: Uint8Array
  readonly #u32: Uint32Array
  readonly #buffer: Buffer
  readonly #uid = process.geteuid!()
  readonly #gid = process.getegid!()
  readonly #dirs: LRUCache<string, number>
  /** Open files by the number that libfuse has for each; their handles may be one (LIGHT_HANDLE). Each holds a reference. */
  readonly #files = new Map<number, OpenFile>()
  #lastFile = 0
  #unique = 0
  #end = 0

  constructor(session: Session, arena: Arena) {
    this.#session = session
    this.#bytes = arena.bytes
    this.#u32 = arena.u32
    this.#buffer = Buffer.from(arena.bytes.buffer)
    this.#dirs = new LRUCache<string, number>({
      max: HELD_DIRS,
      dispose: (node) => this.#forget(node),
    })
  }

  /** INIT with what a library of protocol 7.19 can carry. */
  init(): number {
    const at = this.#begin(op.FUSE_INIT, 0, fuse_init_in.bytes)
    this.#put(at + fuse_init_in.major, FUSE_KERNEL_VERSION)
    this.#put(at + fuse_init_in.minor, FUSE_KERNEL_MINOR_VERSION)
    const flags = initFlags.FUSE_ASYNC_READ | initFlags.FUSE_BIG_WRITES
    this.#put(at + fuse_init_in.flags, flags)
    return this.#send()
  }

  /** Fills `stat`, 18 words: mode, uid, gid, size, dev, nlink, ino, rdev, blksize, blocks, three times in ms. */
  getattr(path: string, stat: Uint32Array): number {
    if (path === '/') {
      this.#begin(op.FUSE_GETATTR, FUSE_ROOT_ID, fuse_getattr_in.bytes)
      const result = this.#send()
      if (result >= 0) this.#fillStat(OUT + fuse_attr_out.attr, stat)
      return Math.min(result, 0)
    }
    const node = this.#lookup(path)
    if (node < 0) return node
    this.#fillStat(OUT + fuse_entry_out.attr, stat)
    this.#forget(node)
    return 0
  }

  /** Returns the length of the target, which is at `bytes` from there on: 0, or -errno. */
  readlink(path: string): string | number {
    const result = this.#at(path, (node) => {
      this.#begin(op.FUSE_READLINK, node, 0)
      return this.#send()
    })
    if (result < 0) return result
    const target = this.#buffer.toString('utf8', OUT, OUT + result)
    return target.includes(REPLACEMENT) ? -EILSEQ : target
  }

  /** Puts all entries of a directory into `entries`. */
  readdir(path: string, entries: DirEntry[]): number {
    const node = this.#dir(path === '/' ? '' : path)
    if (node < 0) return node
    let result: number
    let offset = [0, 0] as [number, number]
    do {
      const at = this.#begin(op.FUSE_READDIR, node, fuse_read_in.bytes)
      this.#put(at + fuse_read_in.offset, ...offset)
      this.#put(at + fuse_read_in.size, READDIR_BYTES)
      result = this.#send()
      if (result > 0) offset = this.#takeEntries(OUT + result, entries)
    } while (result > 0)
    return result
  }

  #takeEntries(end: number, entries: DirEntry[]): [number, number] {
    let offset: [number, number] = [0, 0]
    for (let at = OUT; at < end; ) {
      const length = this.#get(at + fuse_dirent.namelen)
      const from = at + fuse_dirent.name
      entries.push({
        name: this.#buffer.toString('utf8', from, from + length),
        type: this.#get(at + fuse_dirent.type),
        ino: shortIno(this.#get(at + fuse_dirent.ino), this.#get(at + fuse_dirent.ino + 4)),
      })
      offset = [this.#get(at + fuse_dirent.off), this.#get(at + fuse_dirent.off + 4)]
      at += (fuse_dirent.bytes + length + 7) & ~7
    }
    return offset
  }

  /** Set-id bits of what is made are dropped: it belongs to us, and not to whoever asks. */
  mknod(path: string, mode: number, rdev: number): number {
    return this.#make(path, op.FUSE_MKNOD, fuse_mknod_in.bytes, (at) => {
      this.#put(at + fuse_mknod_in.mode, mode & ~SET_ID_BITS)
      this.#put(at + fuse_mknod_in.rdev, rdev)
    })
  }

  mkdir(path: string, mode: number): number {
    return this.#make(path, op.FUSE_MKDIR, fuse_mkdir_in.bytes, (at) => {
      this.#put(at + fuse_mkdir_in.mode, mode)
    })
  }

  symlink(target: string, path: string): number {
    if (target.includes(REPLACEMENT)) return -EILSEQ
    return this.#make(
      path,
      op.FUSE_SYMLINK,
      0,
      () => {},
      () => this.#name(target),
    )
  }

  link(path: string, newPath: string): number {
    return this.#at(path, (node) =>
      this.#make(newPath, op.FUSE_LINK, fuse_link_in.bytes, (at) => {
        this.#put(at + fuse_link_in.oldnodeid, node)
      }),
    )
  }

  unlink(path: string): number {
    return this.#remove(path, op.FUSE_UNLINK)
  }

  rmdir(path: string): number {
    this.#letGo(path)
    return this.#remove(path, op.FUSE_RMDIR)
  }

  rename(path: string, newPath: string): number {
    const parent = this.#parentOf(path)
    const newParent = this.#parentOf(newPath)
    if (parent < 0 || newParent < 0) return Math.min(parent, newParent)
    this.#letGo(path)
    this.#letGo(newPath)
    // As the kernel does, which knows what it moves and replaces.
    return this.#at(path, () => {
      const replaced = this.#lookup(newPath)
      const result = this.#sendRename(parent, path, newParent, newPath)
      if (replaced > 0) this.#forget(replaced)
      return result
    })
  }

  #sendRename(parent: number, path: string, newParent: number, newPath: string): number {
    const at = this.#begin(op.FUSE_RENAME, parent, fuse_rename_in.bytes)
    this.#put(at + fuse_rename_in.newdir, newParent)
    this.#name(lastOf(path))
    this.#name(lastOf(newPath))
    return this.#send()
  }

  /** Returns a number for release() and the others, or -errno. The kernel's way with ESTALE: to look the name up again, once. */
  open(path: string, flags: number): number {
    const result = this.#tryOpen(path, flags)
    return result === -ESTALE ? this.#tryOpen(path, flags) : result
  }

  #tryOpen(path: string, flags: number): number {
    const node = this.#lookup(path)
    if (node < 0) return node
    const at = this.#begin(op.FUSE_OPEN, node, fuse_open_in.bytes)
    this.#put(at + fuse_open_in.flags, flags)
    const result = this.#send()
    if (result < 0) {
      this.#forget(node)
      return result
    }
    return this.#keep({ node, handle: this.#get(OUT + fuse_open_out.fh) })
  }

  /** As open(); the flags of the open are not known, so it is for everything. */
  create(path: string, mode: number): number {
    const parent = this.#parentOf(path)
    if (parent < 0) return parent
    const at = this.#begin(op.FUSE_CREATE, parent, fuse_create_in.bytes)
    this.#put(at + fuse_create_in.flags, O_RDWR | O_CREAT)
    this.#put(at + fuse_create_in.mode, mode & ~SET_ID_BITS)
    this.#name(lastOf(path))
    const result = this.#send()
    if (result < 0) return result
    const node = this.#get(OUT)
    return this.#keep({ node, handle: this.#get(OUT + fuse_entry_out.bytes + fuse_open_out.fh) })
  }

  #keep(opened: OpenFile): number {
    do this.#lastFile = (this.#lastFile % FILES_MAX) + 1
    while (this.#files.has(this.#lastFile))
    this.#files.set(this.#lastFile, opened)
    return this.#lastFile
  }

  #file(file: number): OpenFile {
    return this.#files.get(file) ?? NO_FILE
  }

  release(file: number): number {
    const opened = this.#files.get(file)
    if (opened === undefined) return -EIO
    this.#files.delete(file)
    const at = this.#begin(op.FUSE_RELEASE, opened.node, fuse_release_in.bytes)
    this.#put(at + fuse_release_in.fh, opened.handle)
    const result = this.#send()
    this.#forget(opened.node)
    return result
  }

  read(file: number, to: Uint8Array, size: number, offset: number): number {
    const { node, handle } = this.#file(file)
    const at = this.#begin(op.FUSE_READ, node, fuse_read_in.bytes)
    this.#put(at + fuse_read_in.fh, handle)
    this.#put(at + fuse_read_in.offset, offset % WORD, Math.floor(offset / WORD))
    this.#put(at + fuse_read_in.size, size)
    const result = this.#send()
    if (result > 0) to.set(this.#bytes.subarray(OUT, OUT + result))
    return result
  }

  write(file: number, data: Uint8Array, size: number, offset: number): number {
    const { node, handle } = this.#file(file)
    const at = this.#begin(op.FUSE_WRITE, node, fuse_write_in.bytes)
    this.#put(at + fuse_write_in.fh, handle)
    this.#put(at + fuse_write_in.offset, offset % WORD, Math.floor(offset / WORD))
    this.#put(at + fuse_write_in.size, size)
    this.#bytes.set(data.subarray(0, size), this.#end)
    this.#end += size
    const result = this.#send()
    return result < 0 ? result : this.#get(OUT)
  }

  fsync(file: number, isDataOnly: boolean): number {
    return this.#sync(op.FUSE_FSYNC, this.#file(file), isDataOnly)
  }

  fsyncdir(path: string, isDataOnly: boolean): number {
    const node = this.#dir(path === '/' ? '' : path)
    return node < 0 ? node : this.#sync(op.FUSE_FSYNCDIR, { node, handle: 0 }, isDataOnly)
  }

  #sync(opcode: number, { node, handle }: OpenFile, isDataOnly: boolean): number {
    const at = this.#begin(opcode, node, fuse_fsync_in.bytes)
    this.#put(at + fuse_fsync_in.fh, handle)
    this.#put(at + fuse_fsync_in.fsync_flags, isDataOnly ? FUSE_FSYNC_FDATASYNC : 0)
    return this.#send()
  }

  truncate(path: string, size: number): number {
    return this.#setattr(path, FATTR_SIZE, (at) => {
      this.#put(at + fuse_setattr_in.size, size % WORD, Math.floor(size / WORD))
    })
  }

  chmod(path: string, mode: number): number {
    return this.#setattr(path, FATTR_MODE, (at) => this.#put(at + fuse_setattr_in.mode, mode))
  }

  chown(path: string, uid: number, gid: number): number {
    const valid = (uid === NO_ID ? 0 : FATTR_UID) | (gid === NO_ID ? 0 : FATTR_GID)
    return this.#setattr(path, valid, (at) => {
      this.#put(at + fuse_setattr_in.uid, uid)
      this.#put(at + fuse_setattr_in.gid, gid)
    })
  }

  /** Times in milliseconds since 1970, below 0 before. */
  utimens(path: string, atimeMs: number, mtimeMs: number): number {
    return this.#setattr(path, FATTR_ATIME | FATTR_MTIME, (at) => {
      this.#putTime(at + fuse_setattr_in.atime, at + fuse_setattr_in.atimensec, atimeMs)
      this.#putTime(at + fuse_setattr_in.mtime, at + fuse_setattr_in.mtimensec, mtimeMs)
    })
  }

  #setattr(path: string, valid: number, fill: (at: number) => void): number {
    return this.#at(path, (node) => {
      const at = this.#begin(op.FUSE_SETATTR, node, fuse_setattr_in.bytes)
      this.#put(at + fuse_setattr_in.valid, valid)
      fill(at)
      return Math.min(this.#send(), 0)
    })
  }

  /** Returns the length of the value, which is in `to` when that is not empty. */
  getxattr(path: string, name: string, to: Uint8Array): number {
    return this.#at(path, (node) => this.#xattr(op.FUSE_GETXATTR, node, name, to))
  }

  listxattr(path: string, to: Uint8Array): number {
    return this.#at(path, (node) => this.#xattr(op.FUSE_LISTXATTR, node, undefined, to))
  }

  #xattr(opcode: number, node: number, name: string | undefined, to: Uint8Array): number {
    const at = this.#begin(opcode, node, fuse_getxattr_in.bytes)
    this.#put(at + fuse_getxattr_in.size, to.length)
    if (name !== undefined) this.#name(name)
    const result = this.#send()
    if (result < 0) return result
    if (to.length === 0) return this.#get(OUT)
    if (result > to.length) return -ERANGE
    to.set(this.#bytes.subarray(OUT, OUT + result))
    return result
  }

  setxattr(path: string, name: string, value: Uint8Array, flags: number): number {
    return this.#at(path, (node) => {
      const at = this.#begin(op.FUSE_SETXATTR, node, FUSE_COMPAT_SETXATTR_IN_SIZE)
      this.#put(at + fuse_setxattr_in.size, value.length)
      this.#put(at + fuse_setxattr_in.flags, flags)
      this.#name(name)
      this.#bytes.set(value, this.#end)
      this.#end += value.length
      return this.#send()
    })
  }

  removexattr(path: string, name: string): number {
    return this.#at(path, (node) => {
      this.#begin(op.FUSE_REMOVEXATTR, node, 0)
      this.#name(name)
      return this.#send()
    })
  }

  /** Returns the words of struct fuse_kstatfs, or -errno. */
  statfs(): Uint32Array | number {
    this.#begin(op.FUSE_STATFS, FUSE_ROOT_ID, 0)
    const result = this.#send()
    return result < 0 ? result : this.#u32.slice(OUT >> 2, (OUT + result) >> 2)
  }

  // -- paths and nodes -----------------------------------------------------------------------

  /** Returns the held node of a directory ('' is the root), or -errno. */
  #dir(path: string): number {
    if (path === '') return FUSE_ROOT_ID
    const held = this.#dirs.get(path)
    if (held !== undefined) return held
    const node = this.#lookup(path)
    if (node < 0) return node
    if ((this.#get(OUT + fuse_entry_out.attr + fuse_attr.mode) & S_IFMT) !== S_IFDIR) {
      this.#forget(node)
      return -ENOTDIR
    }
    this.#dirs.set(path, node)
    return node
  }

  #parentOf(path: string): number {
    if (path === '/') return -EISDIR
    if (path.includes(REPLACEMENT)) return -EILSEQ
    return this.#dir(path.slice(0, path.lastIndexOf('/')))
  }

  /** Returns the node of a path with one reference, its Entry at OUT; -errno. Not for the root. */
  #lookup(path: string): number {
    const parent = this.#parentOf(path)
    if (parent < 0) return parent
    this.#begin(op.FUSE_LOOKUP, parent, 0)
    this.#name(lastOf(path))
    const result = this.#send()
    if (result < 0) return result
    const node = this.#get(OUT)
    return node === 0 ? -ENOENT : node
  }

  /** Runs `call` with the node of a path. Returns its result, or -errno. */
  #at(path: string, call: (node: number) => number): number {
    if (path === '/') return call(FUSE_ROOT_ID)
    const node = this.#lookup(path)
    if (node < 0) return node
    const result = call(node)
    this.#forget(node)
    return result
  }

  #make(
    path: string,
    opcode: number,
    bytes: number,
    fill: (at: number) => void,
    more: () => void = () => {},
  ): number {
    const parent = this.#parentOf(path)
    if (parent < 0) return parent
    fill(this.#begin(opcode, parent, bytes))
    this.#name(lastOf(path))
    more()
    const result = this.#send()
    if (result < 0) return result
    this.#forget(this.#get(OUT))
    return 0
  }

  #remove(path: string, opcode: number): number {
    return this.#at(path, () => {
      this.#begin(opcode, this.#parentOf(path), 0)
      this.#name(lastOf(path))
      return this.#send()
    })
  }

  /** Holds no directory at or below a path any more, as the path is about to mean something else. */
  #letGo(path: string): void {
    for (const held of [...this.#dirs.keys()]) {
      if (held === path || held.startsWith(`${path}/`)) this.#dirs.delete(held)
    }
  }

  #forget(node: number): void {
    const at = this.#begin(op.FUSE_FORGET, node, fuse_forget_in.bytes)
    this.#put(at + fuse_forget_in.nlookup, 1)
    this.#send()
  }

  // -- requests ------------------------------------------------------------------------------

  /** Begins a request; returns where its struct is, with zeros. */
  #begin(opcode: number, node: number, bytes: number): number {
    const head = IN >> 2
    const at = IN + fuse_in_header.bytes
    this.#u32.fill(0, head, (at + bytes + 3) >> 2)
    this.#u32[head + (fuse_in_header.opcode >> 2)] = opcode
    this.#u32[head + (fuse_in_header.unique >> 2)] = ++this.#unique
    this.#u32[head + (fuse_in_header.nodeid >> 2)] = node
    this.#u32[head + (fuse_in_header.uid >> 2)] = this.#uid
    this.#u32[head + (fuse_in_header.gid >> 2)] = this.#gid
    this.#end = at + bytes
    return at
  }

  /** Adds a NUL-terminated string. */
  #name(text: string): void {
    this.#end += this.#buffer.write(text, this.#end, 'utf8')
    this.#bytes[this.#end++] = 0
  }

  /** Has the session answer. Returns the reply's length at OUT, or -errno. */
  #send(): number {
    const length = this.#end - IN
    // The names of an old request must not look like this one's.
    this.#bytes.fill(0, this.#end, this.#end + 8)
    this.#u32[IN >> 2] = length
    this.#u32[(CTL >> 2) + CTL_OUT] = OUT
    this.#u32[(CTL >> 2) + CTL_OUT_CAPACITY] = OUT_CAPACITY
    this.#u32[(CTL >> 2) + CTL_DATA] = 0
    const result = this.#session.dispatch(length)
    return result === NO_REPLY ? 0 : result > OUT_CAPACITY ? -EIO : result
  }

  #get(at: number): number {
    return this.#u32[at >> 2]!
  }

  #put(at: number, lo: number, hi?: number): void {
    this.#u32[at >> 2] = lo
    if (hi !== undefined) this.#u32[(at >> 2) + 1] = hi
  }

  #putTime(at: number, atNs: number, ms: number): void {
    const seconds = Math.floor(ms / MS_PER_S)
    this.#put(at, seconds % WORD, Math.floor(seconds / WORD))
    this.#put(atNs, (ms - seconds * MS_PER_S) * NS_PER_MS)
  }

  #fillStat(attr: number, stat: Uint32Array): void {
    const u32 = this.#u32
    const w = attr >> 2
    const word = (field: number): number => u32[w + (field >> 2)]!
    stat[0] = word(fuse_attr.mode)
    stat[1] = word(fuse_attr.uid)
    stat[2] = word(fuse_attr.gid)
    stat[3] = word(fuse_attr.size)
    stat[4] = word(fuse_attr.size + 4)
    stat[6] = word(fuse_attr.nlink)
    stat[7] = shortIno(word(fuse_attr.ino), word(fuse_attr.ino + 4))
    stat[8] = word(fuse_attr.rdev)
    stat[9] = word(fuse_attr.blksize)
    stat[10] = word(fuse_attr.blocks)
    stat[11] = word(fuse_attr.blocks + 4)
    this.#fillTime(stat, 12, word(fuse_attr.atime), word(fuse_attr.atime + 4), word(fuse_attr.atimensec))
    this.#fillTime(stat, 14, word(fuse_attr.mtime), word(fuse_attr.mtime + 4), word(fuse_attr.mtimensec))
    this.#fillTime(stat, 16, word(fuse_attr.ctime), word(fuse_attr.ctime + 4), word(fuse_attr.ctimensec))
  }

  /** Times before 1970 can't be said this way: they are shown as 1970. */
  #fillTime(stat: Uint32Array, i: number, lo: number, hi: number, ns: number): void {
    const seconds = (hi | 0) * WORD + lo
    const ms = Math.max(0, seconds * MS_PER_S + Math.floor(ns / NS_PER_MS))
    stat[i] = ms % WORD
    stat[i + 1] = Math.floor(ms / WORD)
  }
}

function lastOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}
