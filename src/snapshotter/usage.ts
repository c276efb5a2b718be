// How much disk a tree takes: blocks and inodes, each inode once, as containerd's own snapshotters count.

import { setImmediate } from 'node:timers/promises'
import { ENOENT } from '../base/errno.js'
import { O_DIRECTORY } from '../base/open-flags.js'
import {
  check,
  close,
  openRoot,
  readNames,
  S_IFDIR,
  S_IFMT,
  type Stat,
  statAt,
  tryOpen,
} from '../store/at.js'
import type { Usage } from './snapshot.js'

const BLOCK = 512
/** Other requests get their turn after this many entries, a few milliseconds. */
const ENTRIES_AT_ONCE = 2000

type Level = { readonly fd: number; readonly names: string[] }

/** Returns what a tree takes; what goes while it is looked at counts as gone. Throws when there is no tree. */
export async function diskUsage(path: string): Promise<Usage> {
  const seen = new Set<string>()
  let size = 0
  let inodes = 0
  const count = ({ mode, dev, ino, nlink, blocks }: Stat): boolean => {
    const isDirectory = (mode & S_IFMT) === S_IFDIR
    if (nlink > 1 && !isDirectory) {
      const inode = `${dev}:${ino}`
      if (seen.has(inode)) return false
      seen.add(inode)
    }
    size += blocks * BLOCK
    inodes++
    return isDirectory
  }
  const root = openRoot(path, O_DIRECTORY)
  const levels: Level[] = [{ fd: root, names: [] }]
  try {
    count(statAt(root, '')!)
    levels[0]!.names.push(...readNames(root))
    for (let entries = 1; levels.length > 0; entries++) {
      if (entries % ENTRIES_AT_ONCE === 0) await setImmediate()
      const { fd, names } = levels.at(-1)!
      const name = names.pop()
      if (name === undefined) {
        close(fd)
        levels.pop()
        continue
      }
      const stat = statAt(fd, name)
      if (stat === undefined || !count(stat)) continue
      const below = tryOpen(fd, name, O_DIRECTORY)
      if (below === -ENOENT) continue
      levels.push({ fd: check(below, 'open', name), names: [] })
      levels.at(-1)!.names.push(...readNames(below))
    }
  } finally {
    for (const { fd } of levels) close(fd)
  }
  return { size, inodes }
}
