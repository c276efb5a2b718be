// Files by (directory fd, name), names as latin1 strings: the system calls that unpacking, comparing
// and packing layers need, on this thread's arena. No symbolic link is ever followed.
//
// A function whose name begins with `try` returns -errno; all others throw SystemError.

import { EINVAL, ENODATA, ENOENT, EOPNOTSUPP, EPERM, errnoName, errnoReason } from '../base/errno.js'
import { O_CREAT, O_DIRECTORY, O_EXCL, O_PATH, O_WRONLY } from '../base/open-flags.js'
import { imageXattrName, OPAQUE_XATTRS } from '../format/whiteout.js'
import { DURABILITY_NONE, native } from '../sys/native.js'
import { threadArena } from '../sys/thread-arena.js'
import {
  SCRATCH_DIRENTS,
  SCRATCH_DIRENTS_CAPACITY,
  SCRATCH_LIST,
  SCRATCH_NAME,
  SCRATCH_NOTIFY,
  SCRATCH_PATH,
  SCRATCH_STAT,
  SCRATCH_VALUE,
  STAT_BLOCKS,
  STAT_DEV,
  STAT_GID,
  STAT_INO,
  STAT_MODE,
  STAT_MTIME,
  STAT_MTIME_NS,
  STAT_NLINK,
  STAT_RDEV,
  STAT_SIZE,
  STAT_UID,
} from '../vfs/arena.js'
import { SystemError } from './errors.js'

const AT_REMOVEDIR = 0x200
const VALUE_MAX = 65536
const NAME_BYTES = 255
const PATH_BYTES = 4095
const UTIME_OMIT = 0x3ffffffe

export const S_IFMT = 0o170000
export const S_IFDIR = 0o040000
export const S_IFREG = 0o100000
export const S_IFLNK = 0o120000
export const S_IFCHR = 0o020000
export const S_IFBLK = 0o060000
export const S_IFIFO = 0o010000
export const S_IFSOCK = 0o140000

/** An inode number: a bigint where a double could not hold it (xino puts the layer in the upper bits). */
export type Ino = number | bigint

export type Stat = {
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly size: number
  readonly nlink: number
  /** Of 512 bytes, on disk. */
  readonly blocks: number
  readonly ino: Ino
  readonly dev: number
  /** As the kernel packs it. */
  readonly rdev: number
  /** Seconds, rounded down, and nanoseconds. */
  readonly mtime: number
  readonly mtimeNs: number
}

/** The root user may do what an archive says; others do what they can. */
export const isRoot = process.geteuid?.() === 0

/** Returns a result >= 0; throws for an errno. */
export function check(result: number, syscall: string, path: string): number {
  if (result >= 0) return result
  const words = `${JSON.stringify(showName(path))}: ${errnoReason(result)}`
  throw new SystemError(words, errnoName(result), syscall, path)
}

/** Returns a latin1 name for people. */
export function showName(name: string): string {
  return Buffer.from(name, 'latin1').toString()
}

function put(text: string, at: number, limit: number): number {
  const { bytes } = threadArena()
  if (text.length > limit) return at + putLong(bytes, at, limit)
  const length = Buffer.from(bytes.buffer).write(text, at, 'latin1')
  bytes[at + length] = 0
  return at
}

/** A name that is too long becomes one that the kernel refuses for being too long. */
function putLong(bytes: Uint8Array, at: number, limit: number): number {
  bytes.fill(0x78, at, at + limit + 1)
  bytes[at + limit + 1] = 0
  return 0
}

const first = (name: string): number => (name === '' ? 0 : put(name, SCRATCH_NAME, NAME_BYTES))
const second = (name: string): number => put(name, SCRATCH_NAME + 512, NAME_BYTES)
const long = (path: string): number => put(path, SCRATCH_PATH, PATH_BYTES)

function inoOf(low: number, high: number): Ino {
  return high < 2 ** 21 ? high * 2 ** 32 + low : (BigInt(high) << 32n) | BigInt(low)
}

function readStat(): Stat {
  const { u32, i32 } = threadArena()
  const w = SCRATCH_STAT >> 2
  const pair = (at: number): number => u32[w + at]! + u32[w + at + 1]! * 2 ** 32
  return {
    mode: u32[w + STAT_MODE]!,
    uid: u32[w + STAT_UID]!,
    gid: u32[w + STAT_GID]!,
    size: pair(STAT_SIZE),
    nlink: u32[w + STAT_NLINK]!,
    blocks: pair(STAT_BLOCKS),
    ino: inoOf(u32[w + STAT_INO]!, u32[w + STAT_INO + 1]!),
    dev: u32[w + STAT_DEV]!,
    rdev: u32[w + STAT_RDEV]!,
    mtime: u32[w + STAT_MTIME]! + i32[w + STAT_MTIME + 1]! * 2 ** 32,
    mtimeNs: u32[w + STAT_MTIME_NS]!,
  }
}

