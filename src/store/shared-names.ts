// The other names of a file in a mounted tree. A layer holds all names of a file or none: one that goes by a
// name in a directory that was moved is told of as new, so the names outside of there have to be as well.
// The tree is looked through only when there is such a file, and by d_ino, so that no file is looked at.

import { O_DIRECTORY } from '../base/open-flags.js'
import { check, close, type DirEntry, type Ino, readEntries, tryOpen } from './at.js'
import { joinName } from './unpack-path.js'

/** A name in the tree; `dirFd` is its directory's, valid until the next one is asked for. */
export type SharedName = { readonly path: string; readonly dirFd: number; readonly name: string }

/** Gives out every name of the files with these inode numbers, in the order of paths. `root`: a mount's. */
export function* namesOf(root: number, wanted: ReadonlySet<Ino>): Generator<SharedName> {
  yield* namesIn(root, '', '', wanted)
}

function* namesIn(
  dirFd: number,
  name: string,
  path: string,
  wanted: ReadonlySet<Ino>,
): Generator<SharedName> {
  const fd = check(tryOpen(dirFd, name, O_DIRECTORY), 'open', path)
  try {
    for (const entry of readEntries(fd)) yield* namesAt(fd, entry, joinName(path, entry.name), wanted)
  } finally {
    close(fd)
  }
}

function namesAt(
  dirFd: number,
  { name, ino, isDirectory }: DirEntry,
  path: string,
  wanted: ReadonlySet<Ino>,
): Iterable<SharedName> {
  if (isDirectory) return namesIn(dirFd, name, path, wanted)
  return wanted.has(ino) ? [{ path, dirFd, name }] : []
}
