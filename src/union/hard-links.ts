// Lower files with several names. When one name is copied up, all names of the file that show go to
// the upper as links of the one copy, so that they stay one file for good: after a remount, in an
// exported layer, and under kernel overlayfs with any options.
//
// A layer without an index is scanned for its link groups once per worker, when a file with links is
// first copied up: names are found by d_ino, so that no file is looked at.

import { ENOENT, isAbsent } from '../base/errno.js'
import { SCRATCH_DIRENTS, SCRATCH_DIRENTS_CAPACITY, SCRATCH_STAT, SCRATCH_VALUE } from '../vfs/arena.js'
import { bind, findBound, forget } from './bind.js'
import { markImpure, upperDir, writeTimes } from './copy-up.js'
import { at, N_INO, N_LAYER, T_DIR, T_REG } from './inode-table.js'
import { find, found } from './lookup.js'
import { ageSnapshot } from './snapshot.js'
import { ROOT } from './state.js'
import type { Union } from './union.js'

const O_DIRECTORY = 0o200000
const LINK_PATH = SCRATCH_VALUE + 49152
const LINK_STAT = SCRATCH_STAT + 384

/** Link groups of the layers scanned so far: ino (as a decimal pair) to the paths in the layer. */
const groups = new Map<number, Map<string, Buffer[]>>()

/**
 * Links the finished copy `temp` to every other visible name of the lower file that `node` is.
 * `own` is the name that the caller renames it to, in the directory `ownFd`. Returns 0 or -errno.
 */
export function copyUpOtherNames(
  u: Union,
  node: number,
  workFd: number,
  temp: number,
  own: number,
  ownFd: number,
): number {
  const layer = u.t.nodes[at(node) + N_LAYER]!
  const names = linkGroups(u, layer).get(realIno(u, node))
  if (names === undefined) return 0
  let ownLength = 0
  while (u.bytes[own + ownLength] !== 0) ownLength++
  const ownName = Buffer.from(u.bytes.slice(own, own + ownLength))
  for (const path of names) {
    const r = linkVisible(u, node, layer, path, workFd, temp, ownName, ownFd)
    if (r < 0) return r
  }
  return 0
}

/** The key of a node's real ino: shown inos carry the device's number above bit 48. */
function realIno(u: Union, node: number): string {
  const n = at(node)
  return `${u.t.nodes[n + N_INO]! >>> 0}.${u.t.nodes[n + N_INO + 1]! & 0xffff}`
}

function linkVisible(
  u: Union,
  node: number,
  layer: number,
  path: Buffer,
  workFd: number,
  temp: number,
  ownName: Buffer,
  ownFd: number,
): number {
  const held: number[] = []
  let parent = ROOT
  let r = 0
  const parts = split(path)
  const last = parts.pop()!
  for (const part of parts) {
    place(u, part)
    r = find(u, parent, LINK_PATH, part.length, LINK_STAT)
    if (r === 0 && found.mode >>> 12 !== T_DIR) r = -ENOENT
    if (r < 0) break
    const next = bind(u, parent, LINK_PATH, part.length)
    if (next < 0) {
      r = next
      break
    }
    held.push(next)
    parent = next
  }
  if (r === 0) r = linkOne(u, node, layer, parent, last, workFd, temp, ownName, ownFd)
  for (const one of held.reverse()) forget(u, one, 1)
  return isAbsent(r) ? 0 : r
}

function linkOne(
  u: Union,
  node: number,
  layer: number,
  parent: number,
  name: Buffer,
  workFd: number,
  temp: number,
  ownName: Buffer,
  ownFd: number,
): number {
  place(u, name)
  let r = find(u, parent, LINK_PATH, name.length, LINK_STAT)
  if (r < 0) return r
  const n = at(node)
  const isOurs =
    found.layer === layer &&
    found.mode >>> 12 === T_REG &&
    found.ino[0] === u.t.nodes[n + N_INO] &&
    found.ino[1] === u.t.nodes[n + N_INO + 1]
  if (!isOurs) return 0
  const fd = upperDir(u, parent)
  if (fd < 0) return fd
  place(u, name)
  if (fd === ownFd && name.equals(ownName)) return 0
  r = markImpure(u, parent, fd)
  if (r < 0) return r
  r = u.sys.statAt(fd, 0, LINK_STAT)
  if (r < 0) return r
  r = u.sys.linkAt(workFd, temp, fd, LINK_PATH)
  if (r < 0) return r
  u.sys.utimensAt(fd, 0, writeTimes(u, LINK_STAT >> 2))
  const t = u.t
  // Nodes by another name than the table's are the same node: the link table saw to that.
  findBound(u, parent, LINK_PATH, name.length)
  t.lock()
  ageSnapshot(t, parent)
  t.unlock()
  return 0
}

function place(u: Union, name: Buffer): void {
  u.bytes.set(name, LINK_PATH)
  u.bytes[LINK_PATH + name.length] = 0
}

function split(path: Buffer): Buffer[] {
  const parts: Buffer[] = []
  let start = 0
  for (let i = 0; i <= path.length; i++) {
    if (i === path.length || path[i] === 0x2f) {
      parts.push(path.subarray(start, i))
      start = i + 1
    }
  }
  return parts
}

/** Returns the link groups of a layer, scanning it the first time. */
function linkGroups(u: Union, layer: number): Map<string, Buffer[]> {
  let result = groups.get(layer)
  if (result !== undefined) return result
  const counts = new Map<string, number>()
  scan(u, u.config.layers[layer]!.fd, Buffer.alloc(0), (key) => counts.set(key, (counts.get(key) ?? 0) + 1))
  result = new Map()
  for (const [key, count] of counts) if (count > 1) result.set(key, [])
  counts.clear()
  if (result.size > 0) {
    const found = result
    scan(u, u.config.layers[layer]!.fd, Buffer.alloc(0), (key, path) => found.get(key)?.push(path()))
  }
  groups.set(layer, result)
  return result
}

function scan(u: Union, dir: number, path: Buffer, each: (key: string, path: () => Buffer) => void): void {
  const fd = u.sys.openAt(dir, 0, O_DIRECTORY)
  if (fd < 0) return
  const children: Buffer[] = []
  for (;;) {
    const r = u.sys.getdents(fd, SCRATCH_DIRENTS, SCRATCH_DIRENTS_CAPACITY)
    if (r <= 0) break
    const end = SCRATCH_DIRENTS + r
    for (let d = SCRATCH_DIRENTS; d < end; d += u.bytes[d + 16]! | (u.bytes[d + 17]! << 8)) {
      let nul = d + 19
      while (u.bytes[nul] !== 0) nul++
      const name = Buffer.from(u.bytes.slice(d + 19, nul))
      if (name[0] === 0x2e && (name.length === 1 || (name.length === 2 && name[1] === 0x2e))) continue
      const below = () => (path.length === 0 ? name : Buffer.concat([path, Buffer.from('/'), name]))
      const type = u.bytes[d + 18]!
      if (type === T_DIR) children.push(name)
      else if (type === T_REG) each(`${u.u32[d >> 2]!}.${u.u32[(d >> 2) + 1]! & 0xffff}`, below)
    }
  }
  for (const name of children) {
    place(u, name)
    const child = u.sys.openAt(fd, LINK_PATH, 0o10000000 | O_DIRECTORY)
    if (child < 0) continue
    scan(u, child, path.length === 0 ? name : Buffer.concat([path, Buffer.from('/'), name]), each)
    u.sys.close(child)
  }
  u.sys.close(fd)
}