/** Returns what is at the name ('' is `fd` itself); undefined when nothing is. */
export function statAt(fd: number, name: string): Stat | undefined {
  threadArena()
  const result = native.statAt(fd, first(name), SCRATCH_STAT)
  if (result === -ENOENT) return undefined
  check(result, 'statx', name)
  return readStat()
}

export function openRoot(path: string, flags = O_PATH | O_DIRECTORY): number {
  return check(native.openPath(Buffer.from(path), flags, 0), 'open', path)
}

export function tryOpen(fd: number, name: string, flags: number): number {
  threadArena()
  return native.openAt(fd, first(name), flags)
}

export function close(fd: number): void {
  native.close(fd)
}

/** Owner and permission bits. */
export type Owner = { readonly mode: number; readonly uid: number; readonly gid: number }

export function tryCreate(fd: number, name: string, { mode, uid, gid }: Owner): number {
  threadArena()
  return native.createAt(fd, first(name), O_WRONLY | O_CREAT | O_EXCL, mode, uid, gid, 0)
}

export function tryMkdir(fd: number, name: string): number {
  threadArena()
  return native.mkdirAt(fd, first(name), 0o700, -1, -1, 0)
}

export function tryMknod(fd: number, name: string, { mode, uid, gid }: Owner, rdev: number): number {
  threadArena()
  return native.mknodAt(fd, first(name), mode, rdev, uid, gid, 0)
}

export function trySymlink(target: string, fd: number, name: string, uid: number, gid: number): number {
  threadArena()
  return native.symlinkAt(long(target), fd, first(name), uid, gid)
}

export function tryLink(fromFd: number, from: string, toFd: number, to: string): number {
  threadArena()
  return native.linkAt(fromFd, first(from), toFd, second(to))
}

export function tryUnlink(fd: number, name: string): number {
  threadArena()
  return native.unlinkAt(fd, first(name), 0)
}

export function tryRmdir(fd: number, name: string): number {
  threadArena()
  return native.unlinkAt(fd, first(name), AT_REMOVEDIR)
}

/** Removes a directory with all that is in it. */
export function removeDirectory(fd: number, name: string): void {
  const dir = check(tryOpen(fd, name, O_DIRECTORY), 'open', name)
  const result = native.removeTree(dir)
  native.close(dir)
  check(result, 'unlink', name)
  check(tryRmdir(fd, name), 'rmdir', name)
}

export function readLink(fd: number, name: string): string {
  const { bytes } = threadArena()
  const length = check(native.readlinkAt(fd, first(name), SCRATCH_PATH, PATH_BYTES), 'readlink', name)
  return Buffer.from(bytes.buffer).toString('latin1', SCRATCH_PATH, SCRATCH_PATH + length)
}

/** What `fd` (name '') or a name below it shall have. */
export function setOwner(fd: number, name: string, uid: number, gid: number): void {
  threadArena()
  const result = native.chownAt(fd, first(name), uid, gid)
  // EINVAL: an owner without a number in this user namespace.
  if ((result === -EPERM && !isRoot) || result === -EINVAL) return
  check(result, 'chown', name)
}

export function setMode(fd: number, name: string, mode: number): void {
  threadArena()
  check(native.chmodAt(fd, first(name), mode), 'chmod', name)
}

export function setTime(fd: number, name: string, mtime: number, mtimeNs: number): void {
  const { u32 } = threadArena()
  const w = SCRATCH_NOTIFY >> 2
  u32[w] = 0
  u32[w + 1] = 0
  u32[w + 2] = UTIME_OMIT
  u32[w + 3] = mtime >>> 0
  u32[w + 4] = Math.floor(mtime / 2 ** 32) >>> 0
  u32[w + 5] = mtimeNs
  check(native.utimensAt(fd, first(name), SCRATCH_NOTIFY), 'utimensat', name)
}

export function trySetXattr(fd: number, name: string, xattr: string, value: Uint8Array): number {
  const { bytes } = threadArena()
  if (value.length > VALUE_MAX) return -7 // E2BIG, setxattr(2)
  bytes.set(value, SCRATCH_VALUE)
  return native.setXattrAt(fd, first(name), second(xattr), SCRATCH_VALUE, value.length, 0)
}

export function tryRemoveXattr(fd: number, name: string, xattr: string): number {
  threadArena()
  return native.removeXattrAt(fd, first(name), second(xattr))
}

