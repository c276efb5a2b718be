// Trees to tar: a layer from what an upper changed, or a whole root file system. Written to a file as
// they are read; both digests are known at the end. Sorted and without a trace of when or where.

import { createWriteStream, readSync } from 'node:fs'
import { finished } from 'node:stream/promises'
import { O_DIRECTORY } from '../base/open-flags.js'
import { DOT_OPAQUE, DOT_WHITEOUT } from '../format/markers.js'
import {
  check,
  close,
  type Ino,
  imageXattrs,
  readLink,
  readNames,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  type Stat,
  statAt,
  tryOpen,
  unpackDevice,
} from './at.js'
import { BlockGzip } from './block-gzip.js'
import { type ChangeRoots, changesOf } from './changes.js'
import { type Digest, Hasher } from './digest.js'
import { findInLowers } from './lowers.js'
import { namesOf } from './shared-names.js'
import type { TarEntry, TarType } from './tar-entry.js'
import { encodeHeader, plainEntry, TAR_END, tarPadding } from './tar-writer.js'
import { joinName, parentOf } from './unpack-path.js'

const CHUNK = 512 * 1024
const TYPES = new Map<number, TarType>([
  [S_IFREG, 'file'],
  [S_IFDIR, 'directory'],
  [S_IFLNK, 'symlink'],
  [S_IFCHR, 'char'],
  [S_IFBLK, 'block'],
  [S_IFIFO, 'fifo'],
])

export type PackOptions = {
  /** Later times become this, seconds since 1970 (SOURCE_DATE_EPOCH); undefined leaves all as they are. */
  readonly clampTime?: number | undefined
}

/** A member to write: what it is, and for a file where its bytes are. */
type Member = {
  readonly entry: TarEntry
  readonly dirFd: number
  readonly name: string
}

/** A file with several names: the first that was told of, and how many of them were. */
type Links = { readonly first: string; readonly ino: Ino; readonly nlink: number; told: number }

/** Makes members; knows which files were there before under another name. */
class Members {
  readonly #links = new Map<string, Links>()
  readonly #clamp: number
  readonly #merged: number

  /** `merged` is the root of a mount that shows what is packed (-1: none): it knows links over all layers. */
  constructor({ clampTime = Number.POSITIVE_INFINITY }: PackOptions, merged = -1) {
    this.#clamp = clampTime
    this.#merged = merged
  }

  /** Returns an earlier name of the file, undefined when this is the first. */
  #earlierName(path: string, stat: Stat): string | undefined {
    const seen =
      this.#merged < 0 ? undefined : findInLowers([this.#merged], path.split('/'), (found) => found.stat)
    const { dev, ino, nlink } = seen ?? stat
    const key = `${dev}:${ino}`
    const known = this.#links.get(key)
    if (known === undefined) this.#links.set(key, { first: path, ino, nlink, told: 1 })
    else known.told++
    return known?.first
  }

  /** Returns the files of which some names were told of and some were not. */
  incomplete(): Set<Ino> {
    const missing = [...this.#links.values()].filter(({ told, nlink }) => told < nlink)
    return new Set(missing.map(({ ino }) => ino))
  }

  member(dirFd: number, name: string, path: string, stat: Stat): Member | undefined {
    const type = TYPES.get(stat.mode & S_IFMT)
    if (type === undefined) return undefined
    const isLate = stat.mtime >= this.#clamp
    const entry: TarEntry = {
      ...plainEntry(type === 'directory' ? `${path === '' ? '.' : path}/` : path, 0),
      type,
      mode: stat.mode & 0o7777,
      uid: stat.uid,
      gid: stat.gid,
      mtime: isLate ? this.#clamp : stat.mtime,
      mtimeNs: isLate ? 0 : stat.mtimeNs,
    }
    if (type !== 'directory' && stat.nlink > 1) {
      const first = this.#earlierName(path, stat)
      if (first !== undefined) return { entry: { ...entry, type: 'hardlink', linkName: first }, dirFd, name }
    }
    if (type === 'file') entry.size = stat.size
    if (type === 'symlink') entry.linkName = readLink(dirFd, name)
    if (type === 'char' || type === 'block') [entry.devMajor, entry.devMinor] = unpackDevice(stat.rdev)
    entry.xattrs = imageXattrs(dirFd, name)
    return { entry, dirFd, name }
  }
}

/** Takes bytes one after the other; awaits its drain. */
type Sink = (bytes: Buffer) => Promise<void> | void

async function writeMember(sink: Sink, { entry, dirFd, name }: Member): Promise<void> {
  await sink(encodeHeader(entry))
  if (entry.type !== 'file' || entry.size === 0) return
  const fd = check(tryOpen(dirFd, name, 0), 'open', entry.name)
  try {
    for (let at = 0; at < entry.size; ) {
      const buffer = Buffer.allocUnsafe(Math.min(CHUNK, entry.size - at))
      let length = readSync(fd, buffer, 0, buffer.length, at)
      // It became shorter while we read: the header has told its size.
      if (length === 0) length = buffer.fill(0).length
      await sink(buffer.subarray(0, length))
      at += length
    }
  } finally {
    close(fd)
  }
  await sink(tarPadding(entry.size))
}

function whiteout(path: string, name: string): TarEntry {
  return plainEntry(joinName(path, name), 0)
}

