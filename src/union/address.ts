// From a node to the place of its real object: an fd and a name for the next system call.

import { EIO, ENOENT, ESTALE } from '../base/errno.js'
import { O_DIRECTORY, O_PATH } from '../base/open-flags.js'
import { D_LENGTH, D_NAME, D_PARENT } from './dentry-table.js'
import { pathIn, topLayer } from './dir-stack.js'
import {
  at,
  F_NAMELESS,
  F_ROOT,
  F_STALE,
  isLive,
  N_DENTRY,
  N_FORWARD,
  N_GENERATION,
  N_INFO,
  N_LAYER,
  N_PIN,
  N_SEQ,
  T_DIR,
  TYPE_MASK,
} from './inode-table.js'
import { FOUND_NAME, STEP_NAME } from './scratch.js'
import { DENTRY_WORDS, ROOT } from './state.js'
import type { Union } from './union.js'

/** O_PATH | O_DIRECTORY */
const OPEN_DIR = O_PATH | O_DIRECTORY
const EMFILE = -24
const ENFILE = -23

/**
 * Finds a node's topmost real: fills u.node (a stale node is followed to its successor), u.fd,
 * u.ref, u.layer and u.seq. Returns 0 or -errno. After the system call ask hasMoved(): when it
 * says yes the name may have meant another object, and the step is to be done again.
 */
export function locate(u: Union, node: number): number {
  const t = u.t
  for (;;) {
    t.lock()
    if (!isLive(t, node)) {
      t.unlock()
      return -ESTALE
    }
    let n = at(node)
    while ((t.nodes[n + N_INFO]! & F_STALE) !== 0) {
      node = t.nodes[n + N_FORWARD]!
      n = at(node)
    }
    u.node = node
    u.seq = t.nodes[n + N_SEQ]!
    if ((u.seq & 1) !== 0) {
      t.unlockAndWait()
      continue
    }
    const info = t.nodes[n + N_INFO]!
    const pin = t.nodes[n + N_PIN]!
    if ((info & F_NAMELESS) !== 0) {
      u.layer = (info & TYPE_MASK) === T_DIR ? topLayer(t, node) : t.nodes[n + N_LAYER]!
      t.unlock()
      u.fd = pin - 1
      u.ref = 0
      return pin === 0 ? -ESTALE : 0
    }
    if ((info & TYPE_MASK) === T_DIR) {
      u.layer = topLayer(t, node)
      t.unlock()
      u.ref = 0
      u.fd = dirFd(u, node, u.layer)
      return Math.min(u.fd, 0)
    }
    u.layer = t.nodes[n + N_LAYER]!
    const d = t.nodes[n + N_DENTRY]! * DENTRY_WORDS
    const parent = t.dentries[d + D_PARENT]!
    copyName(u, d, FOUND_NAME)
    t.unlock()
    u.ref = FOUND_NAME
    u.fd = dirFd(u, parent, u.layer)
    return Math.min(u.fd, 0)
  }
}

/** Tells whether the node that locate() found was renamed, removed or copied up since. */
export function hasMoved(u: Union): boolean {
  return Atomics.load(u.t.nodes, at(u.node) + N_SEQ) !== u.seq
}

/** Under the lock: copies a dentry's name to the arena, with its NUL. Returns the length. */
export function copyName(u: Union, d: number, to: number): number {
  const t = u.t
  const length = t.dentries[d + D_LENGTH]!
  const from = -t.dentries[d + D_NAME]! * 8
  const names = t.names.bytes
  for (let i = 0; i <= length; i++) u.bytes[to + i] = names[from + i]!
  return length
}

/** Returns an O_PATH fd of a directory's real in a layer (this worker's, kept), or -errno. */
export function dirFd(u: Union, node: number, layer: number): number {
  if (node === ROOT) return u.config.layers[layer]!.fd
  const fd = u.dirs.get(node, layer, u.t.nodes[at(node) + N_GENERATION]!)
  return fd >= 0 ? fd : openDir(u, node, layer)
}

function openDir(u: Union, node: number, layer: number): number {
  const t = u.t
  const n = at(node)
  for (let attempt = 0; attempt < 100; attempt++) {
    t.lock()
    const seq = t.nodes[n + N_SEQ]!
    if ((seq & 1) !== 0) {
      // Whoever made it odd opened what it needs before; only others come here, and may wait.
      t.unlockAndWait()
      continue
    }
    const generation = t.nodes[n + N_GENERATION]!
    if ((t.nodes[n + N_INFO]! & F_NAMELESS) !== 0) {
      const pin = t.nodes[n + N_PIN]!
      const top = topLayer(t, node)
      t.unlock()
      return pin !== 0 && layer === top ? pin - 1 : -ENOENT
    }
    if ((t.nodes[n + N_INFO]! & F_ROOT) !== 0) {
      t.unlock()
      return u.config.layers[layer]!.fd
    }
    const path = pathIn(t, node, layer)
    const d = t.nodes[n + N_DENTRY]! * DENTRY_WORDS
    const parent = t.dentries[d + D_PARENT]!
    t.unlock()

    let fd: number
    if (path !== 0) {
      fd = u.sys.openAt(u.config.layers[layer]!.fd, path, OPEN_DIR)
    } else {
      const parentFd = dirFd(u, parent, layer)
      if (parentFd < 0) return parentFd
      t.lock()
      if (t.nodes[n + N_SEQ] !== seq) {
        t.unlock()
        continue
      }
      copyName(u, d, STEP_NAME)
      t.unlock()
      fd = u.sys.openAt(parentFd, STEP_NAME, OPEN_DIR)
    }
    if (fd === EMFILE || fd === ENFILE) {
      u.dirs.shrink()
      if (attempt > 0) return fd
      continue
    }
    if (Atomics.load(t.nodes, n + N_SEQ) !== seq) {
      if (fd >= 0) u.sys.close(fd)
      continue
    }
    if (fd >= 0) u.dirs.set(node, layer, generation, fd)
    return fd
  }
  return -EIO
}
