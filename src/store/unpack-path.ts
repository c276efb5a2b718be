// Names from an archive to places in a layer. Whatever a name says, the place is inside: `..` stops
// at the layer's root, absolute names begin there, and links on the way are followed by hand,
// one component at a time, with fds that no link can divert (openat2's RESOLVE_IN_ROOT in effect).

import { ELOOP, ENOENT, ENOTDIR } from '../base/errno.js'
import { O_DIRECTORY, O_PATH } from '../base/open-flags.js'
import { isWhiteoutNode } from '../format/whiteout.js'
import {
  check,
  close,
  readLink,
  S_IFLNK,
  S_IFMT,
  type Stat,
  setOpaque,
  showName,
  statAt,
  tryMkdir,
  tryOpen,
  tryUnlink,
} from './at.js'
import { StoreError } from './errors.js'
import { findInLowers } from './lowers.js'

const LINKS_MAX = 40
const PATH_MAX = 4096
const OPEN_DIRS_MAX = 256

/** A directory of the layer: its path from the root without links; `fd` -1 when the layer lacks it. */
export type Place = { readonly path: string; readonly fd: number }

/** Thrown when the layers below decide and are not there yet: unpack again when they are. */
export class NeedsLowers extends Error {}

/** Thrown when something is to be in what is no directory. */
export class NoDirectory extends StoreError {}

/** Returns the components of a name, cleaned as text: no `.`, no empty ones, `..` taken back. */
export function cleanName(name: string): string[] {
  if (name.length > PATH_MAX) throw new StoreError('LIMIT', `a name is longer than ${PATH_MAX} bytes`)
  const parts: string[] = []
  for (const part of name.split('/')) {
    if (part === '' || part === '.') continue
    if (part === '..') parts.pop()
    else parts.push(part)
  }
  return parts
}

export function joinName(path: string, name: string): string {
  return path === '' ? name : `${path}/${name}`
}

export function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')))
}

/** The tree of a layer that is being unpacked, as far as finding places goes. */
export class LayerTree {
  readonly rootFd: number
  /** Roots of the layers below, top first; null when they are not there yet. */
  lowers: readonly number[] | null
  /** Directories that no member spoke of: only because something is in them. In order of making. */
  readonly implied = new Set<string>()
  /** Directories that hide what is below. */
  readonly opaque = new Set<string>()
  readonly whiteouts = new Set<string>()
  readonly #fds = new Map<string, number>()

  constructor(rootFd: number, lowers: readonly number[] | null) {
    this.rootFd = rootFd
    this.lowers = lowers
  }

  /** Closes what is open but the root. */
  close(): void {
    for (const fd of this.#fds.values()) close(fd)
    this.#fds.clear()
  }

  /** Tells whether the layer itself hides what the lowers have in this directory. */
  isHidden(path: string): boolean {
    for (let at = path; ; at = parentOf(at)) {
      if (this.opaque.has(at) || this.whiteouts.has(at)) return true
      if (at === '') return false
    }
  }

  /** Returns what the lowers have at a path without links; undefined when they have nothing or are unknown. */
  #lower<T>(path: string, use: (stat: Stat, dirFd: number, name: string) => T): T | undefined {
    if (this.lowers === null || this.lowers.length === 0 || this.isHidden(parentOf(path))) return undefined
    return findInLowers(this.lowers, path.split('/'), ({ stat, dirFd, name }) => use(stat, dirFd, name))
  }

  /**
   * Returns the directory that these components lead to, links followed. With `make`, it is made
   * where it is missing.
   */
  walk(parts: readonly string[], make: boolean): Place {
    let place: Place = { path: '', fd: this.rootFd }
    const queue = [...parts]
    let links = 0
    while (queue.length > 0) {
      const name = queue.shift()!
      if (name === '' || name === '.') continue
      if (name === '..') {
        place = this.#place(parentOf(place.path))
        continue
      }
      const step = this.#step(place, name, make)
      if ('fd' in step) {
        place = step
        continue
      }
      if (++links > LINKS_MAX) throw new StoreError('INVALID', 'too many symbolic links')
      if (step.target.startsWith('/')) place = this.#place('')
      queue.unshift(...step.target.split('/'))
    }
    return place
  }

