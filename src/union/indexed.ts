// The lowers by their index (src/index): what a name means, a listing, attributes, without a system call
// and whatever the number of layers. A directory's node knows its number in the index (dir-stack.ts); the
// upper is looked at before, as ever, and what the index can't tell is asked from the layers.

import { ENOENT, ENOMEM } from '../base/errno.js'
import {
  E_ASK,
  E_ATTR,
  E_CHILD,
  E_HAS_XATTRS,
  E_LENGTH,
  E_MORE,
  E_TYPE,
  MORE_WORDS,
  TYPE_DIR,
  TYPE_HIDDEN,
} from '../index/format.js'
import { DAMAGED, type IndexView } from '../index/view.js'
import { ATTR_WORDS, STAT_BTIME, STAT_DEV, STAT_INO, STAT_MODE, STAT_NLINK } from '../vfs/arena.js'
import { showIno } from './attr.js'
import { D_LENGTH, D_NAME, D_PARENT } from './dentry-table.js'
import { hashAt, type ListWriter } from './dir-list.js'
import { N_STACKED, type Reals } from './dir-stack.js'
import {
  at,
  F_NAMELESS,
  F_STALE,
  F_UPPER,
  isLive,
  N_DENTRY,
  N_INFO,
  N_LAYER,
  N_SEQ,
  T_DIR,
  TYPE_MASK,
} from './inode-table.js'
import { found } from './lookup.js'
import { DENTRY_WORDS } from './state.js'
import type { Union } from './union.js'

const SLASH = 0x2f

/** The index can't tell: the layers are to be searched. */
export const ASK_LAYERS = 1

/** Makes the Stat of the entry at word `w` at `stat`. */
function copyStat(u: Union, view: IndexView, w: number, stat: number): void {
  const to = stat >> 2
  const { words } = view
  for (let i = 0; i < ATTR_WORDS; i++) u.i32[to + i] = words[w + E_ATTR + i]!
  for (let i = 0; i < MORE_WORDS; i++) u.i32[to + STAT_BTIME + i] = words[w + E_MORE + i]!
  u.i32[to + STAT_DEV] = u.devices[layerOf(u, view, w)]!
}

/** Puts the ino that the entry at word `w` shows into `out`. */
function inoOf(u: Union, view: IndexView, w: number, out: Int32Array): void {
  const device = u.devices[layerOf(u, view, w)]!
  showIno(u, view.words[w + E_ATTR + STAT_INO]!, view.words[w + E_ATTR + STAT_INO + 1]!, device, out)
}

/** The union's layer of the entry at word `w`. */
function layerOf(u: Union, view: IndexView, w: number): number {
  return (view.words[w + E_LENGTH]! >>> 16) + u.indexBase
}

/**
 * Ends a find() among the lowers: `name` in directory `stacked` of the index. Fills `found`, u.found and the
 * Stat as find() does. Returns 0, -ENOENT, or ASK_LAYERS.
 */
export function findIndexed(u: Union, stacked: number, name: number, length: number, stat: number): number {
  const view = u.index!
  const entry = view.find(stacked, u.bytes, name, length)
  if (entry === DAMAGED) return ASK_LAYERS
  const w = entry === 0 ? 0 : view.entry(entry)
  const kind = entry === 0 ? TYPE_HIDDEN : view.words[w + E_TYPE]!
  const type = kind & 0xff
  const out = u.found
  const isTop = out.count === 0
  if (((kind >>> 8) & E_ASK) !== 0) return ASK_LAYERS
  if (type === TYPE_HIDDEN) return isTop ? -ENOENT : 0
  if (type === TYPE_DIR) return foundDirectory(u, view, w, stat)
  // Below a directory of the upper a file of a lower does not show.
  if (!isTop) return 0
  copyStat(u, view, w, stat)
  const a = w + E_ATTR
  found.mode = view.words[a + STAT_MODE]!
  found.nlink = view.words[a + STAT_NLINK]!
  found.layer = layerOf(u, view, w)
  found.markers = 0
  inoOf(u, view, w, found.ino)
  return 0
}

function foundDirectory(u: Union, view: IndexView, w: number, stat: number): number {
  const child = view.words[w + E_CHILD]!
  const d = view.dir(child)
  const list = d < 0 ? DAMAGED : view.list(d)
  if (list < 0) return ASK_LAYERS
  const out = u.found
  const layer = layerOf(u, view, w)
  const a = w + E_ATTR
  if (out.count === 0) {
    copyStat(u, view, w, stat)
    found.mode = view.words[a + STAT_MODE]!
    found.nlink = 1
    found.layer = layer
    found.markers = 0
  }
  inoOf(u, view, w, found.ino)
  pushLayers(u, view, d, list, out)
  out.stacked = child
  return 0
}

function pushLayers(u: Union, view: IndexView, d: number, list: number, out: Reals): void {
  const count = view.layerCount(d)
  for (let i = 0; i < count; i++) out.push(view.words[list + i]! + u.indexBase, 0)
}

/** Adds the lowers' roots that show to the reals of the mount's root. Throws when the index is damaged. */
export function pushIndexedRoot(u: Union, out: Reals): void {
  const view = u.index
  if (view === null) return
  const d = view.dir(1)
  const list = d < 0 ? DAMAGED : view.list(d)
  if (list < 0) throw new Error(view.damage)
  pushLayers(u, view, d, list, out)
  out.stacked = 1
}

