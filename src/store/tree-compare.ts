// Where two unpacked layers differ: everything on disk counts, the signs of a union too.

import { O_DIRECTORY } from '../base/open-flags.js'
import { isWhiteoutNode } from '../format/whiteout.js'
import {
  check,
  close,
  getXattr,
  type Ino,
  listXattrs,
  readLink,
  readNames,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  type Stat,
  showName,
  statAt,
  tryOpen,
} from './at.js'
import { compareFiles } from './file-compare.js'
import { joinName } from './unpack-path.js'

type Place = { readonly dirFd: number; readonly name: string; readonly stat: Stat }

/** Gives out a line for each path that differs: its name and in what. */
export function* compareTrees(expectedFd: number, actualFd: number): Generator<string> {
  const links = new Map<Ino, Ino>()
  const place = (dirFd: number): Place => ({ dirFd, name: '', stat: statAt(dirFd, '')! })
  yield* compare(place(expectedFd), place(actualFd), '', links)
}

function* compare(a: Place, b: Place, path: string, links: Map<Ino, Ino>): Generator<string> {
  const what = difference(a, b, links)
  if (what !== undefined) yield `/${showName(path)}: ${what}`
  const isDirectory = [a, b].every(({ stat }) => (stat.mode & S_IFMT) === S_IFDIR)
  if (isDirectory) yield* compareDirectories(a, b, path, links)
}

function* compareDirectories(a: Place, b: Place, path: string, links: Map<Ino, Ino>): Generator<string> {
  const first = check(tryOpen(a.dirFd, a.name, O_DIRECTORY), 'open', path)
  const second = check(tryOpen(b.dirFd, b.name, O_DIRECTORY), 'open', path)
  try {
    const names = new Set([...readNames(first), ...readNames(second)])
    for (const name of [...names].sort()) {
      const [one, two] = [statAt(first, name), statAt(second, name)]
      const at = joinName(path, name)
      if (one === undefined) yield `/${showName(at)}: is not in the layer`
      else if (two === undefined) yield `/${showName(at)}: is missing`
      else yield* compare({ dirFd: first, name, stat: one }, { dirFd: second, name, stat: two }, at, links)
    }
  } finally {
    close(first)
    close(second)
  }
}

function difference(a: Place, b: Place, links: Map<Ino, Ino>): string | undefined {
  const type = a.stat.mode & S_IFMT
  if (type !== (b.stat.mode & S_IFMT)) return 'is of another type'
  // Of a deletion nothing but itself counts.
  if (isWhiteoutNode(a.stat.mode, a.stat.rdev) && isWhiteoutNode(b.stat.mode, b.stat.rdev)) return undefined
  if (a.stat.mode !== b.stat.mode) return `has mode ${(b.stat.mode & 0o7777).toString(8)}`
  if (a.stat.uid !== b.stat.uid || a.stat.gid !== b.stat.gid) return `belongs to ${b.stat.uid}:${b.stat.gid}`
  if (a.stat.mtime !== b.stat.mtime || a.stat.mtimeNs !== b.stat.mtimeNs) return 'has another time'
  if (type === S_IFREG && a.stat.size !== b.stat.size) return `has ${b.stat.size} bytes`
  if (type === S_IFLNK && readLink(a.dirFd, a.name) !== readLink(b.dirFd, b.name)) return 'leads elsewhere'
  if (a.stat.rdev !== b.stat.rdev) return 'is another device'
  if (type !== S_IFDIR && a.stat.nlink > 1) {
    // The same names must be one file here as there.
    const known = links.get(a.stat.ino)
    if (known !== undefined && known !== b.stat.ino) return 'is no longer one file with its other names'
    links.set(a.stat.ino, b.stat.ino)
  }
  if (!sameXattrs(a, b)) return 'has other attributes'
  return type === S_IFREG && !compareFiles(a, b) ? 'has other content' : undefined
}

function sameXattrs(a: Place, b: Place): boolean {
  const names = listXattrs(a.dirFd, a.name).sort()
  if (names.join('\0') !== listXattrs(b.dirFd, b.name).sort().join('\0')) return false
  return names.every((name) => {
    const [one, two] = [getXattr(a.dirFd, a.name, name), getXattr(b.dirFd, b.name, name)]
    return one === two || (one !== undefined && two?.equals(one) === true)
  })
}
