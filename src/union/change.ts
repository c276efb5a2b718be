// The exclusive right to change where nodes are found: unlink, rmdir, rename and exchange take it,
// and copy-up in its own way. Held only across a few system calls; while holding it, never wait.

import { EAGAIN, ENOENT, ESTALE } from '../base/errno.js'
import { SCRATCH_STAT } from '../vfs/arena.js'
import { bind, findBound } from './bind.js'
import { D_NODE, findDentry, hashName, removeDentry } from './dentry-table.js'
import {
  at,
  F_COPYING,
  F_NAMELESS,
  F_UPPER,
  isLive,
  N_DENTRY,
  N_HIDDEN,
  N_INFO,
  N_PIN,
  N_SEQ,
  T_DIR,
  TYPE_MASK,
} from './inode-table.js'
import { find } from './lookup.js'
import { DENTRY_WORDS } from './state.js'
import type { Union } from './union.js'

/**
 * Makes one or two nodes (0: none) odd, both at once. Returns 0; PARKED when a data copy must end
 * first (the request comes again); or -errno.
 */
export function beginChange(u: Union, node: number, other: number): number {
  const t = u.t
  for (;;) {
    t.lock()
    if (!isLive(t, node) || (other !== 0 && !isLive(t, other))) {
      t.unlock()
      return -ESTALE
    }
    const busy = copying(u, node) ? node : other !== 0 && copying(u, other) ? other : 0
    if (busy !== 0) {
      const r = u.sys.park(busy)
      t.unlock()
      return r
    }
    const isOdd =
      (t.nodes[at(node) + N_SEQ]! & 1) !== 0 || (other !== 0 && (t.nodes[at(other) + N_SEQ]! & 1) !== 0)
    if (isOdd) {
      t.unlockAndWait()
      continue
    }
    t.nodes[at(node) + N_SEQ]!++
    if (other !== 0 && other !== node) t.nodes[at(other) + N_SEQ]!++
    t.unlock()
    return 0
  }
}

function copying(u: Union, node: number): boolean {
  return (u.t.nodes[at(node) + N_INFO]! & F_COPYING) !== 0
}

/** Ends a beginChange() that comes to nothing. */
export function cancelChange(u: Union, node: number, other: number): void {
  u.t.lock()
  endChange(u, node, other)
  u.t.unlock()
}

/** Under the lock: the end of beginChange(). */
export function endChange(u: Union, node: number, other: number): void {
  const t = u.t
  t.nodes[at(node) + N_SEQ]!++
  if (other !== 0 && other !== node) t.nodes[at(other) + N_SEQ]!++
  t.announce()
}

/** Returns the node of a name, looking it up when it is not bound; the caller need not forget it. */
export function nodeOf(u: Union, parent: number, name: number, length: number): number {
  const bound = findBound(u, parent, name, length)
  if (bound !== 0) return bound
  for (;;) {
    const r = find(u, parent, name, length, SCRATCH_STAT)
    const node = r < 0 ? r : bind(u, parent, name, length)
    if (node !== -EAGAIN) return node
  }
}

/** Tells (1, 0 or -errno) whether a lower shows something at a name once the upper has nothing. */
export function hasLower(u: Union, parent: number, name: number, length: number): number {
  const r = find(u, parent, name, length, SCRATCH_STAT, true)
  if (r === 0) return 1
  return r === -ENOENT ? 0 : r
}

/**
 * Under the lock: takes a removed name off its node. A node without a further name lives on behind
 * `pin` (an O_PATH fd, or < 0). Returns an fd that is not needed after all, or -1.
 */
export function unname(u: Union, parent: number, name: number, length: number, pin: number): number {
  const t = u.t
  const dentry = findDentry(t, parent, hashName(parent, u.bytes, name, length), u.bytes, name, length)
  if (dentry === 0) return pin
  const node = t.dentries[dentry * DENTRY_WORDS + D_NODE]!
  const n = at(node)
  removeDentry(t, dentry)
  if ((t.nodes[n + N_INFO]! & F_UPPER) === 0 && (t.nodes[n + N_INFO]! & TYPE_MASK) !== T_DIR)
    t.nodes[n + N_HIDDEN]!++
  if (t.nodes[n + N_DENTRY] !== 0) return pin
  t.nodes[n + N_INFO]! |= F_NAMELESS
  if (pin < 0 || t.nodes[n + N_PIN] !== 0) return pin
  t.nodes[n + N_PIN] = pin + 1
  return -1
}
