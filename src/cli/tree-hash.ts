// One number for all that a directory tree holds: names, types, modes, owners, times, link targets, contents.

import { createHash } from 'node:crypto'
import { closeSync, lstatSync, openSync, readdirSync, readlinkSync, readSync } from 'node:fs'
import { join } from 'node:path'

export type TreeHash = { readonly digest: string; readonly entries: number; readonly bytes: number }

/** Returns the hash of a tree. Access times are left out: reading the tree for this moves them. */
export function hashTree(root: string): TreeHash {
  const hash = createHash('sha256')
  const chunk = Buffer.alloc(1 << 20)
  let entries = 0
  let bytes = 0
  const addFile = (path: string): void => {
    const fd = openSync(path, 'r')
    try {
      for (let count = 1; count > 0; ) {
        count = readSync(fd, chunk, 0, chunk.length, null)
        hash.update(chunk.subarray(0, count))
        bytes += count
      }
    } finally {
      closeSync(fd)
    }
  }
  const walk = (path: string, name: string): void => {
    const stat = lstatSync(path, { bigint: true })
    entries++
    hash.update(`${name}\0${stat.mode} ${stat.uid} ${stat.gid} ${stat.rdev} ${stat.nlink} ${stat.mtimeNs}\0`)
    if (stat.isDirectory()) {
      for (const child of readdirSync(path).sort()) walk(join(path, child), `${name}/${child}`)
    } else if (stat.isSymbolicLink()) hash.update(readlinkSync(path))
    else if (stat.isFile()) addFile(path)
  }
  walk(root, '')
  return { digest: hash.digest('hex'), entries, bytes }
}
