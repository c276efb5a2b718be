// Layers on disk and one mount over them, in a temporary folder of its own. It proves at its end
// that the lowers are what they were and that nothing is left mounted.
import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type Driver,
  lazyUnmount,
  type Mounted,
  type MountOptions,
  mountsBelow,
  mountVolume,
  pause,
  type Volume,
} from './driver.js'
import type { Snapshot, Syscalls } from './syscalls.js'
import { dir, type Tree } from './tree.js'

export type Layers = {
  /** Top first. */
  lowers: Tree[]
  /** null: a mount without an upper. */
  upper?: Tree | null
  mount?: MountOptions
  /** File systems of their own: for each lower, and for the folder that holds upper and work. */
  volumes?: { lowers?: (Volume | null)[]; upper?: Volume }
}

export class Fixture {
  readonly driver: Driver
  readonly folder: string
  readonly lowers: string[]
  readonly upper: string
  readonly work: string
  readonly path: string
  readonly #layers: Layers
  readonly #root: Syscalls
  #mounted: Mounted | null = null

  constructor(driver: Driver, layers: Layers, root: Syscalls) {
    this.driver = driver
    this.#layers = layers
    this.#root = root
    this.folder = mkdtempSync(join(tmpdir(), 'mica-mount-'))
    chmodSync(this.folder, 0o755)
    this.lowers = layers.lowers.map((_, i) => join(this.folder, `lower${i}`))
    this.upper = join(this.folder, 'up/upper')
    this.work = join(this.folder, 'up/work')
    this.path = join(this.folder, 'merged')
    this.#build()
  }

  #build(): void {
    const { volumes, lowers, upper } = this.#layers
    this.lowers.forEach((lower, i) => {
      mkdirSync(lower)
      const volume = volumes?.lowers?.[i]
      if (volume) mountVolume(lower, volume)
      this.#root.call('build', lower, dir(lowers[i]!))
    })
    mkdirSync(join(this.folder, 'up'))
    mkdirSync(this.path)
    if (volumes?.upper) mountVolume(join(this.folder, 'up'), volumes.upper)
    mkdirSync(this.work)
    this.#root.call('build', this.upper, dir(upper ?? {}))
  }

  mount(options = this.#layers.mount): void {
    const { lowers, path, upper, work } = this
    const writable = this.#layers.upper === null ? {} : { upper, work }
    this.#mounted = this.driver.mount({ lowers, path, ...writable, ...(options && { options }) })
    assert.ok(mountsBelow(path).includes(path), 'the mount is live when its command returns')
  }

  unmount(): void {
    this.#mounted?.unmount()
    this.#mounted = null
  }

  remount(): void {
    this.unmount()
    this.mount()
  }

  /** Mounts anew when an earlier case lost the mount or its server: one failure shall not become many. */
  revive(): void {
    const isThere = mountsBelow(this.path).includes(this.path)
    if (isThere && this.#root.errno('lstat', this.path) !== 'ENOTCONN') return
    lazyUnmount(this.path)
    this.mount()
  }

  get canKillDaemon(): boolean {
    return this.#mounted?.killDaemon !== undefined
  }

  killDaemon(): void {
    this.#mounted!.killDaemon!()
    this.#mounted = null
  }

  lowerSnapshots(below = ''): Snapshot[] {
    return this.lowers.map((lower) => {
      const path = join(lower, below)
      return this.#root.exists(path) ? this.#root.snapshot(path) : {}
    })
  }

  /** What lies in the workdir besides its folders, the hard-link index and spare whiteouts. */
  leftovers(): string[] {
    // An upper that was mounted volatile and crashed stays marked: work/incompat/volatile.
    const isKept = (path: string) =>
      /^(work|work\/incompat(\/volatile.*)?|index|index\/.*)\/?$|^(work\/)?[^/]*%$/.test(path)
    const look = () => this.#root.walk(this.work).filter((path) => !isKept(path))
    // The server hears of the last close of a file only after close(2) has returned.
    for (let i = 0; i < 50 && look().length > 0; i++) pause(10)
    return look()
  }

  /** Unmounts what is mounted and removes the folder. Throws if something had to be forced. */
  finish(): void {
    let trouble: unknown
    try {
      this.unmount()
    } catch (error) {
      trouble = error
    }
    const isLeft = mountsBelow(this.path).length > 0
    for (const point of mountsBelow(this.folder)) lazyUnmount(point)
    this.#root.call('remove_tree', this.folder)
    if (trouble) throw trouble
    assert.equal(isLeft, false, 'nothing is left mounted')
  }
}
