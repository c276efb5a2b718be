// Looking a path up in a stack of unpacked layers as a union would, without a mount: whiteouts and
// opaque directories end the search. The path's parents must be directories, not links.

import { isAbsent } from '../base/errno.js'
import { O_DIRECTORY, O_PATH } from '../base/open-flags.js'
import { isWhiteoutNode } from '../format/whiteout.js'
import { check, close, isOpaque, S_IFDIR, S_IFMT, type Stat, statAt, tryOpen } from './at.js'

/** What a stack has at a path: the directory that holds it (in the topmost layer that has it), and its state. */
export type Found = { readonly dirFd: number; readonly name: string; readonly stat: Stat }

/**
 * Calls `use` with what the layers (root fds, top first) have at the path; returns its result, or
 * undefined when there is nothing. The fds are closed afterwards. An empty path is the root.
 */
export function findInLowers<T>(
  roots: readonly number[],
  parts: readonly string[],
  use: (found: Found) => T,
): T | undefined {
  const opened: number[] = []
  try {
    let dirs: readonly number[] = roots
    for (const part of parts.slice(0, -1)) {
      dirs = descend(dirs, part, opened)
      if (dirs.length === 0) return undefined
    }
    const name = parts.at(-1) ?? ''
    for (const dirFd of dirs) {
      const stat = statAt(dirFd, name)
      if (stat === undefined) continue
      return isWhiteoutNode(stat.mode, stat.rdev) ? undefined : use({ dirFd, name, stat })
    }
    return undefined
  } finally {
    for (const fd of opened) close(fd)
  }
}

/** Returns the directories that merge at a name of merged directories, top first. */
function descend(dirs: readonly number[], name: string, opened: number[]): number[] {
  const next: number[] = []
  for (const dir of dirs) {
    const stat = statAt(dir, name)
    if (stat === undefined) continue
    // A whiteout or a file: nothing below it shows.
    if ((stat.mode & S_IFMT) !== S_IFDIR) break
    const fd = tryOpen(dir, name, O_PATH | O_DIRECTORY)
    if (isAbsent(fd)) continue
    check(fd, 'open', name)
    opened.push(fd)
    next.push(fd)
    if (isOpaque(fd, '')) break
  }
  return next
}
