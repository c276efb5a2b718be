// A layer's archive becomes a directory tree in overlayfs's form: whiteouts as devices 0:0,
// `overlay.opaque` on directories. image-spec layer.md; where that is silent, as umoci does it.
//
// Directories get their owner, mode, attributes and time last: neither set-group-id nor a default ACL
// shall reach what is made in them, and making things moves their time.

import { ftruncateSync } from 'node:fs'
import { EEXIST, EOPNOTSUPP, EPERM } from '../base/errno.js'
import { DOT_OPAQUE, DOT_WHITEOUT } from '../format/markers.js'
import { isWhiteoutNode, storedXattrName } from '../format/whiteout.js'
import {
  check,
  close,
  copyData,
  imageXattrs,
  isRoot,
  packDevice,
  readLink,
  removeDirectory,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  setMode,
  setOpaque,
  setOwner,
  setTime,
  showName,
  statAt,
  tryCreate,
  tryLink,
  tryMkdir,
  tryMknod,
  tryOpen,
  tryRemoveXattr,
  tryRmdir,
  trySetXattr,
  trySymlink,
  tryUnlink,
  tryWhiteout,
} from './at.js'
import { StoreError, SystemError } from './errors.js'
import { type Found, findInLowers } from './lowers.js'
import { canOwn } from './owners.js'
import type { TarEntry } from './tar-entry.js'
import type { TarHandler } from './tar-reader.js'
import {
  cleanName,
  joinName,
  LayerTree,
  NeedsLowers,
  NoDirectory,
  type Place,
  parentOf,
} from './unpack-path.js'
import { writeAt } from './write-at.js'

export type UnpackLimits = {
  /** Bytes of all files, holes counted. */
  readonly bytes: number
  readonly entries: number
}

export const DEFAULT_LIMITS: UnpackLimits = { bytes: 128 * 2 ** 30, entries: 20_000_000 }

type Metadata = Pick<TarEntry, 'mode' | 'uid' | 'gid' | 'mtime' | 'mtimeNs' | 'xattrs'>

const DOT_DOT = `${DOT_WHITEOUT}${DOT_WHITEOUT}`

/** Tells names of AUFS's own: files, and directories with all in them, in layers of the first years. */
const isBookkeeping = (name: string): boolean => name.startsWith(DOT_DOT) && name !== DOT_OPAQUE

const IMPLIED: Metadata = { mode: 0o755, uid: 0, gid: 0, mtime: 0, mtimeNs: 0, xattrs: null }
const SET_IDS = 0o6000
const OWN_ACCESS = 0o600
const ACL_DEFAULT = 'system.posix_acl_default'

export class LayerUnpacker implements TarHandler {
  readonly #tree: LayerTree
  readonly #limits: UnpackLimits
  /** What directories are to have in the end, by path. */
  readonly #directories = new Map<string, Metadata>()
  #file = -1
  #entry: TarEntry | null = null
  #at = 0
  #part = 0
  bytes = 0
  entries = 0
  /** Owners that files can't have here, as `uid:gid`. */
  readonly lostOwners = new Set<string>()

  /** `lowers`: root fds of the layers below, top first; null when they are still being unpacked. */
  constructor(rootFd: number, lowers: readonly number[] | null, limits = DEFAULT_LIMITS) {
    this.#tree = new LayerTree(rootFd, lowers)
    this.#limits = limits
    tryRemoveXattr(rootFd, '', ACL_DEFAULT)
    this.#tree.implied.add('')
  }

