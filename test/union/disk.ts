// Layer trees for the tests of the union: written to a plain folder from a short description, with the
// signs of every dialect, and read back. Works on raw directories, never through a union.

import {
  chmodSync,
  closeSync,
  constants,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statfsSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { native } from '../../src/sys/native.js'
import { createArena, SCRATCH_LIST, SCRATCH_NAME, SCRATCH_PATH, SCRATCH_VALUE } from '../../src/vfs/arena.js'
import { removedAtEnd } from '../support/temporary.js'

export const O_PATH = 0o10000000
const S_IFIFO = 0o010000
const S_IFCHR = 0o020000
const TMPFS_MAGIC = 0x01021994
/** All that is built has this time, so that a copy-up that loses times shows. */
export const BUILT_AT = 1_600_000_000.123

/** The arena of all unions and disks of one test process. */
export const arena = createArena()
const noNames = new Uint8Array(new SharedArrayBuffer(64))
let attached: Uint8Array | undefined

/** Makes `names` the shared name arena of native calls until the next one. */
export function attach(names: Uint8Array): void {
  if (attached !== names) native.attach(arena.bytes, names)
  attached = names
}

/** To be called after something else may have attached. */
export function forgetAttached(): void {
  attached = undefined
}

export type Special = {
  kind: 'dir' | 'file' | 'symlink' | 'fifo' | 'device' | 'link'
  entries?: Tree
  content?: string
  target?: string
  rdev?: number
  mode?: number
  xattrs?: Record<string, string>
}
/** A string is a file's content, a plain object a directory. */
export type Tree = { [name: string]: string | Special | Tree }

export const dir = (entries: Tree, xattrs: Record<string, string> = {}, mode = 0o755): Special => ({
  kind: 'dir',
  entries,
  xattrs,
  mode,
})
export const file = (content: string, xattrs: Record<string, string> = {}, mode = 0o644): Special => ({
  kind: 'file',
  content,
  xattrs,
  mode,
})
export const symlink = (target: string): Special => ({ kind: 'symlink', target })
export const fifo: Special = { kind: 'fifo' }
export const device = (rdev: number): Special => ({ kind: 'device', rdev })
/** A hard link to a path (from the layer's root) that was built before. */
export const link = (target: string): Special => ({ kind: 'link', target })
export const whiteout: Special = device(0)
export const opaque = (entries: Tree): Special => dir(entries, { 'trusted.overlay.opaque': 'y' })
export const redirected = (to: string, entries: Tree = {}): Special =>
  dir(entries, { 'trusted.overlay.redirect': to })

function isSpecial(value: string | Special | Tree): value is Special {
  return typeof value === 'object' && typeof value.kind === 'string'
}

function put(at: number, text: string): number {
  const length = Buffer.from(arena.bytes.buffer).write(text, at)
  arena.bytes[at + length] = 0
  return at
}

function check(result: number, what: string): number {
  if (result < 0) throw new Error(`${what}: ${result}`)
  return result
}

/** A folder of its own on a tmpfs where there is one (fast), removed when the process ends. */
export function temporaryFolder(): string {
  return removedAtEnd(mkdtempSync(join(memoryFolder() ?? tmpdir(), 'mica-union-')))
}

/** The tmpfs that most systems have, or undefined. */
export function memoryFolder(): string | undefined {
  try {
    return statfsSync('/dev/shm').type === TMPFS_MAGIC ? '/dev/shm' : undefined
  } catch {
    return undefined
  }
}

/** Opens a folder as the root of a layer. The caller closes it. */
export function openLayer(path: string): number {
  return openSync(path, O_PATH | constants.O_DIRECTORY)
}

/** Makes the folder `path` with this content. */
export function build(path: string, tree: Tree, root = path): void {
  mkdirSync(path, { recursive: true })
  for (const [name, value] of Object.entries(tree)) buildOne(path, name, value, root)
  lutimesSync(path, BUILT_AT, BUILT_AT)
}

function buildOne(parent: string, name: string, value: string | Special | Tree, root: string): void {
  const path = join(parent, name)
  if (typeof value === 'string') buildOne(parent, name, file(value), root)
  else if (!isSpecial(value)) buildOne(parent, name, dir(value), root)
  else {
    const fd = openLayer(parent)
    make(fd, path, name, value, root)
    for (const [key, text] of Object.entries(value.xattrs ?? {})) setXattr(path, key, text)
    closeSync(fd)
    if (value.kind !== 'link') lutimesSync(path, BUILT_AT, BUILT_AT)
  }
}

function make(fd: number, path: string, name: string, value: Special, root: string): void {
  attach(noNames)
  const ref = put(SCRATCH_NAME, name)
  switch (value.kind) {
    case 'dir':
      build(path, value.entries!, root)
      chmodSync(path, value.mode!)
      break
    case 'file':
      writeFileSync(path, value.content!)
      chmodSync(path, value.mode!)
      break
    case 'symlink':
      symlinkSync(value.target!, path)
      break
    case 'link':
      linkSync(join(root, value.target!), path)
      break
    case 'fifo':
      check(native.mknodAt(fd, ref, S_IFIFO | 0o644, 0, -1, -1, 0), `mkfifo ${path}`)
      break
    case 'device':
      check(native.mknodAt(fd, ref, S_IFCHR | (value.rdev === 0 ? 0 : 0o644), value.rdev!, -1, -1, 0), path)
  }
}

/** Sets an attribute of a raw object, links not followed. */
export function setXattr(path: string, key: string, value: string): void {
  attach(noNames)
  const fd = openSync(path, O_PATH | constants.O_NOFOLLOW)
  put(SCRATCH_VALUE, value)
  const length = Buffer.byteLength(value)
  check(native.setXattrAt(fd, 0, put(SCRATCH_PATH, key), SCRATCH_VALUE, length, 0), `setxattr ${path} ${key}`)
  closeSync(fd)
}

/** All attributes of a raw object, by name. */
export function xattrsOf(path: string): Record<string, string> {
  attach(noNames)
  const fd = openSync(path, O_PATH | constants.O_NOFOLLOW)
  const length = check(native.listXattrAt(fd, 0, SCRATCH_LIST, 65536), `listxattr ${path}`)
  const names = Buffer.from(arena.bytes.slice(SCRATCH_LIST, SCRATCH_LIST + length)).toString('latin1')
  const result: Record<string, string> = {}
  for (const key of names.split('\0').filter(Boolean).sort()) {
    const size = check(native.getXattrAt(fd, 0, put(SCRATCH_PATH, key), SCRATCH_VALUE, 65536), key)
    result[key] = Buffer.from(arena.bytes.slice(SCRATCH_VALUE, SCRATCH_VALUE + size)).toString('latin1')
  }
  closeSync(fd)
  return result
}

/** One line for each object of a raw tree, with everything but atime and ctime. */
export function dump(path: string, below = ''): string[] {
  const lines: string[] = []
  const stat = lstatSync(path, { bigint: true })
  const data = stat.isFile()
    ? JSON.stringify(readFileSync(path, 'latin1').slice(0, 200))
    : stat.isSymbolicLink()
      ? readlinkSync(path)
      : stat.rdev
  const attributes = JSON.stringify(xattrsOf(path))
  lines.push(
    `${below || '/'} ${stat.mode.toString(8)} ${stat.uid}:${stat.gid} ${stat.nlink} ${stat.mtimeNs} ${data} ${attributes}`,
  )
  if (stat.isDirectory())
    for (const name of readdirSync(path).sort()) lines.push(...dump(join(path, name), `${below}/${name}`))
  return lines
}
