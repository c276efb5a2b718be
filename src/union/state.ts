// What all workers of one mount share: plain SharedArrayBuffers, sized for the maximum at start
// (pages are committed when touched), and the configuration. Structured-cloneable.
//
// Every table is guarded by the one mutex at HEADER[H_LOCK]; it is never held across a system
// call. Lock order: there is one lock. A worker never waits for anything while a node that it
// made odd (see inode-table.ts) is in its hands.

import { randomInt } from 'node:crypto'
import type { OverrideName } from '../format/markers.js'
import { NameArena } from './name-arena.js'
import { type SlabShape, Slabs, slabShape, slabStateBytes } from './slabs.js'

/** Words of the header; each contended one alone in its 64-byte line. */
export const H_LOCK = 0
export const H_CHANGES = 16 // bumped and notified when an odd node became even
export const H_GENERATION = 33 // what a node begins with whose record says nothing
export const H_NODE_LIVE = 34
export const H_DENTRY_LIVE = 37
export const H_SLOTS = 38 // slots of the dentry table in use, a power of two
export const H_TEMP = 39 // last number given to a temporary name in the workdir
export const H_LISTED = 42 // names listed without attributes, about; see eagerness.ts
export const H_ASKED = 43 // of those, the ones that were looked up afterwards
export const H_LINKS_REMOVED = 44 // 1: names of lower files with links were removed, see hard-links.ts
export const H_MOVES = 45 // bumped whenever a directory with lowers got another place
export const H_COPIES = 46 // copy-ups so far
export const H_INDEX = 47 // 0: no index, 1: in use, 2: damaged, and said so
export const H_DEVICES = 64 // st_dev of up to 63 devices, in the order they were met
export const H_DEVICE_COUNT = 63
export const HEADER_WORDS = 128

export const NODE_WORDS = 16
export const DENTRY_WORDS = 8
export const HANDLE_WORDS = 4
export const BLOCK_BYTES = 1024
export const FIRST_SLOTS = 1 << 14
const LINK_SLOTS = 1 << 16

/** One layer: its root as an O_PATH fd, valid in every worker (fds are process-wide). */
export type LayerConfig = {
  fd: number
  path: string
  hasDotWhiteouts: boolean
  /** st_dev as the kernel packs it; known once the state is made. */
  device?: number
}

/** A range of ids: `disk`.. on the layers is shown as `shown`.., `count` long. */
export type IdRange = { disk: number; shown: number; count: number }

export type DataMode = 'passthrough' | 'cache' | 'no-open'

export type UnionConfig = {
  /** Top first; index 0 is the upper when `isWritable`. */
  layers: LayerConfig[]
  isWritable: boolean
  /** The workdir's fd; -1 when read-only. */
  workFd: number
  /** The FUSE device fd, for backing ids. */
  device: number
  dataMode: DataMode
  /** Lower files of at least this many bytes are read by passthrough. */
  passthroughMin: number
  isVolatile: boolean
  /** Of copies to the upper: DURABILITY_* of sys/native.ts. */
  durability: number
  hasRedirects: boolean
  /** Inode numbers of further devices carry the device, so that they differ from those of the first. */
  hasXino: boolean
  /** `trusted.overlay.` or, where that is refused, `user.overlay.`. */
  xattrPrefix: string
  /** Whiteouts that we write: a character device 0:0, or `.wh.NAME`. */
  whiteouts: 'device' | 'dot-wh'
  /** Owner and mode are kept in an attribute: which is written; all that are known are read. */
  overrideName: OverrideName | null
  uidMap: IdRange[]
  gidMap: IdRange[]
  squashUid: number
  squashGid: number
  maxNodes: number
  maxFds: number
  /** fds that this mount's workers may keep for directories, in all. */
  maxDirFds: number
  workers: number
  isUnlocked: boolean
  /** The file of the lowers' index (src/index): it covers all layers but the upper. */
  indexFd?: number
}

/** References to constant strings in the name arena, made once per mount. */
export type Refs = {
  opaque: number
  redirect: number
  impure: number
  ino: number
  links: number
  whiteoutName: number
  defaultAcl: number
  capability: number
  override: number[]
}

