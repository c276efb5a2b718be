// Lower files with several names. When one name is copied up, all names of the file that show go to
// the upper as links of the one copy, so that they stay one file for good: after a remount, in an
// exported layer, and under kernel overlayfs with any options. When one name is removed, the others
// count one link less; that some were is noted on the upper's root, so that it holds after a remount.
//
// A layer without an index is scanned for its link groups once per worker, when a file with links is
// first copied up or counted: names are found by d_ino, so that no file is looked at.

import { ENOENT, EOPNOTSUPP, EPERM, isAbsent } from '../base/errno.js'
import { SCRATCH_DIRENTS, SCRATCH_DIRENTS_CAPACITY, SCRATCH_STAT } from '../vfs/arena.js'
import { bind, forget } from './bind.js'
import { markImpure, upperDir, writeTimes } from './copy-up.js'
import { at, F_LINKED, F_UPPER, N_INFO, N_INO, N_LAYER, T_DIR } from './inode-table.js'
import { find, found } from './lookup.js'
import { PART_NAME } from './scratch.js'
import { ageSnapshot } from './snapshot.js'
import { H_LINKS_REMOVED, ROOT } from './state.js'
import { type Union, YES_AT } from './union.js'

const O_DIRECTORY = 0o200000
const O_PATH = 0o10000000
const LINK_STAT = SCRATCH_STAT + 384

/**
 * Links the finished copy `temp` to every other visible name of the lower file that `node` is. The
 * caller renames it to `own` in the directory node `ownParent`. Returns 0 or -errno.
 */
export function copyUpOtherNames(
  u: Union,
  node: number,
  temp: number,
  own: number,
  ownParent: number,
): number {
  const n = at(node)
  const { nodes } = u.t
  let ownLength = 0
  while (u.bytes[own + ownLength] !== 0) ownLength++
  const ownName = Buffer.from(u.bytes.slice(own, own + ownLength))
  return eachVisible(u, nodes[n + N_LAYER]!, nodes[n + N_INO]!, nodes[n + N_INO + 1]!, (parent, name) =>
    parent === ownParent && name.equals(ownName) ? 0 : linkCopy(u, parent, name, temp),
  )
}

/** Links the copy to one more name, in the directory's upper. */
function linkCopy(u: Union, parent: number, name: Buffer, temp: number): number {
  const fd = upperDir(u, parent)
  if (fd < 0) return fd
  let r = markImpure(u, parent, fd)
  if (r < 0) return r
  r = u.sys.statAt(fd, 0, LINK_STAT)
  if (r < 0) return r
  place(u, name)
  r = u.sys.linkAt(u.config.workFd, temp, fd, PART_NAME)
  if (r < 0) return r
  u.sys.utimensAt(fd, 0, writeTimes(u, LINK_STAT >> 2))
  u.t.lock()
  ageSnapshot(u.t, parent)
  u.t.unlock()
  return 0
}

/**
 * Before a name of a lower file with links is removed: notes for later mounts that this happened.
 * Returns 0 or -errno.
 */
export function noteRemovedLink(u: Union, node: number): number {
  const { t } = u
  const info = t.nodes[at(node) + N_INFO]!
  if ((info & F_UPPER) !== 0 || (info & F_LINKED) === 0 || t.header[H_LINKS_REMOVED] !== 0) return 0
  const r = u.sys.setXattrAt(u.config.layers[0]!.fd, 0, u.refs.links, YES_AT, 1, 0)
  // Where it can't be kept, link counts are the lower's own again after a remount.
  if (r < 0 && r !== -EPERM && r !== -EOPNOTSUPP) return r
  t.header[H_LINKS_REMOVED] = 1
  return 0
}

/**
 * After find() of a lower file with links: how many of its names do not show. The finding in
 * `found` stays. Needs: no lock.
 */
export function countHidden(u: Union): number {
  if (u.t.header[H_LINKS_REMOVED] === 0 || u.isUpper(found.layer)) return 0
  const { mode, nlink, layer, markers } = found
  const lo = found.ino[0]!
  const hi = found.ino[1]!
  const names = linkGroups(u, layer).get(keyOf(lo, hi))
  let visible = 0
  if (names !== undefined) {
    eachVisible(u, layer, lo, hi, () => {
      visible++
      return 0
    })
  }
  found.mode = mode
  found.nlink = nlink
  found.layer = layer
  found.markers = markers
  found.ino[0] = lo
  found.ino[1] = hi
  return names === undefined ? 0 : names.length - visible
}

