// What an upper holds against the layers below it: the list that `diff` shows and `commit` packs. The
// work is in proportion to the upper. A directory that was moved (a redirect) keeps its content in
// the lowers; it is read through the mount, as one that is all new.
//
// See image-spec layer.md, "Determining Changes". Whiteouts come before their siblings.

import { ENOTCONN } from '../base/errno.js'
import { O_DIRECTORY } from '../base/open-flags.js'
import { DOT_OPAQUE, DOT_WHITEOUT } from '../format/markers.js'
import { isWhiteoutNode, REDIRECT_XATTRS } from '../format/whiteout.js'
import {
  check,
  close,
  getXattr,
  imageXattrs,
  isOpaque,
  readLink,
  readNames,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
  type Stat,
  statAt,
  tryOpen,
} from './at.js'
import { compareFiles } from './file-compare.js'
import { LinkGroups } from './link-groups.js'
import { findInLowers } from './lowers.js'
import { joinName } from './unpack-path.js'

export type ChangeKind = 'A' | 'C' | 'D'

/** One change; `dirFd` and `name` are where the object is, valid during the visit. */
export type Change =
  | { readonly kind: 'D'; readonly path: string }
  | { readonly kind: 'O'; readonly path: string }
  | {
      readonly kind: 'A' | 'C'
      readonly path: string
      readonly dirFd: number
      readonly name: string
      readonly stat: Stat
      /** A directory whose attributes are as they were: named for what is in it. */
      readonly isOnlyAround: boolean
    }

/** The three trees: an upper, what is below it (top first), and the two as mounted. */
export type ChangeRoots = {
  readonly upper: number
  readonly lowers: readonly number[]
  /** Root of the mount; -1 where there is none, and then a moved directory is an error. */
  readonly merged: number
  /** Paths that are not told of while they are new and empty: a running container's placeholders. */
  readonly placeholders: ReadonlySet<string>
}

/**
 * Gives out each change, directories before what is in them. `O` stands for a directory whose former
 * content is hidden as a whole; it comes after the directory and before what is in it.
 */
export function* changesOf(roots: ChangeRoots): Generator<Change> {
  const root = statAt(roots.upper, '')!
  const pending = new Pending()
  const isChanged = findInLowers(roots.lowers, [], ({ dirFd, name, stat }) =>
    differs({ dirFd: roots.upper, name: '', stat: root }, { dirFd, name, stat }),
  )
  const change = {
    kind: 'C' as const,
    path: '',
    dirFd: roots.upper,
    name: '',
    stat: root,
    isOnlyAround: isChanged !== true,
  }
  yield* pending.enter(change)
  const links = new LinkGroups(roots.upper, roots.lowers)
  yield* walk({ ...roots, links }, roots.upper, [], pending)
  pending.leave()
}

type Walked = ChangeRoots & { readonly links: LinkGroups }

/** Directories that are told of only when they or something in them changed. */
class Pending {
  readonly #dirs: { change: Change; isTold: boolean }[] = []

  enter(change: Extract<Change, { name: string }>): Change[] {
    this.#dirs.push({ change, isTold: false })
    return change.isOnlyAround ? [] : this.#untold()
  }

  leave(): void {
    this.#dirs.pop()
  }

  /** Returns the change with the directories around it that were not told of yet. */
  tell(change: Change): Change[] {
    return [...this.#untold(), change]
  }

  #untold(): Change[] {
    const untold = this.#dirs.filter(({ isTold }) => !isTold)
    for (const dir of untold) dir.isTold = true
    return untold.map(({ change }) => change)
  }
}

function* walk(roots: Walked, dirFd: number, parts: readonly string[], pending: Pending): Generator<Change> {
  const fd = check(tryOpen(dirFd, '', O_DIRECTORY), 'open', parts.join('/'))
  try {
    const names = readNames(fd)
    const isGone = (name: string): boolean => {
      const stat = statAt(fd, name)
      return stat !== undefined && isWhiteoutNode(stat.mode, stat.rdev)
    }
    const gone = names.filter((name) => name.startsWith(DOT_WHITEOUT) || isGone(name))
    for (const name of gone) yield* deleted(roots, parts, name, new Set(names), pending)
    const isIn = new Set(gone)
    for (const name of names) if (!isIn.has(name)) yield* object(roots, fd, parts, name, pending)
  } finally {
    close(fd)
  }
}

function* deleted(
  roots: Walked,
  parts: readonly string[],
  marker: string,
  siblings: ReadonlySet<string>,
  pending: Pending,
): Generator<Change> {
  if (marker === DOT_OPAQUE) return
  const isDot = marker.startsWith(DOT_WHITEOUT)
  const name = isDot ? marker.slice(DOT_WHITEOUT.length) : marker
  // The real name wins over its `.wh.`.
  if (name === '' || (isDot && siblings.has(name))) return
  const path = [...parts, name]
  if (findInLowers(roots.lowers, path, () => true) === true)
    yield* pending.tell({ kind: 'D', path: path.join('/') })
}