/** Gives out the members that tell of an upper's changes; each is valid until the next is asked for. */
function* changedMembers(roots: ChangeRoots, options: PackOptions): Generator<Member> {
  const members = new Members(options, roots.merged)
  const told = new Set<string>()
  const bare = (entry: TarEntry): Member => ({ entry, dirFd: -1, name: '' })
  for (const change of changesOf(roots)) {
    if (change.kind === 'D') {
      const parent = parentOf(change.path)
      const name = parent === '' ? change.path : change.path.slice(parent.length + 1)
      yield bare(whiteout(parent, `${DOT_WHITEOUT}${name}`))
    } else if (change.kind === 'O') yield bare(whiteout(change.path, DOT_OPAQUE))
    else {
      const member = members.member(change.dirFd, change.name, change.path, change.stat)
      if (member === undefined) continue
      told.add(change.path)
      yield member
    }
  }
  if (roots.merged >= 0) yield* remainingNames(roots.merged, members, told)
}

/** Gives out the names that were not told of, as nothing changed there, of files that were. */
function* remainingNames(merged: number, members: Members, told: Set<string>): Generator<Member> {
  const incomplete = members.incomplete()
  if (incomplete.size === 0) return
  for (const { path, dirFd, name } of namesOf(merged, incomplete)) {
    if (told.has(path)) continue
    for (const dir of pathsTo(path)) {
      if (told.has(dir)) continue
      told.add(dir)
      const parts = dir === '' ? [] : dir.split('/')
      const around = findInLowers([merged], parts, (found) =>
        members.member(found.dirFd, found.name, dir, found.stat),
      )
      if (around !== undefined) yield around
    }
    const member = members.member(dirFd, name, path, statAt(dirFd, name)!)
    if (member !== undefined) yield member
  }
}

/** Returns the directories that a path lies in, the root first. */
function pathsTo(path: string): string[] {
  const dirs: string[] = []
  for (let at = parentOf(path); ; at = parentOf(at)) {
    dirs.unshift(at)
    if (at === '') return dirs
  }
}

export type Packed = {
  /** Of the plain archive. */
  readonly diffId: Digest
  /** Of the file that was written. */
  readonly digest: Digest
  readonly size: number
  readonly members: number
}

/** Writes what an upper changed as a gzip-compressed layer to `path`. */
export async function packChanges(
  roots: ChangeRoots,
  path: string,
  options: PackOptions = {},
): Promise<Packed> {
  const output = new LayerFile(path)
  let members = 0
  try {
    for (const member of changedMembers(roots, options)) {
      members++
      await writeMember((bytes) => output.write(bytes), member)
    }
    return { ...(await output.end()), members }
  } catch (error) {
    output.abandon()
    throw error
  }
}

/** Writes a whole tree as a gzip-compressed layer to `path`. */
export async function packTreeLayer(
  rootFd: number,
  path: string,
  options: PackOptions = {},
): Promise<Omit<Packed, 'members'>> {
  const output = new LayerFile(path)
  try {
    await writeTree(rootFd, (bytes) => output.write(bytes), options)
    return await output.end()
  } catch (error) {
    output.abandon()
    throw error
  }
}

class LayerFile {
  readonly #gzip = new BlockGzip((bytes) => this.#put(bytes))
  readonly #plain = new Hasher()
  readonly #packed = new Hasher()
  readonly #file
  readonly #done

  constructor(path: string) {
    this.#file = createWriteStream(path, { mode: 0o600 })
    this.#done = finished(this.#file)
    this.#done.catch(() => {})
  }

  async write(bytes: Buffer): Promise<void> {
    this.#plain.update(bytes)
    await this.#gzip.write(bytes)
  }

  async #put(bytes: Buffer): Promise<void> {
    this.#packed.update(bytes)
    if (this.#file.write(bytes)) return
    await Promise.race([new Promise<void>((resolve) => this.#file.once('drain', resolve)), this.#done])
  }

  async end(): Promise<{ diffId: Digest; digest: Digest; size: number }> {
    await this.write(TAR_END)
    await this.#gzip.end()
    this.#file.end()
    await this.#done
    return { diffId: this.#plain.digest(), size: this.#packed.size, digest: this.#packed.digest() }
  }

  abandon(): void {
    this.#file.destroy()
  }
}

/** Writes a whole tree as a plain archive, as `export` does. */
export async function packTree(rootFd: number, sink: Sink, options: PackOptions = {}): Promise<void> {
  await writeTree(rootFd, sink, options)
  await sink(TAR_END)
}

async function writeTree(rootFd: number, sink: Sink, options: PackOptions): Promise<void> {
  const members = new Members(options)
  const visit = async (dirFd: number, name: string, path: string): Promise<void> => {
    const stat = statAt(dirFd, name)
    const member = stat === undefined ? undefined : members.member(dirFd, name, path, stat)
    if (member === undefined) return
    await writeMember(sink, member)
    if (member.entry.type !== 'directory') return
    const fd = check(tryOpen(dirFd, name, O_DIRECTORY), 'open', path)
    try {
      for (const each of readNames(fd)) await visit(fd, each, joinName(path, each))
    } finally {
      close(fd)
    }
  }
  await visit(rootFd, '', '')
}