/** Returns an attribute's value; undefined when it has none or can have none. */
export function getXattr(fd: number, name: string, xattr: string): Buffer | undefined {
  const { bytes } = threadArena()
  const length = native.getXattrAt(fd, first(name), second(xattr), SCRATCH_VALUE, VALUE_MAX)
  if (length === -ENODATA || length === -EOPNOTSUPP || length === -EPERM) return undefined
  check(length, 'getxattr', name)
  return Buffer.from(bytes.subarray(SCRATCH_VALUE, SCRATCH_VALUE + length))
}

/** Returns the names of all attributes. */
export function listXattrs(fd: number, name: string): string[] {
  const { bytes } = threadArena()
  const length = native.listXattrAt(fd, first(name), SCRATCH_LIST, VALUE_MAX)
  if (length === -EOPNOTSUPP) return []
  check(length, 'listxattr', name)
  if (length === 0) return []
  return Buffer.from(bytes.buffer)
    .toString('latin1', SCRATCH_LIST, SCRATCH_LIST + length - 1)
    .split('\0')
}

/** Returns the attributes that belong to the image, under the image's names, sorted; null for none. */
export function imageXattrs(fd: number, name: string): Map<string, Buffer> | null {
  const found: [string, Buffer][] = []
  for (const stored of listXattrs(fd, name)) {
    const shown = imageXattrName(stored)
    const value = shown === undefined ? undefined : getXattr(fd, name, stored)
    if (value !== undefined) found.push([shown!, value])
  }
  return found.length === 0 ? null : new Map(found.sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** Tells whether a directory hides what lies below it. */
export function isOpaque(fd: number, name: string): boolean {
  return OPAQUE_XATTRS.some((xattr) => getXattr(fd, name, xattr)?.toString('latin1') === 'y')
}

/** Makes a directory hide what lies below it. */
export function setOpaque(fd: number, name: string): void {
  const yes = Buffer.from('y')
  const [trusted, user] = OPAQUE_XATTRS
  const result = trySetXattr(fd, name, trusted, yes)
  if (result === -EPERM || result === -EOPNOTSUPP) check(trySetXattr(fd, name, user, yes), 'setxattr', name)
  else check(result, 'setxattr', name)
}

export function tryWhiteout(fd: number, name: string): number {
  return tryMknod(fd, name, { mode: S_IFCHR, uid: -1, gid: -1 }, 0)
}

/** Copies a file's data, holes kept. */
export function copyData(from: number, to: number, name: string): void {
  check(native.copyData(from, to, -1, DURABILITY_NONE, 0), 'copy', name)
}

export type DirEntry = { readonly name: string; readonly ino: Ino; readonly isDirectory: boolean }

const DT_DIR = 4

/** Calls `use` with each entry of a directory, in no order, without `.` and `..`. `fd` must be open for reading. */
function eachEntry(fd: number, use: (name: string, view: Buffer, at: number) => void): void {
  const { bytes } = threadArena()
  const view = Buffer.from(bytes.buffer)
  native.lseek(fd, 0, 0)
  for (;;) {
    const length = check(native.getdents(fd, SCRATCH_DIRENTS, SCRATCH_DIRENTS_CAPACITY), 'getdents64', '.')
    if (length === 0) return
    // struct linux_dirent64: u64 ino, s64 off, u16 reclen, u8 type, name
    for (let at = SCRATCH_DIRENTS; at < SCRATCH_DIRENTS + length; at += view.readUInt16LE(at + 16)) {
      const name = view.toString('latin1', at + 19, view.indexOf(0, at + 19))
      if (name !== '.' && name !== '..') use(name, view, at)
    }
  }
}

/** Returns the names in a directory in byte order, without `.` and `..`. `fd` must be open for reading. */
export function readNames(fd: number): string[] {
  const names: string[] = []
  eachEntry(fd, (name) => void names.push(name))
  return names.sort()
}

/** Returns the entries of a mounted directory in the byte order of their names. */
export function readEntries(fd: number): DirEntry[] {
  const entries: DirEntry[] = []
  eachEntry(fd, (name, view, at) => {
    const ino = inoOf(view.readUInt32LE(at), view.readUInt32LE(at + 4))
    entries.push({ name, ino, isDirectory: view[at + 18] === DT_DIR })
  })
  return entries.sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** Packs a device number as the kernel does (new_encode_dev); undefined when it has too many bits. */
export function packDevice(major: number, minor: number): number | undefined {
  if (major < 0 || minor < 0 || major > 0xfff || minor > 0xfffff) return undefined
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0
}

export function unpackDevice(rdev: number): [major: number, minor: number] {
  return [(rdev >>> 8) & 0xfff, (rdev & 0xff) | ((rdev >>> 12) & 0xfff00)]
}