  /** Returns the place of a directory that has been passed before. */
  #place(path: string): Place {
    if (path === '') return { path, fd: this.rootFd }
    const known = this.#fds.get(path)
    if (known !== undefined) return { path, fd: known }
    let place: Place = { path: '', fd: this.rootFd }
    for (const name of path.split('/')) {
      const step = this.#step(place, name, false)
      place = 'fd' in step ? step : { path: joinName(place.path, name), fd: -1 }
    }
    return place
  }

  #step(from: Place, name: string, make: boolean): Place | { readonly target: string } {
    const path = joinName(from.path, name)
    const known = this.#fds.get(path)
    if (known !== undefined) return { path, fd: known }
    const fd = from.fd < 0 ? -ENOENT : tryOpen(from.fd, name, O_PATH | O_DIRECTORY)
    if (fd >= 0) return { path, fd: this.#keep(path, fd) }
    if (fd === -ENOENT) return this.#missing(from, name, path, make)
    if (fd !== -ELOOP && fd !== -ENOTDIR) check(fd, 'open', path)
    const stat = statAt(from.fd, name)!
    if ((stat.mode & S_IFMT) === S_IFLNK) return { target: readLink(from.fd, name) }
    if (!isWhiteoutNode(stat.mode, stat.rdev)) {
      throw new NoDirectory(
        'INVALID',
        `${JSON.stringify(showName(path))} is no directory, yet something is to be in it`,
      )
    }
    if (!make) return { path, fd: -1 }
    return { path, fd: this.remakeAsDirectory(from.fd, name, path) }
  }

  #missing(from: Place, name: string, path: string, make: boolean): Place | { readonly target: string } {
    const target = this.#lower(path, (stat, dirFd, lower) =>
      (stat.mode & S_IFMT) === S_IFLNK ? readLink(dirFd, lower) : undefined,
    )
    if (target !== undefined) return { target }
    if (!make) return { path, fd: -1 }
    if (name.startsWith('.wh.')) throw new StoreError('INVALID', 'a .wh. name is to hold something')
    const parent = from.fd < 0 ? this.walk(from.path.split('/'), true).fd : from.fd
    check(tryMkdir(parent, name), 'mkdir', path)
    this.implied.add(path)
    return { path, fd: this.#keep(path, check(tryOpen(parent, name, O_PATH | O_DIRECTORY), 'open', path)) }
  }

  /** A directory takes the place of what is no directory: what is below that stays hidden. */
  remakeAsDirectory(dirFd: number, name: string, path: string): number {
    check(tryUnlink(dirFd, name), 'unlink', path)
    check(tryMkdir(dirFd, name), 'mkdir', path)
    setOpaque(dirFd, name)
    this.whiteouts.delete(path)
    this.opaque.add(path)
    this.implied.add(path)
    return this.#keep(path, check(tryOpen(dirFd, name, O_PATH | O_DIRECTORY), 'open', path))
  }

  #keep(path: string, fd: number): number {
    if (this.#fds.size >= OPEN_DIRS_MAX) {
      const [oldest, oldestFd] = this.#fds.entries().next().value!
      this.#fds.delete(oldest)
      close(oldestFd)
    }
    this.#fds.set(path, fd)
    return fd
  }

  /** Forgets a directory that is gone, with all that was in it. */
  forget(path: string): void {
    const inside = `${path}/`
    for (const [each, fd] of this.#fds) {
      if (each !== path && !each.startsWith(inside)) continue
      this.#fds.delete(each)
      close(fd)
    }
    for (const set of [this.implied, this.opaque, this.whiteouts]) {
      for (const each of set) if (each === path || each.startsWith(inside)) set.delete(each)
    }
  }
}
