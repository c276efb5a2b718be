// Lower files with several names. When one name is copied up, all names of the file that show go to
// the upper as links of the one copy, so that they stay one file for good: after a remount, in an
// exported layer, and under kernel overlayfs with any options. When one name is removed, the others
// count one link less; that some were is noted on the upper's root, so that it holds after a remount.
//
// A layer without an index is scanned for its link groups once per worker, when a file with links is
// first copied up or counted: names are found by d_ino, so that no file is looked at.

import { ENOENT, ENOMEM, EOPNOTSUPP, EPERM, isAbsent } from '../base/errno.js'
import { O_DIRECTORY, O_PATH } from '../base/open-flags.js'
import { SCRATCH_LIST, SCRATCH_PATH, SCRATCH_STAT, STAT_MODE } from '../vfs/arena.js'
import { copyName, dirFd } from './address.js'
import { bind, forget } from './bind.js'
import { writeTimes } from './copy-attributes.js'
import { markImpure, upperDir } from './copy-up.js'
import { addDentry, D_NEXT, D_PARENT, findDentry, hashName } from './dentry-table.js'
import { at, F_LINKED, F_NAMELESS, F_UPPER, N_DENTRY, N_INFO, N_INO, N_LAYER, T_DIR } from './inode-table.js'
import { find, found, M_REDIRECT, readMarkers } from './lookup.js'
import { PART_NAME } from './scratch.js'
import { ageSnapshot } from './snapshot.js'
import { DENTRY_WORDS, H_LINKS_REMOVED, H_MOVES, ROOT } from './state.js'
import { type Union, YES_AT } from './union.js'

const LIST_BYTES = 65536
const SLASH = 0x2f
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
  const ownName = nameAt(u, own)
  linked.length = 0
  const link = (parent: number, name: Buffer) =>
    parent === ownParent && name.equals(ownName) ? 0 : linkCopy(u, parent, name, temp)
  // First the names that the node goes by: some may be where the layer's own paths don't lead.
  let r = 0
  for (let i = 0; r === 0; i++) {
    const parent = boundName(u, node, i)
    if (parent === 0) break
    r = link(parent, nameAt(u, PART_NAME))
  }
  if (r === 0) r = eachVisible(u, nodes[n + N_LAYER]!, nodes[n + N_INO]!, nodes[n + N_INO + 1]!, link)
  if (r < 0) takeBackNames(u)
  return r
}

/**
 * Gives a lower file that nothing names any more, but an open file holds, the names that it still shows by
 * and that nobody has looked up. Returns 0 or -errno. Needs: no lock.
 */
export function findOtherNames(u: Union, node: number): number {
  const n = at(node)
  const { t } = u
  const name = (parent: number, bytes: Buffer) => {
    const { length } = bytes
    place(u, bytes)
    const hash = hashName(parent, u.bytes, PART_NAME, length)
    t.lock()
    const isKnown = findDentry(t, parent, hash, u.bytes, PART_NAME, length) !== 0
    const isNamed = !isKnown && addDentry(t, parent, hash, u.bytes, PART_NAME, length, node) !== 0
    if (isNamed) t.nodes[n + N_INFO]! &= ~F_NAMELESS
    t.unlock()
    return isKnown || isNamed ? 0 : -ENOMEM
  }
  return eachVisible(u, t.nodes[n + N_LAYER]!, t.nodes[n + N_INO]!, t.nodes[n + N_INO + 1]!, name)
}

/** Names that copyUpOtherNames() made; finishing a copy-up is one synchronous step. */
const linked: [parent: number, name: Buffer][] = []

/** The copy-up failed after all: its other names go again, and the lower's show. */
export function takeBackNames(u: Union): void {
  for (const [parent, name] of linked) {
    place(u, name)
    u.sys.unlinkAt(dirFd(u, parent, 0), PART_NAME, 0)
  }
  linked.length = 0
}

/** Leaves the name of a node's dentry number `index` at PART_NAME; returns its directory, 0 at the end. */
function boundName(u: Union, node: number, index: number): number {
  const t = u.t
  t.lock()
  let dentry = t.nodes[at(node) + N_DENTRY]!
  for (let i = 0; i < index && dentry !== 0; i++) dentry = t.dentries[dentry * DENTRY_WORDS + D_NEXT]!
  const parent = dentry === 0 ? 0 : t.dentries[dentry * DENTRY_WORDS + D_PARENT]!
  if (dentry !== 0) copyName(u, dentry * DENTRY_WORDS, PART_NAME)
  t.unlock()
  return parent
}

