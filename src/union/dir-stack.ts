// The reals of a directory: in which layers it exists, top first.
//
// A directory in one layer keeps just the layer's number in its node. One that is merged from
// several, or that lies in a layer under another path than its parent's (a redirect), has a list
// in the name arena: count, then (layer, path) pairs. path 0: the parent's real in that layer plus
// our name; else a reference to the path from that layer's root.

import { at, F_STACK, N_HIDDEN, N_INFO, N_LAYER } from './inode-table.js'
import type { Tables } from './tables.js'

/** A directory's word with its number in the index, which stands for all its lowers; 0: not indexed. */
export const N_STACKED = N_HIDDEN

/** At most this many layers in one mount. */
export const MAX_LAYERS = 512

/** A directory's reals, copied out of the tables. */
export class Reals {
  count = 0
  /** The index's directory that all the lowers among them are; 0: none. */
  stacked = 0
  readonly layers = new Int32Array(MAX_LAYERS)
  readonly paths = new Int32Array(MAX_LAYERS)

  push(layer: number, path: number): void {
    if (this.count === 0) this.stacked = 0
    this.layers[this.count] = layer
    this.paths[this.count++] = path
  }

  get hasUpper(): boolean {
    return this.count > 0 && this.layers[0] === 0
  }
}

/** Under the lock: copies a directory's reals out. */
export function readReals(t: Tables, node: number, out: Reals): void {
  const n = at(node)
  const layer = t.nodes[n + N_LAYER]!
  out.stacked = t.nodes[n + N_STACKED]!
  if ((t.nodes[n + N_INFO]! & F_STACK) === 0) {
    out.count = 1
    out.layers[0] = layer
    out.paths[0] = 0
    return
  }
  let w = -layer * 2
  const words = t.names.words
  const count = words[w++]!
  for (let i = 0; i < count; i++) {
    out.layers[i] = words[w++]!
    out.paths[i] = words[w++]!
  }
  out.count = count
}

/** Under the lock: the same, of an indexed directory with layers below `base` and one more only. */
export function readRealsAbove(t: Tables, node: number, base: number, out: Reals): void {
  const n = at(node)
  if (t.nodes[n + N_STACKED] === 0 || (t.nodes[n + N_INFO]! & F_STACK) === 0) {
    readReals(t, node, out)
    return
  }
  out.stacked = t.nodes[n + N_STACKED]!
  out.count = 0
  let w = -t.nodes[n + N_LAYER]! * 2
  const words = t.names.words
  const count = words[w++]!
  for (let layer = -1; layer < base && out.count < count; out.count++) {
    layer = words[w++]!
    out.layers[out.count] = layer
    out.paths[out.count] = words[w++]!
  }
}

/** Under the lock: the topmost layer where the directory is. */
export function topLayer(t: Tables, node: number): number {
  const n = at(node)
  const layer = t.nodes[n + N_LAYER]!
  return (t.nodes[n + N_INFO]! & F_STACK) === 0 ? layer : t.names.words[-layer * 2 + 1]!
}

/** Under the lock: the path reference of a directory's real in `layer`, 0 for the natural place. */
export function pathIn(t: Tables, node: number, layer: number): number {
  const n = at(node)
  if ((t.nodes[n + N_INFO]! & F_STACK) === 0) return 0
  let w = -t.nodes[n + N_LAYER]! * 2
  const words = t.names.words
  const end = w + 1 + 2 * words[w]!
  for (w++; w < end; w += 2) if (words[w] === layer) return words[w + 1]!
  return 0
}

/**
 * Under the lock: stores the reals of a directory and frees the list that was there. Paths are
 * taken over. Returns false when memory is out (nothing changed).
 */
export function writeReals(t: Tables, node: number, reals: Reals): boolean {
  const n = at(node)
  let layer = reals.layers[0]!
  let flags = 0
  if (reals.count > 1 || reals.paths[0] !== 0) {
    layer = t.names.alloc(stackBytes(reals.count))
    if (layer === 0) return false
    let w = -layer * 2
    t.names.words[w++] = reals.count
    for (let i = 0; i < reals.count; i++) {
      t.names.words[w++] = reals.layers[i]!
      t.names.words[w++] = reals.paths[i]!
    }
    flags |= F_STACK
  }
  releaseList(t, n)
  t.nodes[n + N_STACKED] = reals.stacked
  t.nodes[n + N_LAYER] = layer
  t.nodes[n + N_INFO] = (t.nodes[n + N_INFO]! & ~F_STACK) | flags
  return true
}

/** Under the lock: frees a directory's list and the paths in it, before the node goes. */
export function freeReals(t: Tables, node: number): void {
  const n = at(node)
  if ((t.nodes[n + N_INFO]! & F_STACK) === 0) return
  const w = -t.nodes[n + N_LAYER]! * 2
  const count = t.names.words[w]!
  for (let i = 0; i < count; i++) {
    const path = t.names.words[w + 2 + 2 * i]!
    if (path !== 0) freePath(t, path)
  }
  releaseList(t, n)
}

/** Under the lock: frees the paths of reals that no node took over, and empties the list. */
export function releasePaths(t: Tables, reals: Reals): void {
  for (let i = 0; i < reals.count; i++) if (reals.paths[i] !== 0) freePath(t, reals.paths[i]!)
  reals.count = 0
}

/** Under the lock: frees a stored path. */
export function freePath(t: Tables, path: number): void {
  t.names.free(path)
}

function stackBytes(count: number): number {
  return 4 + 8 * count
}

function releaseList(t: Tables, n: number): void {
  if ((t.nodes[n + N_INFO]! & F_STACK) === 0) return
  const layer = t.nodes[n + N_LAYER]!
  t.names.free(layer)
  t.nodes[n + N_INFO]! &= ~F_STACK
}