export type UnionState = {
  config: UnionConfig
  refs: Refs
  header: SharedArrayBuffer
  nodes: SharedArrayBuffer
  dentries: SharedArrayBuffer
  slots: SharedArrayBuffer
  links: SharedArrayBuffer
  names: SharedArrayBuffer
  handles: SharedArrayBuffer
  blocks: SharedArrayBuffer
  /** What is used of some of them; see slabs.ts. */
  slabs: Record<'nodes' | 'dentries' | 'blocks' | 'names', SharedArrayBuffer>
}

export const ROOT = 1

/** Units of a chunk, for each table that gives memory back: 64 KiB. */
const NODE_CHUNK = 1024
const DENTRY_CHUNK = 2048
const BLOCK_CHUNK = 64

/** How the tables of a mount with room for `maxNodes` are divided. */
export function tableShapes(maxNodes: number): Record<'nodes' | 'dentries' | 'blocks', SlabShape> {
  const blocks = Math.floor(blockTableBytes(maxNodes) / BLOCK_BYTES)
  return {
    nodes: slabShape(maxNodes, NODE_CHUNK, 1),
    dentries: slabShape(maxNodes, DENTRY_CHUNK, 1),
    blocks: slabShape(blocks, BLOCK_CHUNK, 1),
  }
}

function blockTableBytes(maxNodes: number): number {
  return Math.min(maxNodes * 64, 2 ** 31 - BLOCK_BYTES)
}

function reserve(shape: SlabShape, state: SharedArrayBuffer, count: number): void {
  new Slabs(shape, state, new Int32Array(0), 1, 0).reserve(count)
}

function stateFor(shape: SlabShape): SharedArrayBuffer {
  return new SharedArrayBuffer(slabStateBytes(shape))
}

/** Makes the tables of a mount, empty; union-fs.ts fills in constants and the root. */
export function createTables(config: UnionConfig): UnionState {
  const { maxNodes, maxFds } = config
  const slots = 2 * 2 ** Math.ceil(Math.log2(maxNodes))
  const shapes = tableShapes(maxNodes)
  const nameBytes = Math.min(maxNodes * 48, 2 ** 31 - 8)
  const state: UnionState = {
    config,
    refs: {
      opaque: 0,
      redirect: 0,
      impure: 0,
      ino: 0,
      links: 0,
      whiteoutName: 0,
      defaultAcl: 0,
      capability: 0,
      override: [],
    },
    header: new SharedArrayBuffer(HEADER_WORDS * 4),
    nodes: new SharedArrayBuffer(maxNodes * NODE_WORDS * 4),
    dentries: new SharedArrayBuffer(maxNodes * DENTRY_WORDS * 4),
    slots: new SharedArrayBuffer(slots * 4),
    links: new SharedArrayBuffer(LINK_SLOTS * 4),
    names: new SharedArrayBuffer(nameBytes),
    handles: new SharedArrayBuffer(maxFds * HANDLE_WORDS * 4),
    blocks: new SharedArrayBuffer(blockTableBytes(maxNodes)),
    slabs: {
      nodes: stateFor(shapes.nodes),
      dentries: stateFor(shapes.dentries),
      blocks: stateFor(shapes.blocks),
      names: stateFor(NameArena.shape(nameBytes)),
    },
  }
  const header = new Int32Array(state.header)
  header[H_GENERATION] = 1
  header[H_SLOTS] = Math.min(FIRST_SLOTS, slots)
  // A random start: the daemon of the mount before may still be deleting what it named.
  header[H_TEMP] = randomInt(1, 2 ** 30)
  // Number 0 is nobody: it means "none". The root is there for good.
  reserve(shapes.nodes, state.slabs.nodes, ROOT + 1)
  reserve(shapes.dentries, state.slabs.dentries, 1)
  reserve(shapes.blocks, state.slabs.blocks, 1)
  reserve(NameArena.shape(nameBytes), state.slabs.names, 1)
  return state
}