/** The NUL-terminated name at a place of the arena. */
function nameAt(u: Union, place: number): Buffer {
  let end = place
  while (u.bytes[end] !== 0) end++
  return Buffer.from(u.bytes.slice(place, end))
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
  linked.push([parent, name])
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
  const { mode, nlink, layer, markers, copies } = found
  const lo = found.ino[0]!
  const hi = found.ino[1]!
  const groups = linkGroups(u, layer)
  const names = typeof groups === 'number' ? undefined : groups.get(keyOf(lo, hi))
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
  found.copies = copies
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
  const groups = linkGroups(u, layer)
  if (typeof groups === 'number') return groups
  const moves = movedDirectories(u)
  if (typeof moves === 'number') return moves
  for (const path of groups.get(keyOf(lo, hi)) ?? []) {
    let r = visitPlace(u, layer, lo, hi, path, visit)
    // Below a directory that was moved, the name shows at another place.
    for (const moved of moves) {
      if (r < 0) break
      const isBelow = path.length > moved.from.length && path[moved.from.length] === SLASH
      if (!isBelow || path.compare(moved.from, 0, moved.from.length, 0, moved.from.length) !== 0) continue
      r = visitPlace(u, layer, lo, hi, Buffer.concat([moved.to, path.subarray(moved.from.length)]), visit)
    }
    if (r < 0) return r
  }
  return 0
}

/** Calls `visit` when a path of the mount leads to a lower file. Returns 0 when it does not. */
function visitPlace(
  u: Union,
  layer: number,
  lo: number,
  hi: number,
  path: Buffer,
  visit: (parent: number, name: Buffer) => number,
): number {
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
  return isAbsent(r) ? 0 : Math.min(r, 0)
}

/** Directories that were moved: where their lowers are, and where they show. Read from the upper's redirects; or -errno. */
function movedDirectories(u: Union): { from: Buffer; to: Buffer }[] | number {
  if (!u.isWritable) return []
  const moves = Atomics.load(u.t.header, H_MOVES)
  if (u.moved?.at === moves) return u.moved.list
  const list: { from: Buffer; to: Buffer }[] = []
  let failure = 0
  const r = scan(
    u,
    u.config.layers[0]!.fd,
    Buffer.alloc(0),
    () => {},
    (fd, path) => {
      const markers = readMarkers(u, fd, 0)
      failure = Math.min(failure, markers)
      if (markers < 0 || (markers & M_REDIRECT) === 0 || u.bytes[SCRATCH_PATH] !== SLASH) return
      list.push({
        from: Buffer.from(u.bytes.slice(SCRATCH_PATH + 1, SCRATCH_PATH + found.redirectLength)),
        to: path,
      })
    },
  )
  if (r < 0 || failure < 0) return Math.min(r, failure)
  u.moved = { at: moves, list }
  return list
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

/** Returns the link groups of a layer, scanning it the first time, or -errno. */
function linkGroups(u: Union, layer: number): Map<string, Buffer[]> | number {
  let result = u.linkGroups.get(layer)
  if (result !== undefined) return result
  const root = u.config.layers[layer]!.fd
  const counts = new Map<string, number>()
  let r = scan(u, root, Buffer.alloc(0), (key) => counts.set(key, (counts.get(key) ?? 0) + 1))
  if (r < 0) return r
  result = new Map()
  for (const [key, count] of counts) if (count > 1) result.set(key, [])
  if (result.size > 0) {
    const known = result
    r = scan(u, root, Buffer.alloc(0), (key, path) => known.get(key)?.push(path()))
    if (r < 0) return r
  }
  u.linkGroups.set(layer, result)
  return result
}

/**
 * Calls `each` for every file below a directory, `eachDirectory` for it and those below. Returns 0 or -errno. Reads into SCRATCH_LIST: a listing
 * may be under way in SCRATCH_DIRENTS.
 */
function scan(
  u: Union,
  dir: number,
  path: Buffer,
  each: (key: string, path: () => Buffer) => void,
  eachDirectory?: (fd: number, path: Buffer) => void,
): number {
  eachDirectory?.(dir, path)
  const fd = u.sys.openAt(dir, 0, O_DIRECTORY)
  if (fd < 0) return fd
  let r = 0
  const children: Buffer[] = []
  const below = (name: Buffer) => (path.length === 0 ? name : Buffer.concat([path, Buffer.from('/'), name]))
  for (;;) {
    r = u.sys.getdents(fd, SCRATCH_LIST, LIST_BYTES)
    if (r <= 0) break
    const end = SCRATCH_LIST + r
    for (let d = SCRATCH_LIST; d < end; d += u.bytes[d + 16]! | (u.bytes[d + 17]! << 8)) {
      let type = u.bytes[d + 18]!
      const name = d + 19
      let nul = name
      while (u.bytes[nul] !== 0) nul++
      const isDots =
        u.bytes[name] === 0x2e && (nul === name + 1 || (nul === name + 2 && u.bytes[name + 1] === 0x2e))
      if (isDots) continue
      if (type === 0 && u.sys.statAt(fd, name, LINK_STAT) === 0)
        type = u.u32[(LINK_STAT >> 2) + STAT_MODE]! >>> 12
      if (type === T_DIR) children.push(Buffer.from(u.bytes.slice(name, nul)))
      else
        each(keyOf(u.u32[d >> 2]!, u.u32[(d >> 2) + 1]!), () => below(Buffer.from(u.bytes.slice(name, nul))))
    }
  }
  for (const name of children) {
    if (r < 0) break
    place(u, name)
    const child = u.sys.openAt(fd, PART_NAME, O_PATH | O_DIRECTORY)
    r = child < 0 ? child : scan(u, child, below(name), each, eachDirectory)
    if (child >= 0) u.sys.close(child)
  }
  u.sys.close(fd)
  return r
}