  close(): void {
    if (this.#file >= 0) close(this.#file)
    this.#file = -1
    this.#tree.close()
  }

  entry(entry: TarEntry): void {
    this.#entry = entry
    try {
      if (++this.entries > this.#limits.entries) {
        throw new StoreError('LIMIT', `more than ${this.#limits.entries} entries`)
      }
      if (!canOwn(entry.uid, entry.gid)) this.lostOwners.add(`${entry.uid}:${entry.gid}`)
      this.#make(entry)
    } catch (error) {
      throw this.#about(error)
    }
  }

  /** Puts the member's name in front of the reason. */
  #about(error: unknown): unknown {
    const name = JSON.stringify(showName(this.#entry!.name.slice(0, 300)))
    if (error instanceof StoreError)
      return new StoreError(error.code, `member ${name}: ${error.message}`, { cause: error })
    if (error instanceof SystemError) {
      return new SystemError(`member ${name}: ${error.message}`, error.code, error.syscall, error.path)
    }
    return error
  }

  #make(entry: TarEntry): void {
    const parts = cleanName(entry.name)
    if (entry.name.includes(DOT_DOT) && parts.some(isBookkeeping)) return
    const name = parts.pop()
    if (name === undefined) {
      if (entry.type !== 'directory') throw new StoreError('INVALID', 'the root is to be no directory')
      this.#directories.set('', entry)
      this.#tree.implied.delete('')
      return
    }
    const isDevice00 = entry.type === 'char' && entry.devMajor === 0 && entry.devMinor === 0
    if (name.startsWith(DOT_WHITEOUT)) this.#dotName(parts, name)
    else if (isDevice00) this.#whiteout(parts, name)
    else {
      const place = this.#tree.walk(parts, true)
      if (entry.type === 'directory') this.#directory(place, name, entry)
      else if (entry.type === 'hardlink') this.#hardLink(place, name, entry)
      else this.#node(place, name, entry)
    }
  }

  /** Makes anything but a directory or a further link; what was at the name goes. */
  #node(place: Place, name: string, entry: TarEntry): void {
    const make = this.#maker(place, name, entry)
    let result = make()
    if (result === -EEXIST) {
      this.#remove(place, name)
      result = make()
    }
    // Devices are not for ordinary users, nor in user namespaces; image tools leave them out there.
    if (result === -EPERM && (entry.type === 'char' || entry.type === 'block')) return
    check(result, 'create', name)
    if (entry.type === 'file') {
      this.#file = result
      this.#at = 0
      this.#part = 0
      this.#account(entry.sparse?.realSize ?? entry.size)
    } else {
      this.#finishNode(place.fd, name, entry)
    }
  }

