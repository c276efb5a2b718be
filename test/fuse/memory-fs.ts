// A tiny read-only tree in memory behind the FileSystem contract, to put a transport to the test.
//
// Built on the recording file system: each call is noted, and what is not served is EROFS.

import type { Arena } from '../../src/vfs/arena.js'
import { type RecordingFs, recordingFs } from './wire.js'

const ENOENT = 2
const ENOTDIR = 20
const EROFS = 30
const FOPEN_KEEP_CACHE = 2
const _FOPEN_CACHE_DIR = 8
const DT_DIR = 4
const DT_REG = 8

type MemoryNode = { ino: number; data?: Buffer; children?: Map<string, number> }

/** nodeid 1: the root; 2: hello.txt; 3: sub; 4: sub/big, 3 MiB. st_ino is nodeid + 1000. */
export const nodes: readonly MemoryNode[] = [
  { ino: 0 },
  {
    ino: 1001,
    children: new Map([
      ['hello.txt', 2],
      ['sub', 3],
    ]),
  },
  { ino: 1002, data: Buffer.from('hello, kernel\n') },
  { ino: 1003, children: new Map([['big', 4]]) },
  { ino: 1004, data: Buffer.alloc(3 << 20, 'mica') },
]

function putAttr(arena: Arena, node: number, out: number): void {
  const { ino, data } = nodes[node]!
  const size = data?.length ?? 0
  const mode = data === undefined ? 0o40755 : 0o100644
  arena.u32.fill(0, out >> 2, (out >> 2) + 22)
  arena.u32[out >> 2] = ino
  arena.u32[(out >> 2) + 2] = size
  arena.u32[(out >> 2) + 4] = Math.ceil(size / 512)
  arena.u32[(out >> 2) + 8] = 1_600_000_000
  arena.u32[(out >> 2) + 15] = mode
  arena.u32[(out >> 2) + 16] = data === undefined ? 2 : 1
  arena.u32[(out >> 2) + 20] = 4096
}

function putEntry(arena: Arena, node: number, out: number): void {
  arena.u32.fill(0, out >> 2, (out >> 2) + 10)
  arena.u32[out >> 2] = node
  putAttr(arena, node, out + 40)
}

/** Returns a file system over `nodes` that works in one worker's arena. */
export function memoryFs(arena: Arena): RecordingFs {
  const fs = recordingFs()
  const bytes = Buffer.from(arena.bytes.buffer)
  for (const key of Object.keys(fs)) {
    if (typeof fs[key as 'lookup'] === 'function') fs.answers[key as 'lookup'] = -EROFS
  }
  const opens = (flags: number) => () => {
    Object.assign(fs.opened, { handle: 7, flags, backingId: 0 })
    return 0
  }
  /** `head`: 0 for fuse_dirent, 128 for fuse_direntplus. */
  const list = (head: number) => (node: number, offset: number, out: number, capacity: number) => {
    const names: [string, number][] = [['.', node], ['..', 1], ...nodes[node]!.children!]
    let at = out
    for (const [i, [name, child]] of names.slice(offset).entries()) {
      const size = (head + 24 + name.length + 7) & ~7
      if (at + size > out + capacity) break
      bytes.fill(0, at, at + size)
      if (head > 0 && !name.startsWith('.')) putEntry(arena, child, at)
      const w = (at + head) >> 2
      arena.u32[w] = nodes[child]!.ino
      arena.u32[w + 2] = offset + i + 1
      arena.u32[w + 4] = name.length
      arena.u32[w + 5] = nodes[child]!.data === undefined ? DT_DIR : DT_REG
      bytes.write(name, at + head + 24, 'latin1')
      at += size
    }
    return at - out
  }
  Object.assign(fs.answers, {
    forget: 0,
    destroy: 0,
    lookup: (parent, name, length, out) => {
      const { children } = nodes[parent]!
      if (children === undefined) return -ENOTDIR
      const node = children.get(bytes.toString('latin1', name, name + length))
      if (node === undefined) return -ENOENT
      putEntry(arena, node, out)
      return 0
    },
    getattr: (node, _handle, out) => {
      putAttr(arena, node, out)
      return 0
    },
    statx: (node, _handle, out) => {
      putAttr(arena, node, out)
      arena.u32[(out >> 2) + 23] = 1_500_000_000
      return 0
    },
    open: (_node, flags) => ((flags & 3) === 0 ? opens(FOPEN_KEEP_CACHE)() : -EROFS),
    read: (node, _handle, offset, size, out) => nodes[node]!.data!.copy(bytes, out, offset, offset + size),
    release: 0,
    readdir: list(0),
    readdirplus: list(128),
    statfs: (_node, out) => {
      bytes.fill(0, out, out + 80)
      arena.u32[(out >> 2) + 10] = 4096
      arena.u32[(out >> 2) + 11] = 255
      return 0
    },
  } satisfies RecordingFs['answers'])
  return fs
}
