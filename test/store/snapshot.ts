// All that an image keeps about a tree, to be compared: types, modes, owners, times, attributes, data,
// links. What a union leaves on disk for itself is no part of it.

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { O_DIRECTORY } from '../../src/base/open-flags.js'
import {
  close,
  imageXattrs,
  openRoot,
  readLink,
  readNames,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  statAt,
  tryOpen,
} from '../../src/store/at.js'

export type Snapshot = Record<string, string>

/** Returns a line for each path; names as latin1. `withTime` tells which times count. */
export function snapshot(path: string, withTime: (path: string) => boolean = () => true): Snapshot {
  const lines: Snapshot = {}
  const first = new Map<number | bigint, string>()
  const visit = (fd: number, name: string, at: string): void => {
    const stat = statAt(fd, name)!
    const type = stat.mode & S_IFMT
    const words = [stat.mode.toString(8), stat.uid, stat.gid]
    if (withTime(at)) words.push(`${stat.mtime}.${String(stat.mtimeNs).padStart(9, '0')}`)
    for (const [xattr, value] of imageXattrs(fd, name) ?? []) {
      if (!xattr.startsWith('user.umoci')) words.push(`${xattr}=${value.toString('hex')}`)
    }
    if (type === S_IFLNK) words.push(readLink(fd, name))
    else if (type === S_IFREG) {
      const file = tryOpen(fd, name, 0)
      words.push(createHash('sha256').update(readFileSync(file)).digest('hex').slice(0, 16))
      close(file)
    } else if (type !== S_IFDIR) words.push(stat.rdev)
    if (type !== S_IFDIR) {
      words.push(`links to ${first.get(stat.ino) ?? 'itself'}`)
      if (!first.has(stat.ino)) first.set(stat.ino, at)
    }
    lines[at] = words.join(' ')
    if (type !== S_IFDIR) return
    const dir = tryOpen(fd, name, O_DIRECTORY)
    for (const each of readNames(dir)) visit(dir, each, `${at}/${each}`)
    close(dir)
  }
  const root = openRoot(path)
  visit(root, '', '')
  close(root)
  return lines
}
