// How much disk a tree takes, as du(1) counts: blocks, each inode once.

import { lstatSync, readdirSync } from 'node:fs'

const BLOCK = 512
const SLASH = Buffer.from('/')

/** Returns the bytes that a tree takes on disk; what goes while it is looked at counts as gone. */
export function diskUsage(path: string | Buffer, seen = new Set<number>()): number {
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (stat === undefined) return 0
  if (stat.nlink > 1 && !stat.isDirectory()) {
    if (seen.has(stat.ino)) return 0
    seen.add(stat.ino)
  }
  let bytes = stat.blocks * BLOCK
  if (!stat.isDirectory()) return bytes
  // Names are bytes.
  const dir = Buffer.concat([Buffer.from(path), SLASH])
  for (const name of readNames(path)) bytes += diskUsage(Buffer.concat([dir, name]), seen)
  return bytes
}

function readNames(path: string | Buffer): Buffer[] {
  try {
    return readdirSync(path, { encoding: 'buffer' })
  } catch {
    return []
  }
}
