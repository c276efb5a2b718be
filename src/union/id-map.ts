// User and group ids: what the disk holds against what the mount shows (uidmapping, gidmapping,
// squash_to_*). Without a mapping every id is itself, at the cost of one test.

import type { IdRange, UnionConfig } from './state.js'

/** What an id without a mapping is shown as (kernel: overflowuid). */
const OVERFLOW_ID = 65534

export class IdMap {
  readonly isIdentity: boolean
  readonly #uids: IdRange[]
  readonly #gids: IdRange[]
  readonly #squashUid: number
  readonly #squashGid: number

  constructor(config: UnionConfig) {
    this.#uids = config.uidMap
    this.#gids = config.gidMap
    this.#squashUid = config.squashUid
    this.#squashGid = config.squashGid
    this.isIdentity =
      this.#uids.length === 0 && this.#gids.length === 0 && this.#squashUid < 0 && this.#squashGid < 0
  }

  /** Owners are not kept apart: changing one has no effect. */
  get isSquashed(): boolean {
    return this.#squashUid >= 0 || this.#squashGid >= 0
  }

  /** Tells whether a wanted owner has no id on disk (kernel: EINVAL). `valid`: FATTR_UID 2, FATTR_GID 4. */
  isUnmapped(uid: number, gid: number, valid: number): boolean {
    if (this.isIdentity || this.isSquashed) return false
    return ((valid & 2) !== 0 && uid < 0) || ((valid & 4) !== 0 && gid < 0)
  }

  shownUid(disk: number): number {
    return this.#squashUid >= 0 ? this.#squashUid : shown(this.#uids, disk)
  }

  shownGid(disk: number): number {
    return this.#squashGid >= 0 ? this.#squashGid : shown(this.#gids, disk)
  }

  /** The id to store for one that a caller gave; -1 when there is none. */
  diskUid(shownId: number): number {
    return this.#squashUid >= 0 ? -1 : disk(this.#uids, shownId)
  }

  diskGid(shownId: number): number {
    return this.#squashGid >= 0 ? -1 : disk(this.#gids, shownId)
  }
}

function shown(ranges: IdRange[], id: number): number {
  if (ranges.length === 0) return id
  for (const range of ranges) {
    if (id >= range.disk && id - range.disk < range.count) return range.shown + (id - range.disk)
  }
  return OVERFLOW_ID
}

function disk(ranges: IdRange[], id: number): number {
  if (ranges.length === 0) return id
  for (const range of ranges) {
    if (id >= range.shown && id - range.shown < range.count) return range.disk + (id - range.shown)
  }
  return -1
}
