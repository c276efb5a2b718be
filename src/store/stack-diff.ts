// How two stacks of trees (images, containers) differ, as their merged views show it. Trees that both
// stand on are looked into only where one side hides them: the work is in proportion to what the two do not
// share.
//
// A directory that was moved (a redirect, in a container's upper) has its content elsewhere: from there on
// that side is read through its mount.

import { ENOTCONN } from '../base/errno.js'
import { O_DIRECTORY } from '../base/open-flags.js'
import { isWhiteoutNode, REDIRECT_XATTRS } from '../format/whiteout.js'
import {
  check,
  close,
  getXattr,
  isOpaque,
  readNames,
  S_IFDIR,
  S_IFMT,
  S_IFSOCK,
  statAt,
  tryOpen,
} from './at.js'
import { type ChangeKind, differs, type Place } from './changes.js'
import { joinName } from './unpack-path.js'

/** One side: root fds, top first. */
export type Stack = {
  /** What the other side does not have. */
  readonly own: readonly number[]
  /** What both stand on: the same trees on both sides. */
  readonly shared: readonly number[]
  /** Root of its mount; -1 where there is none, and then a moved directory is an error (ENOTCONN). */
  readonly merged: number
}

export type Difference = { readonly kind: ChangeKind; readonly path: string }

/** The directories of one side that merge at a path. */
type Side = Stack
/** What one side has at a name. */
type Seen = { readonly place: Place; readonly side: Side }

const isDirectory = ({ place }: Seen): boolean => (place.stat.mode & S_IFMT) === S_IFDIR
const NOTHING: Side = { own: [], shared: [], merged: -1 }

/**
 * Gives out what `now` has that differs from `before`, in the order of names, a directory before what is
 * in it. A directory that only holds changes is C; one that is gone is told of alone.
 */
export function* differencesOf(now: Stack, before: Stack): Generator<Difference> {
  yield* inDirectory(now, before, '')
}

function* inDirectory(now: Side, before: Side, path: string): Generator<Difference> {
  for (const name of namesToCompare(now, before)) {
    const opened: number[] = []
    try {
      yield* atName(see(now, name, opened), see(before, name, opened), joinName(path, name))
    } finally {
      for (const fd of opened) close(fd)
    }
  }
}

function* atName(now: Seen | undefined, before: Seen | undefined, path: string): Generator<Difference> {
  if (now === undefined) {
    if (before !== undefined) yield { kind: 'D', path }
    return
  }
  if (!isDirectory(now)) {
    if (before === undefined) yield { kind: 'A', path }
    else if (!isSamePlace(now, before) && differs(now.place, before.place)) yield { kind: 'C', path }
    return
  }
  const below = before !== undefined && isDirectory(before) ? before.side : NOTHING
  const isChanged = before === undefined || differs(now.place, before.place)
  const kind = before === undefined ? 'A' : 'C'
  if (isChanged) yield { kind, path }
  let isTold = isChanged
  for (const each of inDirectory(now.side, below, path)) {
    if (!isTold) yield { kind, path }
    isTold = true
    yield each
  }
}

function isSamePlace({ place: a }: Seen, { place: b }: Seen): boolean {
  return a.stat.dev === b.stat.dev && a.stat.ino === b.stat.ino
}

/** Returns the names that can differ, sorted. */
function namesToCompare(now: Side, before: Side): string[] {
  const isAll = now.shared.length !== before.shared.length
  const names = new Set<string>()
  for (const { own, shared } of [now, before]) {
    for (const dir of isAll ? [...own, ...shared] : own) for (const name of readNames(dir)) names.add(name)
  }
  return [...names].sort()
}

/** Returns what a side has at a name of a merged directory. Opened directories are added to `opened`. */
function see(side: Side, name: string, opened: number[]): Seen | undefined {
  const own: number[] = []
  const shared: number[] = []
  let place: Place | undefined
  const dirs = [...side.own, ...side.shared]
  for (const [at, dirFd] of dirs.entries()) {
    const stat = statAt(dirFd, name)
    if (stat === undefined) continue
    const type = stat.mode & S_IFMT
    if (isWhiteoutNode(stat.mode, stat.rdev) || type === S_IFSOCK) break
    if (place === undefined && type !== S_IFDIR) return { place: { dirFd, name, stat }, side: NOTHING }
    if (type !== S_IFDIR) break
    place ??= { dirFd, name, stat }
    if (REDIRECT_XATTRS.some((xattr) => getXattr(dirFd, name, xattr) !== undefined))
      return throughMount(side, name, opened)
    const fd = check(tryOpen(dirFd, name, O_DIRECTORY), 'open', name)
    opened.push(fd)
    ;(at < side.own.length ? own : shared).push(fd)
    if (isOpaque(fd, '')) break
  }
  if (place === undefined) return undefined
  return { place, side: { own, shared, merged: openMerged(side, name, opened) } }
}

function openMerged({ merged }: Side, name: string, opened: number[]): number {
  if (merged < 0) return -1
  const fd = tryOpen(merged, name, O_DIRECTORY)
  if (fd >= 0) opened.push(fd)
  return fd < 0 ? -1 : fd
}

function throughMount(side: Side, name: string, opened: number[]): Seen {
  const fd = openMerged(side, name, opened)
  if (fd < 0) check(-ENOTCONN, 'open', name)
  const place = { dirFd: side.merged, name, stat: statAt(side.merged, name)! }
  return { place, side: { own: [fd], shared: [], merged: -1 } }
}
