// From what a lookup found to a node that the kernel may hold, and back: binding and forgetting.

import { EAGAIN, ENOMEM } from '../base/errno.js'
import { ENTRY_ATTR } from '../vfs/file-system.js'
import { finishAttr } from './attr.js'
import { dropSnapshot, N_SNAPSHOT } from './block-chain.js'
import {
  addDentry,
  D_NODE,
  D_PARENT,
  findDentry,
  hashName,
  moveDentries,
  removeDentry,
} from './dentry-table.js'
import { freeReals, writeReals } from './dir-stack.js'
import { countHidden } from './hard-links.js'
import {
  addLinked,
  allocNode,
  at,
  F_COPYING,
  F_DEAD,
  F_IMPURE,
  F_LINKED,
  F_NAMELESS,
  F_STACK,
  F_STALE,
  F_TWIN,
  F_UPPER,
  findLinked,
  freeNode,
  isBeingPlaced,
  isLive,
  N_CHILDREN,
  N_DENTRY,
  N_FORWARD,
  N_GENERATION,
  N_HIDDEN,
  N_INFO,
  N_INO,
  N_LAYER,
  N_LOOKUPS,
  N_OPENS,
  N_PIN,
  removeLinked,
  T_DIR,
  TYPE_MASK,
} from './inode-table.js'
import { found, M_IMPURE, M_PRISTINE } from './lookup.js'
import { dropTable } from './lower-index.js'
import { pristineFlags } from './pristine.js'
import { DENTRY_WORDS, H_COPIES, H_LINKS_REMOVED, ROOT } from './state.js'
import type { Union } from './union.js'

/**
 * Binds what find() or a create left in `found`/u.found to (parent, name), taking one lookup
 * reference. An object that is known already keeps its node. Returns the node or -ENOMEM; -EAGAIN: a file with
 * links may have been copied up since, the name is to be searched for again.
 */
export function bind(u: Union, parent: number, name: number, length: number): number {
  const t = u.t
  const hash = hashName(parent, u.bytes, name, length)
  const isDir = found.mode >>> 12 === T_DIR
  // One link is enough: the name that an open file was known by may be gone.
  const mayBeKnown = !isDir && (found.markers & M_PRISTINE) === 0
  const hidden = mayBeKnown && found.nlink > 1 && t.header[H_LINKS_REMOVED] !== 0 ? countHidden(u) : 0
  t.lock()
  // Its names are in the upper, and the node is not yet.
  while (mayBeKnown && u.isUpper(found.layer) && isBeingPlaced(t, found.ino[0]!, found.ino[1]!)) {
    t.unlockAndWait()
    t.lock()
  }
  let dentry = findDentry(t, parent, hash, u.bytes, name, length)
  if (dentry !== 0) {
    const node = t.dentries[dentry * DENTRY_WORDS + D_NODE]!
    const n = at(node)
    if (
      t.nodes[n + N_INO] === found.ino[0] &&
      t.nodes[n + N_INO + 1] === found.ino[1] &&
      (t.nodes[n + N_INFO]! & TYPE_MASK) === found.mode >>> 12
    ) {
      t.nodes[n + N_LOOKUPS]!++
      t.unlock()
      return node
    }
    // Changed behind the mount: what stood here is nameless from now on.
    removeDentry(t, dentry)
    if (t.nodes[n + N_DENTRY] === 0) t.nodes[n + N_INFO]! |= F_NAMELESS
    dentry = 0
  }
  let node = 0
  if (mayBeKnown) node = findLinked(t, found.ino[0]!, found.ino[1]!, found.layer)
  if (node !== 0) {
    const info = t.nodes[at(node) + N_INFO]!
    // A copy for open handles alone is being made: it will not be at this name.
    const away = F_NAMELESS | F_COPYING
    if ((info & away) === away || (info & TYPE_MASK) !== found.mode >>> 12) node = 0
  }
  const isNew = node === 0
  if (
    isNew &&
    mayBeKnown &&
    found.nlink > 1 &&
    t.header[H_COPIES] !== found.copies &&
    !u.isUpper(found.layer)
  ) {
    t.unlock()
    return -EAGAIN
  }
  if (isNew) {
    node = newNode(u, isDir)
    if (node !== 0 && !isDir) t.nodes[at(node) + N_HIDDEN] = hidden
  }
  if (node !== 0 && addDentry(t, parent, hash, u.bytes, name, length, node) === 0) {
    if (isNew) freeRecord(u, node)
    node = 0
  }
  if (node !== 0) {
    t.nodes[at(node) + N_LOOKUPS]!++
    t.nodes[at(node) + N_INFO]! &= ~(F_NAMELESS | F_DEAD)
  }
  t.unlock()
  return node === 0 ? -ENOMEM : node
}

/** Under the lock: makes the record of what `found` describes. Returns 0 when memory is out. */
export function newNode(u: Union, isDir: boolean): number {
  const t = u.t
  const node = allocNode(t, found.mode >>> 12)
  if (node === 0) return 0
  const n = at(node)
  t.nodes[n + N_INO] = found.ino[0]!
  t.nodes[n + N_INO + 1] = found.ino[1]!
  if (isDir) {
    if (!writeReals(t, node, u.found)) {
      freeNode(t, node)
      return 0
    }
    u.found.count = 0
    if ((found.markers & M_IMPURE) !== 0) t.nodes[n + N_INFO]! |= F_IMPURE
  } else t.nodes[n + N_LAYER] = found.layer
  if (u.isUpper(found.layer)) t.nodes[n + N_INFO]! |= F_UPPER
  if ((found.markers & M_PRISTINE) !== 0) t.nodes[n + N_INFO]! |= pristineFlags(found.markers)
  else if (!isDir && found.nlink > 1) addLinked(t, node)
  return node
}