/** Calls `visit` for every name of a lower file that shows in the mount, until it returns < 0. */
function eachVisible(
  u: Union,
  layer: number,
  lo: number,
  hi: number,
  visit: (parent: number, name: Buffer) => number,
): number {
  for (const path of linkGroups(u, layer).get(keyOf(lo, hi)) ?? []) {
    const held: number[] = []
    const parts = split(path)
    const last = parts.pop()!
    let r = walk(u, parts, held)
    if (r === 0) {
      const parent = held.at(-1) ?? ROOT
      place(u, last)
      r = find(u, parent, PART_NAME, last.length, LINK_STAT)
      const isSame = found.layer === layer && found.ino[0] === lo && found.ino[1] === hi
      if (r === 0 && isSame && found.mode >>> 12 !== T_DIR) r = visit(parent, last)
    }
    for (const one of held.reverse()) forget(u, one, 1)
    if (r < 0 && !isAbsent(r)) return r
  }
  return 0
}

/** Binds the directories of a path, from the root on, and puts them into `held`. */
function walk(u: Union, parts: Buffer[], held: number[]): number {
  for (const part of parts) {
    const parent = held.at(-1) ?? ROOT
    place(u, part)
    const r = find(u, parent, PART_NAME, part.length, LINK_STAT)
    if (r < 0) return r
    if (found.mode >>> 12 !== T_DIR) return -ENOENT
    const next = bind(u, parent, PART_NAME, part.length)
    if (next < 0) return next
    held.push(next)
  }
  return 0
}

/** Shown inos carry the device's number above bit 48; the layer's scan does not. */
function keyOf(lo: number, hi: number): string {
  return `${lo >>> 0}.${hi & 0xffff}`
}

function place(u: Union, name: Buffer): void {
  u.bytes.set(name, PART_NAME)
  u.bytes[PART_NAME + name.length] = 0
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
  let result = u.linkGroups.get(layer)
  if (result !== undefined) return result
  const root = u.config.layers[layer]!.fd
  const counts = new Map<string, number>()
  scan(u, root, Buffer.alloc(0), (key) => counts.set(key, (counts.get(key) ?? 0) + 1))
  result = new Map()
  for (const [key, count] of counts) if (count > 1) result.set(key, [])
  if (result.size > 0) {
    const known = result
    scan(u, root, Buffer.alloc(0), (key, path) => known.get(key)?.push(path()))
  }
  u.linkGroups.set(layer, result)
  return result
}

function scan(u: Union, dir: number, path: Buffer, each: (key: string, path: () => Buffer) => void): void {
  const fd = u.sys.openAt(dir, 0, O_DIRECTORY)
  if (fd < 0) return
  const children: Buffer[] = []
  const below = (name: Buffer) => (path.length === 0 ? name : Buffer.concat([path, Buffer.from('/'), name]))
  for (;;) {
    const r = u.sys.getdents(fd, SCRATCH_DIRENTS, SCRATCH_DIRENTS_CAPACITY)
    if (r <= 0) break
    const end = SCRATCH_DIRENTS + r
    for (let d = SCRATCH_DIRENTS; d < end; d += u.bytes[d + 16]! | (u.bytes[d + 17]! << 8)) {
      const type = u.bytes[d + 18]!
      const name = d + 19
      let nul = name
      while (u.bytes[nul] !== 0) nul++
      const isDots =
        u.bytes[name] === 0x2e && (nul === name + 1 || (nul === name + 2 && u.bytes[name + 1] === 0x2e))
      if (isDots) continue
      if (type === T_DIR) children.push(Buffer.from(u.bytes.slice(name, nul)))
      else
        each(keyOf(u.u32[d >> 2]!, u.u32[(d >> 2) + 1]!), () => below(Buffer.from(u.bytes.slice(name, nul))))
    }
  }
  for (const name of children) {
    place(u, name)
    const child = u.sys.openAt(fd, PART_NAME, O_PATH | O_DIRECTORY)
    if (child < 0) continue
    scan(u, child, below(name), each)
    u.sys.close(child)
  }
  u.sys.close(fd)
}
