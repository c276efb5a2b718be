// For the tests of native calls: one attached arena, a temporary directory, names as refs.

import { existsSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { O_DIRECTORY, O_PATH } from '../../src/base/open-flags.js'
import { native } from '../../src/sys/native.js'
import {
  ARENA_BYTES,
  createArena,
  SCRATCH_LIST,
  SCRATCH_NAME,
  SCRATCH_PATH,
  SCRATCH_STAT,
  SCRATCH_VALUE,
  STAT_GID,
  STAT_INO,
  STAT_MODE,
  STAT_MTIME,
  STAT_MTIME_NS,
  STAT_NLINK,
  STAT_RDEV,
  STAT_SIZE,
  STAT_UID,
} from '../../src/vfs/arena.js'
import { removedAtEnd } from '../support/temporary.js'

export { O_EXCL, O_RDONLY, O_RDWR, O_WRONLY } from '../../src/base/open-flags.js'
export { O_DIRECTORY, O_PATH }
export const AT_REMOVEDIR = 0x200
export const S_IFMT = 0o170000

export const arena = createArena()
export const names = new Uint8Array(new SharedArrayBuffer(65536))
native.attach(arena.bytes, names)

export const isRoot = process.getuid?.() === 0
export const needsRoot = isRoot ? false : 'needs root: other owners and device nodes'

/** Returns a new temporary directory and an fd of it; both go when the process ends. */
export function sandbox(): { path: string; fd: number } {
  const path = removedAtEnd(mkdtempSync(join(tmpdir(), 'mica-sys-')))
  return { path, fd: native.openPath(Buffer.from(path), O_PATH | O_DIRECTORY, 0) }
}

function put(at: number, text: string | Uint8Array): number {
  const bytes = typeof text === 'string' ? Buffer.from(text) : text
  arena.bytes.set(bytes, at)
  arena.bytes[at + bytes.length] = 0
  return at
}

/** Places for up to four strings at a time. */
export const ref = (text: string | Uint8Array): number => put(SCRATCH_NAME, text)
export const ref2 = (text: string | Uint8Array): number => put(SCRATCH_PATH, text)
export const ref3 = (text: string | Uint8Array): number => put(SCRATCH_PATH + 4200, text)

/** Puts a value; returns its place. */
export function value(bytes: Uint8Array): number {
  arena.bytes.set(bytes, SCRATCH_VALUE)
  return SCRATCH_VALUE
}
export const OUTPUT = SCRATCH_LIST
export const output = (length: number): Buffer =>
  Buffer.from(arena.bytes.subarray(SCRATCH_LIST, SCRATCH_LIST + length))
export const outputNumber = (): number => Number(output(8).readBigUInt64LE())
export const BEYOND = ARENA_BYTES - 8

export type Seen = {
  mode: number
  uid: number
  gid: number
  size: number
  nlink: number
  ino: number
  rdev: number
  mtime: number
  mtimeNs: number
}

/** The Stat at SCRATCH_STAT. */
export function seen(): Seen {
  const w = SCRATCH_STAT >> 2
  const word = (index: number) => arena.u32[w + index]!
  const long = (index: number) => word(index) + word(index + 1) * 2 ** 32
  return {
    mode: word(STAT_MODE),
    uid: word(STAT_UID),
    gid: word(STAT_GID),
    size: long(STAT_SIZE),
    nlink: word(STAT_NLINK),
    ino: long(STAT_INO),
    rdev: word(STAT_RDEV),
    mtime: long(STAT_MTIME),
    mtimeNs: word(STAT_MTIME_NS),
  }
}

/** What statAt() sees of a name below `fd`, or throws. */
export function look(fd: number, name: string | Uint8Array): Seen {
  const result = native.statAt(fd, name.length === 0 ? 0 : ref(name), SCRATCH_STAT)
  if (result < 0) throw new Error(`statAt: ${result}`)
  return seen()
}

/** Returns the path of a file in build/Release, or throws. */
export function built(name: string): string {
  for (let dir = dirname(fileURLToPath(import.meta.url)); dir !== '/'; dir = dirname(dir)) {
    const candidate = join(dir, 'build/Release', name)
    if (existsSync(candidate)) return candidate
  }
  throw new Error(`${name} is not built`)
}
