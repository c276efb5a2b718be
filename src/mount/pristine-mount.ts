// The mount of an image beside that of a container of it: not a file system of its own, but the pristine
// tree (union/pristine.ts) of the container's mount, shown at the image's mount point. The engine then finds
// one device in both, and passes over everything that the container left alone.
//
// Only for a caller that made both mounts itself, or was told to compare them: both are soon taken off. Where
// anything is not as it must be the image gets a mount of its own, as ever.

import { randomUUID } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { O_DIRECTORY, O_PATH } from '../base/open-flags.js'
import { native } from '../sys/native.js'
import { makePristineRoot } from '../union/pristine.js'
import type { UnionState } from '../union/state.js'
import { Tables } from '../union/tables.js'
import type { MountRequest } from './arguments.js'
import { checkMountpoint } from './device.js'
import { deviceNumber, PRISTINE_PREFIX } from './mount-info.js'
import type { MountOptions } from './options.js'
import { encodePath } from './path-bytes.js'
import { realDirectory } from './real-path.js'

/** As many devices have inode numbers that can be told apart (union/attr.ts). */
const DEVICES_MAX = 62

/** A live mount that others may find a tree in. */
export type Host = {
  readonly mountpoint: string
  readonly device: string
  readonly options: MountOptions
  readonly isWritable: boolean
  /** What its layers' directories are, top first: see keyOfLayer(). */
  readonly layers: readonly string[]
  readonly state: UnionState
}

export function keyOfLayer({ dev, ino }: { dev: bigint; ino: bigint }): string {
  return `${dev}:${ino}`
}

/** Tells whether a request is for what a host may show: lowers alone. */
export function isImageMount({ options }: MountRequest): boolean {
  return options.upper === null && options.xino !== 'off'
}

/** Words of an engine's command line that ask for what a container changed; it may have been mounted long ago. */
const COMPARING = ['diff', 'commit']

/** Tells whether a process is an engine that compares a container with its image. */
export function isComparing(pid: number): boolean {
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0').slice(1)
    return words.some((word) => COMPARING.includes(word))
  } catch {
    return false
  }
}

/**
 * Shows the image that is asked for in one of these mounts (the likeliest first). Returns the device of
 * the mount that has it, undefined when none can; then nothing is changed. Never throws.
 */
export function showInHost(request: MountRequest, hosts: readonly Host[]): string | undefined {
  try {
    const layers = imageLayers(request.options.lower)
    for (const host of hosts) {
      const first = firstShown(host, layers)
      if (first < 0 || !isSameBut(host.options, request.options)) continue
      return show(host, first, request.mountpoint) ? host.device : undefined
    }
  } catch {
    // A mount of its own says what is wrong, if anything is.
  }
  return undefined
}

/** Returns the keys of lowers, less those at the bottom that are empty: they add nothing. */
function imageLayers(paths: readonly string[]): string[] {
  const layers = paths.map((path) => keyOfLayer(statSync(encodePath(path), { bigint: true })))
  for (let last = layers.length - 1; last > 0; last--) {
    if (readdirSync(encodePath(paths[last]!)).length > 0) break
    layers.pop()
  }
  return layers
}

/** Returns the host's layer from which on its layers are these, -1 when they are not. */
function firstShown({ layers, isWritable }: Host, wanted: readonly string[]): number {
  const first = layers.length - wanted.length
  const devices = new Set(layers.map((layer) => layer.split(':')[0]))
  if (devices.size > DEVICES_MAX || (isWritable ? first !== 1 : first < 1)) return -1
  return wanted.every((layer, i) => layers[first + i] === layer) ? first : -1
}

/** Options that say nothing of what the lowers look like. */
const UNLIKE = { lower: true, upper: true, work: true, readOnly: true, volatile: true, fsync: true } as const

function isSameBut(one: MountOptions, other: MountOptions): boolean {
  const rest = (options: MountOptions): string =>
    JSON.stringify(options, (key, value) => (key in UNLIKE ? undefined : value))
  return rest(one) === rest(other)
}

function show({ mountpoint, device, isWritable, state }: Host, first: number, target: string): boolean {
  const real = realDirectory('mount point', target)
  checkMountpoint(real, target)
  const name = `${PRISTINE_PREFIX}${randomUUID()}`
  if (makePristineRoot(new Tables(state), first, isWritable, Buffer.from(name)) === 0) return false
  const fd = native.openPath(encodePath(`${mountpoint}/${name}`), O_PATH | O_DIRECTORY, 0)
  if (fd < 0) return false
  // Another file system may have been mounted over it.
  const isThere = deviceNumber(statSync(`/proc/self/fd/${fd}`, { bigint: true }).dev) === device
  const tree = isThere ? native.cloneReadOnly(fd) : -1
  native.close(fd)
  if (tree < 0) return false
  const moved = native.moveMount(tree, encodePath(real))
  native.close(tree)
  return moved >= 0
}