/** Fills the Entry at `out` for a node whose real's Stat is in place. */
export function writeEntry(u: Union, node: number, out: number): void {
  writeEntryHead(u, node, out)
  finishAttr(u, node, (out + ENTRY_ATTR) >> 2)
}

/** Fills nodeid and generation of the Entry at `out`, whose attributes getAttr() wrote. */
export function writeEntryHead(u: Union, node: number, out: number): void {
  const w = out >> 2
  u.u32[w] = node
  u.u32[w + 1] = 0
  u.u32[w + 2] = u.t.nodes[at(node) + N_GENERATION]!
  u.u32[w + 3] = 0
}

/** Returns the node that (parent, name) is bound to, or 0. */
export function findBound(u: Union, parent: number, name: number, length: number): number {
  const hash = hashName(parent, u.bytes, name, length)
  u.t.lock()
  const dentry = findDentry(u.t, parent, hash, u.bytes, name, length)
  const node = dentry === 0 ? 0 : u.t.dentries[dentry * DENTRY_WORDS + D_NODE]!
  u.t.unlock()
  return node
}

/** fds to close once the lock is given back; filled by freeing. */
const doomed: number[] = [] // one list per thread: modules are per worker

/** The kernel gives back `count` references of a node; what nobody holds is freed, parents too. */
export function forget(u: Union, node: number, count: number): void {
  const t = u.t
  t.lock()
  if (isLive(t, node)) {
    const n = at(node)
    t.nodes[n + N_LOOKUPS] = Math.max(0, t.nodes[n + N_LOOKUPS]! - count)
    reap(u, node)
  }
  t.unlock()
  closeDoomed(u)
}

/** Under the lock: frees a node that has no reference, no child and no open handle; then upwards. */
export function reap(u: Union, start: number): void {
  const t = u.t
  let node = start
  while (node !== ROOT) {
    const n = at(node)
    if (t.nodes[n + N_LOOKUPS] !== 0 || t.nodes[n + N_CHILDREN] !== 0) return
    if (t.nodes[n + N_OPENS] !== 0) {
      t.nodes[n + N_INFO]! |= F_DEAD
      return
    }
    let parent = ROOT
    for (let dentry = t.nodes[n + N_DENTRY]!; dentry !== 0; dentry = t.nodes[n + N_DENTRY]!) {
      const above = t.dentries[dentry * DENTRY_WORDS + D_PARENT]!
      // First, while this name still holds `above`: the climb from the last parent may end there.
      if (parent !== ROOT && parent !== above) reap(u, parent)
      removeDentry(t, dentry)
      parent = above
    }
    const successor = (t.nodes[n + N_INFO]! & F_STALE) !== 0 ? t.nodes[n + N_FORWARD]! : 0
    freeRecord(u, node)
    if (successor !== 0) {
      t.nodes[at(successor) + N_LOOKUPS]!--
      t.nodes[at(successor) + N_INFO]! &= ~F_TWIN
      reap(u, successor)
    }
    node = parent
  }
}

/** Under the lock: gives back all that one record holds. */
function freeRecord(u: Union, node: number): void {
  const t = u.t
  const n = at(node)
  const info = t.nodes[n + N_INFO]!
  if ((info & F_LINKED) !== 0) removeLinked(t, node)
  if ((info & TYPE_MASK) === T_DIR) {
    if (t.nodes[n + N_SNAPSHOT] !== 0) dropSnapshot(t, node)
    dropTable(t, node)
    if ((info & F_STACK) !== 0) freeReals(t, node)
  }
  if (t.nodes[n + N_PIN] !== 0) doomed.push(t.nodes[n + N_PIN]! - 1)
  freeNode(t, node)
}

/** Without the lock: closes the pins of what was freed. */
export function closeDoomed(u: Union): void {
  while (doomed.length > 0) u.sys.close(doomed.pop()!)
}

/**
 * Under the lock: a node whose lower file is open by passthrough was copied up. The kernel cannot
 * open that nodeid for anything else now, so a new node takes over its names and its ino; the old
 * one forwards to it. Returns the new node, 0 when memory is out.
 */
export function supersede(u: Union, node: number): number {
  const t = u.t
  const n = at(node)
  const heir = allocNode(t, t.nodes[n + N_INFO]! & TYPE_MASK)
  if (heir === 0) return 0
  const h = at(heir)
  t.nodes[h + N_INO] = t.nodes[n + N_INO]!
  t.nodes[h + N_INO + 1] = t.nodes[n + N_INO + 1]!
  t.nodes[h + N_LAYER] = t.nodes[n + N_LAYER]!
  t.nodes[h + N_HIDDEN] = t.nodes[n + N_HIDDEN]!
  t.nodes[h + N_PIN] = t.nodes[n + N_PIN]!
  t.nodes[n + N_PIN] = 0
  t.nodes[h + N_INFO]! |= t.nodes[n + N_INFO]! & (F_UPPER | F_NAMELESS)
  t.nodes[h + N_LOOKUPS] = 1
  if ((t.nodes[n + N_INFO]! & F_LINKED) !== 0) {
    removeLinked(t, node)
    addLinked(t, heir)
  }
  moveDentries(t, node, heir)
  t.nodes[n + N_FORWARD] = heir
  t.nodes[n + N_INFO]! |= F_STALE | F_TWIN
  t.nodes[h + N_INFO]! |= F_TWIN
  return heir
}