/**
 * After a search that a redirect bent: notes the index's directory for what u.found has, when it is that.
 * `child`: the directory that the redirect leads to.
 */
function adopt(u: Union, view: IndexView, child: number): void {
  const d = view.dir(child)
  const list = d < 0 ? DAMAGED : view.list(d)
  if (list < 0) return
  const out = u.found
  const above = u.isUpper(out.layers[0]!) ? 1 : 0
  const count = view.layerCount(d)
  if (out.count !== above + count) return
  for (let i = 0; i < count; i++) {
    if (out.layers[above + i] !== view.words[list + i]! + u.indexBase) return
  }
  out.stacked = child
}

/** Goes one name down in the index. Returns the directory there, 0 when there is none that it knows. */
function stepDown(view: IndexView, dir: number, bytes: Uint8Array, at: number, end: number): number {
  const entry = view.find(dir, bytes, at, end - at)
  const w = entry <= 0 ? DAMAGED : view.entry(entry)
  if (w < 0) return 0
  const kind = view.words[w + E_TYPE]!
  return (kind & 0xff) === TYPE_DIR && ((kind >>> 8) & E_ASK) === 0 ? view.words[w + E_CHILD]! : 0
}

/** The search went on under another name in directory `stacked` of the index. */
export function adoptSibling(u: Union, stacked: number, name: number, length: number): void {
  const view = u.index
  if (view === null || u.found.count === 0) return
  const child = stepDown(view, stacked, u.bytes, name, name + length)
  if (child !== 0) adopt(u, view, child)
}

/** The search went on at an absolute path. */
export function adoptPath(u: Union, path: Uint8Array): void {
  const view = u.index
  if (view === null || u.found.count === 0) return
  let dir = 1
  for (let at = 1; at <= path.length && dir !== 0; ) {
    let end = path.indexOf(SLASH, at)
    if (end < 0) end = path.length
    dir = stepDown(view, dir, path, at, end)
    at = end + 1
  }
  if (dir !== 0) adopt(u, view, dir)
}

/**
 * Writes the Stat of a node that is real in a lower at `out`. Returns whether the index could: it can't
 * for what is in the upper, has no name, or is about to change.
 */
export function statIndexed(u: Union, node: number, out: number): boolean {
  const view = u.index!
  const t = u.t
  t.lock()
  const w = isLive(t, node) ? wordOf(u, view, node) : DAMAGED
  if (w >= 0) copyStat(u, view, w, out)
  t.unlock()
  return w >= 0
}

/** Under the lock: the word of a lower node's entry, or DAMAGED. */
function wordOf(u: Union, view: IndexView, node: number): number {
  const t = u.t
  const n = at(node)
  const info = t.nodes[n + N_INFO]!
  if ((info & (F_UPPER | F_NAMELESS | F_STALE)) !== 0 || (t.nodes[n + N_SEQ]! & 1) !== 0) return DAMAGED
  if ((info & TYPE_MASK) === T_DIR) {
    const stacked = t.nodes[n + N_STACKED]!
    return stacked === 0 ? DAMAGED : view.ownEntry(stacked)
  }
  const d = t.nodes[n + N_DENTRY]! * DENTRY_WORDS
  if (d === 0) return DAMAGED
  const stacked = t.nodes[at(t.dentries[d + D_PARENT]!) + N_STACKED]!
  if (stacked === 0) return DAMAGED
  const entry = view.find(stacked, t.names.bytes, -t.dentries[d + D_NAME]! * 8, t.dentries[d + D_LENGTH]!)
  const w = entry <= 0 ? DAMAGED : view.entry(entry)
  if (w < 0) return DAMAGED
  // A kind with flags that matter is another number.
  const kind = view.words[w + E_TYPE]! & ~(E_HAS_XATTRS << 8)
  return kind === (info & TYPE_MASK) && layerOf(u, view, w) === t.nodes[n + N_LAYER] ? w : DAMAGED
}

const ino = new Int32Array(2)

/**
 * Adds the lowers' entries of directory `stacked` of the index to a listing that has the upper's. Calls
 * `known` for names that it has already. Returns 0, -ENOMEM, or ASK_LAYERS with nothing added.
 */
export function listIndexed(
  u: Union,
  w: ListWriter,
  stacked: number,
  known: (place: number, type: number, ino: Int32Array) => void,
): number {
  const view = u.index!
  const d = view.dir(stacked)
  if (d < 0) return ASK_LAYERS
  const first = view.first(d)
  const end = first + view.count(d)
  // Proved first: what is added can't be taken back.
  for (let entry = first; entry < end; entry++) {
    const e = view.entry(entry)
    if (e < 0 || view.name(e) < 0 || ((view.words[e + E_TYPE]! >>> 8) & E_ASK) !== 0) return ASK_LAYERS
  }
  for (let entry = first; entry < end; entry++) {
    const e = view.entry(entry)
    const type = view.words[e + E_TYPE]! & 0xff
    if (type === TYPE_HIDDEN) continue
    const name = view.name(e)
    const length = view.words[e + E_LENGTH]! & 0xffff
    const hash = hashAt(view.bytes, name, length)
    inoOf(u, view, e, ino)
    const place = w.find(view.bytes, name, length, hash)
    if (place !== 0) known(place, type, ino)
    else if (w.add(view.bytes, name, length, hash, type, layerOf(u, view, e), ino[0]!, ino[1]!) === 0) {
      return -ENOMEM
    }
  }
  return 0
}
