// The pristine tree: the lowers alone, as a second tree in the mount of their union, so that both have one
// st_dev. Who compares them may then pass over what has the same inode number in both, whole directories
// too, as container engines do that ask what a container changed.
//
// The rule that makes this safe: a name of the pristine tree has the inode number of the union only where
// the upper has nothing at that path; then the union shows the lowers there, whatever is below. Anywhere
// else, and in doubt, it has another one (it is "apart"). The upper is looked at when a name is looked up or
// listed, and each pristine root is new, so that nothing old is kept of it. The price: names of one lower
// file have different numbers when the upper removed only some of them.
//
// Its nodes carry F_PRISTINE; they are never copied up, and share no record with the union's. The root is
// bound below the mount's root under a name that no listing shows; mount/pristine-mount.ts shows it
// somewhere. A directory is F_TOUCHED when the upper has something at its path, so that each of its names
// must be looked at. (Where the upper's is not merged with it the union has none of these lowers below,
// or they came by a redirect from elsewhere, with their own numbers.)

import { isAbsent } from '../base/errno.js'
import { O_DIRECTORY } from '../base/open-flags.js'
import { SCRATCH_DIRENTS, SCRATCH_DIRENTS_CAPACITY, SCRATCH_STAT2 } from '../vfs/arena.js'
import { dirFd } from './address.js'
import { addDentry, hashName } from './dentry-table.js'
import { E_INO, E_LENGTH, E_NAME, firstEntry, hashAt, type ListWriter, nextEntry } from './dir-list.js'
import { freeReals, N_STACKED, Reals, readReals, writeReals } from './dir-stack.js'
import {
  allocNode,
  at,
  F_PRISTINE,
  F_ROOT,
  F_TOUCHED,
  freeNode,
  N_INFO,
  N_INO,
  T_DIR,
} from './inode-table.js'
import { found, hasDotWhiteout, isDots, isDotWhiteout, M_PRISTINE, M_TOUCHED } from './lookup.js'
import { ROOT } from './state.js'
import type { Tables } from './tables.js'
import type { Union } from './union.js'

/** Bit 47 of an inode number: below those for the device (showIno()), and real ones don't reach it. */
const APART_BIT = 0x8000

/**
 * Makes a pristine root of the layers from `first` on, bound to `name` below the mount's root. Returns its
 * node, 0 when there can't be one: memory is out, or the layers above hide them all. Needs: `first` is
 * 1 when layer 0 is an upper.
 */
export function makePristineRoot(t: Tables, first: number, isWritable: boolean, name: Uint8Array): number {
  const reals = new Reals()
  t.lock()
  readReals(t, ROOT, reals)
  const from = reals.layers.subarray(0, reals.count).findIndex((layer) => layer >= first)
  const node = from < 0 ? 0 : allocNode(t, T_DIR)
  if (node !== 0) {
    const n = at(node)
    reals.layers.copyWithin(0, from, reals.count)
    reals.count -= from
    const isMade = writeReals(t, node, reals)
    t.nodes[n + N_STACKED] = isWritable ? reals.stacked : 0
    t.nodes[n + N_INO] = t.nodes[at(ROOT) + N_INO]!
    t.nodes[n + N_INO + 1] = t.nodes[at(ROOT) + N_INO + 1]! ^ APART_BIT
    t.nodes[n + N_INFO]! |= F_PRISTINE | F_ROOT | (isWritable ? F_TOUCHED : 0)
    const hash = hashName(ROOT, name, 0, name.length)
    if (!isMade || addDentry(t, ROOT, hash, name, 0, name.length, node) === 0) {
      freeReals(t, node)
      freeNode(t, node)
      t.unlock()
      return 0
    }
  }
  t.unlock()
  return node
}

/** Returns the flags of a node by the markers of what was found. */
export function pristineFlags(markers: number): number {
  return (markers & M_TOUCHED) !== 0 ? F_PRISTINE | F_TOUCHED : F_PRISTINE
}

/** Tells whether a node is of a pristine tree. */
export function isPristine(t: Tables, node: number): boolean {
  return (t.nodes[at(node) + N_INFO]! & F_PRISTINE) !== 0
}

/** After a find() in a pristine directory: sets apart what was found, and says so in its markers. */
export function setApart(u: Union, parent: number, name: number, length: number): void {
  found.markers |= M_PRISTINE
  if (!isTouched(u, parent, name, length)) return
  found.markers |= M_TOUCHED
  found.ino[1]! ^= APART_BIT
}

/** Tells whether the upper has, or may have, something at a name of a pristine directory. */
function isTouched(u: Union, parent: number, name: number, length: number): boolean {
  if ((u.t.nodes[at(parent) + N_INFO]! & F_TOUCHED) === 0) return false
  const fd = dirFd(u, parent, 0)
  if (fd < 0 || !isAbsent(u.sys.statAt(fd, name, SCRATCH_STAT2))) return true
  return u.config.layers[0]!.hasDotWhiteouts && hasDotWhiteout(u, fd, name, length) !== 0
}

/** The same for the entries of a pristine directory's list in the making. Returns 0 or -errno. */
export function setEntriesApart(u: Union, w: ListWriter, node: number): number {
  const { t } = u
  if ((t.nodes[at(node) + N_INFO]! & F_TOUCHED) === 0) return 0
  const path = dirFd(u, node, 0)
  if (path < 0) return setAllApart(t, w)
  const fd = u.sys.openAt(path, 0, O_DIRECTORY)
  if (fd < 0) return fd
  // Once each: a name and its `.wh.` may both be there.
  const places = new Set<number>()
  let r = 1
  while (r > 0) {
    r = u.sys.getdents(fd, SCRATCH_DIRENTS, SCRATCH_DIRENTS_CAPACITY)
    const end = SCRATCH_DIRENTS + r
    for (let d = SCRATCH_DIRENTS; d < end; d += u.bytes[d + 16]! | (u.bytes[d + 17]! << 8)) {
      let name = d + 19
      let length = u.bytes.indexOf(0, name) - name
      if (isDots(u.bytes, name, length)) continue
      if (isDotWhiteout(u.bytes, name, length)) {
        name += 4
        length -= 4
      }
      const place = w.find(u.bytes, name, length, hashAt(u.bytes, name, length))
      if (place !== 0) places.add(place)
    }
  }
  u.sys.close(fd)
  for (const place of places) setPlaceApart(t, place)
  return r
}

/** But for the dots, which are other directories' own. */
function setAllApart(t: Tables, w: ListWriter): number {
  for (let place = firstEntry(t, w.first); place !== 0; place = nextEntry(t, place)) {
    const w = place >> 2
    if (!isDots(t.blockBytes, place + E_NAME, t.blocks[w + E_LENGTH]!)) setPlaceApart(t, place)
  }
  return 0
}

function setPlaceApart(t: Tables, place: number): void {
  t.blocks[(place >> 2) + E_INO + 1]! ^= APART_BIT
}