function* object(
  roots: Walked,
  fd: number,
  parts: readonly string[],
  name: string,
  pending: Pending,
): Generator<Change> {
  const stat = statAt(fd, name)
  if (stat === undefined) return
  const path = joinName(parts.join('/'), name)
  const type = stat.mode & S_IFMT
  // No archive can hold one.
  if (type === S_IFSOCK) return
  if (type === S_IFDIR) {
    yield* directory(roots, fd, parts, name, stat, pending)
    return
  }
  const own = { dirFd: fd, name, stat }
  const isSame = findInLowers(roots.lowers, [...parts, name], (lower) => !differs(own, lower))
  if (isSame === true && (stat.nlink === 1 || roots.links.isAsBelow(stat))) return
  if (isSame === undefined && stat.size === 0 && roots.placeholders.has(path)) return
  yield* pending.tell({
    kind: isSame === undefined ? 'A' : 'C',
    path,
    dirFd: fd,
    name,
    stat,
    isOnlyAround: false,
  })
}

function* directory(
  roots: Walked,
  fd: number,
  parts: readonly string[],
  name: string,
  stat: Stat,
  pending: Pending,
): Generator<Change> {
  const path = [...parts, name]
  const text = path.join('/')
  const own = { dirFd: fd, name, stat }
  const below = findInLowers(roots.lowers, path, (lower) => ({
    isDirectory: (lower.stat.mode & S_IFMT) === S_IFDIR,
    isChanged: differs(own, lower),
  }))
  const isMoved = REDIRECT_XATTRS.some((xattr) => getXattr(fd, name, xattr) !== undefined)
  if (isMoved) {
    yield* movedDirectory(roots, path, below !== undefined, pending)
    return
  }
  const dir = check(tryOpen(fd, name, O_DIRECTORY), 'open', text)
  try {
    const hides = isOpaque(dir, '') || statAt(dir, DOT_OPAQUE) !== undefined
    const isNew = below?.isDirectory !== true
    if (below === undefined && roots.placeholders.has(text) && readNames(dir).length === 0) return
    const isOnlyAround = !isNew && !below.isChanged && !hides
    const change = {
      kind: below === undefined ? ('A' as const) : ('C' as const),
      path: text,
      ...own,
      isOnlyAround,
    }
    yield* pending.enter(change)
    if (hides && below?.isDirectory === true) yield* pending.tell({ kind: 'O', path: text })
    // Nothing below shows in a new directory: all in it is new.
    const inside = isNew || hides ? { ...roots, lowers: [] } : roots
    yield* walk(inside, dir, path, pending)
    pending.leave()
  } finally {
    close(dir)
  }
}

/** A directory whose content is elsewhere in the lowers: told as a new one, from the mount. */
function* movedDirectory(
  roots: ChangeRoots,
  path: readonly string[],
  isOver: boolean,
  pending: Pending,
): Generator<Change> {
  if (roots.merged < 0) check(-ENOTCONN, 'open', path.join('/'))
  const opened: number[] = []
  try {
    let at = roots.merged
    for (const part of path.slice(0, -1)) {
      at = check(tryOpen(at, part, O_DIRECTORY), 'open', path.join('/'))
      opened.push(at)
    }
    yield* wholeTree(at, path.at(-1)!, path.join('/'), isOver, pending)
  } finally {
    for (const fd of opened) close(fd)
  }
}

function* wholeTree(
  dirFd: number,
  name: string,
  path: string,
  isOver: boolean,
  pending: Pending,
): Generator<Change> {
  const stat = statAt(dirFd, name)
  if (stat === undefined || (stat.mode & S_IFMT) === S_IFSOCK) return
  if ((stat.mode & S_IFMT) !== S_IFDIR) {
    yield* pending.tell({ kind: 'A', path, dirFd, name, stat, isOnlyAround: false })
    return
  }
  const fd = check(tryOpen(dirFd, name, O_DIRECTORY), 'open', path)
  try {
    yield* pending.enter({ kind: isOver ? 'C' : 'A', path, dirFd, name, stat, isOnlyAround: false })
    if (isOver) yield* pending.tell({ kind: 'O', path })
    for (const each of readNames(fd)) yield* wholeTree(fd, each, joinName(path, each), false, pending)
    pending.leave()
  } finally {
    close(fd)
  }
}

export type Place = { readonly dirFd: number; readonly name: string; readonly stat: Stat }

/** Tells whether two objects differ in anything that an image keeps. */
export function differs(a: Place, b: Place): boolean {
  const type = a.stat.mode & S_IFMT
  if (a.stat.mode !== b.stat.mode || a.stat.uid !== b.stat.uid || a.stat.gid !== b.stat.gid) return true
  if (a.stat.mtime !== b.stat.mtime || a.stat.mtimeNs !== b.stat.mtimeNs) return true
  if (type !== S_IFDIR && type !== S_IFREG && type !== S_IFLNK && a.stat.rdev !== b.stat.rdev) return true
  if (type === S_IFREG && a.stat.size !== b.stat.size) return true
  if (type === S_IFLNK) return readLink(a.dirFd, a.name) !== readLink(b.dirFd, b.name)
  if (!sameXattrs(imageXattrs(a.dirFd, a.name), imageXattrs(b.dirFd, b.name))) return true
  return type === S_IFREG && !compareFiles(a, b)
}

function sameXattrs(a: ReadonlyMap<string, Buffer> | null, b: ReadonlyMap<string, Buffer> | null): boolean {
  if (a === null || b === null) return a === b
  if (a.size !== b.size) return false
  for (const [name, value] of a) if (b.get(name)?.equals(value) !== true) return false
  return true
}