  #maker({ fd }: Place, name: string, entry: TarEntry): () => number {
    const { mode, uid, gid } = entry
    switch (entry.type) {
      case 'symlink':
        if (entry.linkName === '') throw new StoreError('INVALID', 'a symbolic link to nothing')
        return () => trySymlink(entry.linkName, fd, name, uid, gid)
      case 'char':
      case 'block': {
        const device = packDevice(entry.devMajor, entry.devMinor)
        if (device === undefined) throw new StoreError('INVALID', 'a device number is too large')
        const type = entry.type === 'char' ? S_IFCHR : S_IFBLK
        return () => tryMknod(fd, name, { mode: type | mode, uid, gid }, device)
      }
      case 'fifo':
        return () => tryMknod(fd, name, { mode: S_IFIFO | mode, uid, gid }, 0)
      default:
        return () => tryCreate(fd, name, { mode: isRoot ? mode : mode | OWN_ACCESS, uid, gid })
    }
  }

  #finishNode(fd: number, name: string, entry: Metadata & { type?: string }): void {
    const isLink = entry.type === 'symlink'
    // Set-ids may have gone with a chown or a write; a mask of an ACL is the group's mode.
    if (!isLink && (!isRoot || (entry.mode & SET_IDS) !== 0)) setMode(fd, name, entry.mode)
    if (entry.xattrs !== null) this.#xattrs(fd, name, entry.xattrs)
    setTime(fd, name, entry.mtime, entry.mtimeNs)
  }

  #xattrs(fd: number, name: string, xattrs: ReadonlyMap<string, Buffer>): void {
    for (const [xattr, value] of xattrs) {
      const stored = storedXattrName(xattr)
      if (stored === undefined) continue
      const result = trySetXattr(fd, name, stored, value)
      // Some file systems and users can't have some; image tools agree that this is no failure.
      if (result === -EOPNOTSUPP || result === -EPERM) continue
      check(result, 'setxattr', `${name} ${stored}`)
    }
  }

  data(bytes: Buffer): void {
    if (this.#file < 0) return
    try {
      const sparse = this.#entry!.sparse
      if (sparse === null) {
        writeAt(this.#file, bytes, this.#at)
        this.#at += bytes.length
      } else this.#sparseData(bytes, sparse.parts)
    } catch (error) {
      throw this.#about(error)
    }
  }

  #sparseData(bytes: Buffer, parts: NonNullable<TarEntry['sparse']>['parts']): void {
    for (let from = 0; from < bytes.length; ) {
      const { offset, length } = parts[this.#part]!
      const count = Math.min(length - this.#at, bytes.length - from)
      if (count > 0) writeAt(this.#file, bytes.subarray(from, from + count), offset + this.#at)
      from += count
      this.#at += count
      if (this.#at === length) {
        this.#part++
        this.#at = 0
      }
    }
  }

  end(): void {
    if (this.#file < 0) return
    try {
      const { sparse } = this.#entry!
      if (sparse !== null) ftruncateSync(this.#file, sparse.realSize)
      this.#finishNode(this.#file, '', this.#entry!)
      close(this.#file)
      this.#file = -1
    } catch (error) {
      throw this.#about(error)
    }
  }

  #account(bytes: number): void {
    this.bytes += bytes
    if (this.bytes > this.#limits.bytes) {
      throw new StoreError(
        'LIMIT',
        `the layer is larger than ${this.#limits.bytes} bytes; MICA_MAX_LAYER_BYTES allows more`,
      )
    }
  }

  #directory(place: Place, name: string, entry: TarEntry): void {
    const path = joinName(place.path, name)
    const result = tryMkdir(place.fd, name)
    if (result === -EEXIST) {
      const { mode } = statAt(place.fd, name)!
      if ((mode & S_IFMT) !== S_IFDIR) this.#tree.remakeAsDirectory(place.fd, name, path)
    } else check(result, 'mkdir', path)
    this.#tree.implied.delete(path)
    this.#directories.set(path, entry)
  }

  /** Removes what this layer has at a name. */
  #remove(place: Place, name: string): void {
    const path = joinName(place.path, name)
    const stat = statAt(place.fd, name)
    if (stat === undefined) return
    if ((stat.mode & S_IFMT) !== S_IFDIR) {
      check(tryUnlink(place.fd, name), 'unlink', path)
      this.#tree.whiteouts.delete(path)
      return
    }
    // What is in it may belong where a link below leads.
    const isGuess = this.#tree.lowers === null && this.#tree.implied.has(path) && !this.#tree.opaque.has(path)
    if (isGuess) throw new NeedsLowers()
    removeDirectory(place.fd, name)
    this.#tree.forget(path)
    for (const each of this.#directories.keys()) {
      if (each === path || each.startsWith(`${path}/`)) this.#directories.delete(each)
    }
  }

  #dotName(parts: readonly string[], name: string): void {
    if (name === DOT_OPAQUE) {
      const place = this.#walkUnlessFile(parts)
      if (place === undefined) return
      setOpaque(place.fd, '')
      this.#tree.opaque.add(place.path)
      return
    }
    const hidden = name.slice(DOT_WHITEOUT.length)
    if (hidden === '' || hidden === '.' || hidden === '..') {
      throw new StoreError('INVALID', 'a whiteout of no name')
    }
    this.#whiteout(parts, hidden)
  }

  /** Hides what the lowers have at a name; what this layer itself has there stays. */
  #whiteout(parts: readonly string[], name: string): void {
    const place = this.#walkUnlessFile(parts)
    if (place === undefined) return
    const path = joinName(place.path, name)
    const result = tryWhiteout(place.fd, name)
    if (result !== -EEXIST) {
      check(result, 'mknod', path)
      this.#tree.whiteouts.add(path)
      return
    }
    const { mode } = statAt(place.fd, name)!
    if ((mode & S_IFMT) !== S_IFDIR) return
    setOpaque(place.fd, name)
    this.#tree.opaque.add(path)
  }

  /** Returns undefined where a file of this layer stands in the way: then nothing of the lowers shows there. */
  #walkUnlessFile(parts: readonly string[]): Place | undefined {
    try {
      return this.#tree.walk(parts, true)
    } catch (error) {
      if (error instanceof NoDirectory) return undefined
      throw error
    }
  }

  #hardLink(place: Place, name: string, entry: TarEntry): void {
    const parts = cleanName(entry.linkName)
    const target = parts.pop()
    if (target === undefined) throw new StoreError('INVALID', 'a hard link to nothing')
    let from = this.#tree.walk(parts, false)
    const targetPath = joinName(from.path, target)
    if (targetPath === joinName(place.path, name)) throw new StoreError('INVALID', 'a hard link to itself')
    const words = JSON.stringify(showName(entry.linkName))
    let stat = from.fd < 0 ? undefined : statAt(from.fd, target)
    if (stat === undefined) {
      if (this.#tree.lowers === null) throw new NeedsLowers()
      from = this.#copyUp(from.path, target)
      stat = from.fd < 0 ? undefined : statAt(from.fd, target)
    }
    if (stat === undefined || isWhiteoutNode(stat.mode, stat.rdev)) {
      throw new StoreError('INVALID', `a hard link to ${words}, which is not there`)
    }
    if ((stat.mode & S_IFMT) === S_IFDIR)
      throw new StoreError('INVALID', `a hard link to ${words}, a directory`)
    let result = tryLink(from.fd, target, place.fd, name)
    if (result === -EEXIST) {
      this.#remove(place, name)
      result = tryLink(from.fd, target, place.fd, name)
    }
    check(result, 'link', name)
  }

  /** Brings a lower file into this layer; returns its directory, fd -1 when the lowers have none. */
  #copyUp(dirPath: string, name: string): Place {
    const none = { path: dirPath, fd: -1 }
    const lowers = this.#tree.lowers!
    if (this.#tree.isHidden(dirPath)) return none
    const parts = dirPath === '' ? [] : dirPath.split('/')
    const copied = findInLowers(lowers, [...parts, name], (found) => {
      if ((found.stat.mode & S_IFMT) === S_IFDIR) return undefined
      const place = this.#tree.walk(parts, true)
      this.#copyNode(found, place)
      return place
    })
    return copied ?? none
  }

  #copyNode({ dirFd, name, stat }: Found, place: Place): void {
    const type = stat.mode & S_IFMT
    const { mode, uid, gid } = stat
    const metadata: Metadata = { ...stat, mode: mode & 0o7777, xattrs: imageXattrs(dirFd, name) }
    if (type === S_IFREG) {
      this.#account(stat.size)
      const source = check(tryOpen(dirFd, name, 0), 'open', name)
      const fd = check(tryCreate(place.fd, name, { mode: mode & 0o7777, uid, gid }), 'create', name)
      copyData(source, fd, name)
      close(source)
      close(fd)
    } else if (type === S_IFLNK) {
      check(trySymlink(readLink(dirFd, name), place.fd, name, uid, gid), 'symlink', name)
      setTime(place.fd, name, stat.mtime, stat.mtimeNs)
      return
    } else check(tryMknod(place.fd, name, { mode, uid, gid }, stat.rdev), 'mknod', name)
    this.#finishNode(place.fd, name, metadata)
  }

  /** Ends the layer; `lowers` are complete. Throws NeedsLowers when it has to be done again with them. */
  finish(lowers: readonly number[]): void {
    const hadLowers = this.#tree.lowers !== null
    this.#tree.lowers = lowers
    this.#dropIdleWhiteouts(lowers)
    // Those inside before those around: with them these may become empty.
    for (const path of [...this.#tree.implied].reverse()) {
      const metadata = this.#metadataBelow(lowers, path, hadLowers)
      if (metadata !== undefined) this.#directories.set(path, metadata)
      else if (!this.#removeIfEmpty(path)) this.#directories.set(path, IMPLIED)
    }
    // Deepest first: a mode may shut us out of what is below.
    const paths = [...this.#directories.keys()].sort((a, b) => b.length - a.length)
    for (const path of paths) this.#finishDirectory(path, this.#directories.get(path)!)
  }

  /** A whiteout of what is not there would only be in the way. */
  #dropIdleWhiteouts(lowers: readonly number[]): void {
    for (const path of this.#tree.whiteouts) {
      const isNeeded =
        !this.#tree.isHidden(parentOf(path)) && findInLowers(lowers, path.split('/'), () => true)
      if (isNeeded) continue
      const parent = parentOf(path)
      const place = this.#tree.walk(parent === '' ? [] : parent.split('/'), false)
      if (place.fd >= 0)
        check(tryUnlink(place.fd, path.slice(parent === '' ? 0 : parent.length + 1)), 'unlink', path)
    }
  }

  #metadataBelow(lowers: readonly number[], path: string, hadLowers: boolean): Metadata | undefined {
    if (path !== '' && this.#tree.isHidden(parentOf(path))) return undefined
    return findInLowers(lowers, path === '' ? [] : path.split('/'), ({ dirFd, name, stat }) => {
      const type = stat.mode & S_IFMT
      // What was put into a directory here belongs where this link leads.
      if (type === S_IFLNK && !hadLowers && !this.#tree.opaque.has(path)) throw new NeedsLowers()
      if (type !== S_IFDIR) return undefined
      return { ...stat, mode: stat.mode & 0o7777, xattrs: imageXattrs(dirFd, name) }
    })
  }

  #removeIfEmpty(path: string): boolean {
    if (path === '') return false
    const parent = parentOf(path)
    const place = this.#tree.walk(parent === '' ? [] : parent.split('/'), false)
    return place.fd >= 0 && tryRmdir(place.fd, path.slice(parent === '' ? 0 : parent.length + 1)) === 0
  }

  #finishDirectory(path: string, metadata: Metadata): void {
    const { fd } = this.#tree.walk(path === '' ? [] : path.split('/'), false)
    if (fd < 0) return
    setOwner(fd, '', metadata.uid, metadata.gid)
    setMode(fd, '', metadata.mode)
    if (metadata.xattrs !== null) this.#xattrs(fd, '', metadata.xattrs)
    setTime(fd, '', metadata.mtime, metadata.mtimeNs)
  }
}
