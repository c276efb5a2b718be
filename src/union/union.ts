// One worker's hold on the union: the shared tables, its own arena and directory fds, and the few
// scratch results that the verbs of this folder pass on without allocating.

import { viewStack } from '../index/files.js'
import type { IndexView } from '../index/view.js'
import type { Native } from '../sys/native.js'
import type { Arena } from '../vfs/arena.js'
import type { Caller, OpenResult } from '../vfs/file-system.js'
import { DirFds } from './dir-fds.js'
import { ListWriter } from './dir-list.js'
import { Reals } from './dir-stack.js'
import { IdMap } from './id-map.js'
import type { Refs, UnionConfig, UnionState } from './state.js'
import { Tables } from './tables.js'

/** A byte of the arena that holds "y", the value of a set marker, for ever. */
export const YES_AT = 2048

/** A copy-up whose data is on its way. */
export type CopyJob = { node: number; from: number; to: number }

export class Union {
  readonly config: UnionConfig
  readonly t: Tables
  readonly sys: Native
  readonly bytes: Uint8Array
  readonly u32: Uint32Array
  readonly i32: Int32Array
  readonly dirs: DirFds
  readonly ids: IdMap
  readonly refs: Refs
  readonly caller: Caller = { uid: 0, gid: 0, pid: 0, umask: 0o022 }
  readonly opened: OpenResult = { handle: 0, flags: 0, backingId: 0 }
  /** Copy-ups in flight that this worker started, by job number. */
  readonly jobs = new Map<number, CopyJob>()
  /** Largest layer index; lowers are 1.. when writable, else 0.. */
  readonly lastLayer: number
  readonly isWritable: boolean
  /** Owner and mode may be kept in an attribute: see override.ts. */
  readonly hasOverride: boolean
  /** The lowers' index, null without one; damaged, it answers nothing any more. */
  readonly index: IndexView | null
  /** Why there is no index though the configuration has one. */
  indexError: string | undefined
  /** The index's first layer. */
  readonly indexBase: number
  /** st_dev of each layer, as the kernel packs it. */
  readonly devices: Int32Array
  /** Told once when the index turns out to be damaged. */
  onDamage: (damage: string) => void = () => {}

  /** Directories that the upper's redirects moved, as of a count of moves; see hard-links.ts. */
  moved: { at: number; list: { from: Buffer; to: Buffer }[] } | undefined

  /** Link groups of the layers scanned so far: ino (as a decimal pair) to the paths in the layer. */
  readonly linkGroups = new Map<number, Map<string, Buffer[]>>()
  /** Its count is that of the directory merged last, hidden entries too. */
  readonly writer: ListWriter
  readonly lowerWriter: ListWriter
  /** A backing id was refused to this process: the page cache does all data. */
  hasNoPassthrough = false
  /** The kernel took no file's bytes unasked. */
  hasNoStore = false

  // The address found by locate(): a directory fd (or the object's own) and a name in it.
  node = 0
  fd = -1
  ref = 0
  seq = 0
  layer = 0

  /** A listing is under way in the arena's SCRATCH_DIRENTS: nothing else may read a directory. */
  isListing = false

  // Scratch lists: the parent's reals and what a lookup found.
  readonly reals = new Reals()
  readonly found = new Reals()
  readonly other = new Reals()

  constructor(state: UnionState, arena: Arena, sys: Native) {
    this.config = state.config
    this.t = new Tables(state)
    this.writer = new ListWriter(this.t)
    this.lowerWriter = new ListWriter(this.t)
    this.sys = sys
    this.bytes = arena.bytes
    this.u32 = arena.u32
    this.i32 = arena.i32
    this.refs = state.refs
    arena.bytes[YES_AT] = 0x79
    this.lastLayer = state.config.layers.length - 1
    this.isWritable = state.config.isWritable
    this.hasOverride = state.config.overrideName !== null
    this.devices = Int32Array.from(state.config.layers, ({ device }) => device ?? 0)
    this.indexBase = this.isWritable ? 1 : 0
    this.index = this.#openIndex()
    this.ids = new IdMap(state.config)
    sys.attach(arena.bytes, this.t.names.bytes)
    this.dirs = new DirFds(sys, Math.max(64, Math.floor(state.config.maxDirFds / state.config.workers)))
  }

  /** A worker that can't have the index asks the layers. */
  #openIndex(): IndexView | null {
    const { indexFd } = this.config
    if (indexFd === undefined) return null
    try {
      return viewStack(indexFd, (damage) => this.onDamage(damage))
    } catch (error) {
      this.indexError = (error as Error).message
      return null
    }
  }

  isUpper(layer: number): boolean {
    return layer === 0 && this.isWritable
  }
}
