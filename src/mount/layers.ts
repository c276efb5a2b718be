// Opens the directories of a mount and checks that they make a union: which ones exist, whether they
// lie inside each other, whether the workdir can be used. Knows nothing of what is in a layer.
//
// Everything is resolved to fds once, before the mount: later the mount point may cover a layer.
// Places are compared by (device, inode) while walking up, never by their names: a layer may be given as
// `l/XX../../diff1` where `l/XX..` is a symbolic link.

import {
  accessSync,
  type BigIntStats,
  constants,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
} from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { O_PATH } from '../base/open-flags.js'
import { native } from '../sys/native.js'
import { type Claim, claimWorkdir } from './claim.js'
import { MountError, reasonOf, systemError } from './errors.js'
import { readMounts } from './mount-info.js'
import type { MountOptions } from './options.js'
import { decodePath, encodePath, showPath } from './path-bytes.js'
import { isLive, readRecords } from './runtime-dir.js'

const O_DIRECTORY = constants.O_DIRECTORY

/** One opened directory. `path` is as given. */
export type Layer = { readonly fd: number; readonly path: string; readonly stat: BigIntStats }

export type Layers = {
  /** Top first; the upper, when there is one, is the first. */
  readonly layers: readonly Layer[]
  readonly isWritable: boolean
  /** The workdir as given; -1 without an upper that is written. */
  readonly workFd: number
  /** `work` in the workdir, where temporary objects are made; -1 like workFd. */
  readonly scratchFd: number
  /** The hold on the upper; undefined when it is not written. */
  readonly claim: Claim | undefined
  /** Lets go of all fds and of the claim. */
  close(): void
}

type Place = { fd: number; readonly path: string; readonly what: string; readonly stat: BigIntStats }

/** Returns a path that leads to what an fd refers to. */
export function fdPath(fd: number): string {
  return `/proc/self/fd/${fd}`
}

function openDirectory(what: string, path: string): Place {
  const fd = native.openPath(encodePath(path), O_PATH | O_DIRECTORY, 0)
  if (fd < 0) throw systemError(fd, what, showPath(path), 'open')
  try {
    return { fd, path, what, stat: statSync(fdPath(fd), { bigint: true }) }
  } catch (error) {
    native.close(fd)
    throw new MountError(`${what} ${showPath(path)}: ${reasonOf(error)}`, codeOf(error), {
      path,
      syscall: 'stat',
    })
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? 'EIO'
}

function checkAccess(place: Place, mode: number): void {
  try {
    accessSync(fdPath(place.fd), mode)
  } catch (error) {
    throw new MountError(`${place.what} ${showPath(place.path)}: ${reasonOf(error)}`, codeOf(error), {
      path: place.path,
      syscall: 'access',
    })
  }
}

const key = (stat: BigIntStats): string => `${stat.dev}:${stat.ino}`

/**
 * Throws when one of these places is another one or lies inside another one.
 * Each chain of parents is walked up to `/` or to a directory that was passed before.
 */
function checkApart(places: readonly Place[]): void {
  const byKey = new Map<string, Place>()
  for (const place of places) {
    const other = byKey.get(key(place.stat))
    if (other !== undefined) {
      throw new MountError(`${name(place)} is the same directory as ${name(other)}; give each layer its own`)
    }
    byKey.set(key(place.stat), place)
  }
  const seen = new Set<string>()
  for (const place of places) {
    let path = fdPath(place.fd)
    let at = key(place.stat)
    for (;;) {
      path += '/..'
      const up = key(statUp(place, path))
      if (up === at || seen.has(up)) break
      at = up
      const outer = byKey.get(at)
      if (outer !== undefined) {
        throw new MountError(`${name(place)} lies inside ${name(outer)}; layers must be apart`)
      }
      seen.add(at)
    }
  }
}

function statUp(place: Place, path: string): BigIntStats {
  try {
    return statSync(path, { bigint: true })
  } catch (error) {
    throw new MountError(`${name(place)}: a directory above it can't be looked at: ${reasonOf(error)}`)
  }
}

function name(place: Place): string {
  return `${place.what} ${showPath(place.path)}`
}

/** Returns the id of the mount that an fd lies on. */
function mountIdOf(fd: number): string {
  return /^mnt_id:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1] ?? ''
}

/** Names in a workdir that are a union driver's own: the kernel's `work` and `index`, and ours. */
function isOurs(entry: string): boolean {
  return entry === 'work' || entry === 'index' || entry.startsWith('#') || entry.startsWith('mica')
}

function checkWork(work: Place, upper: Place): void {
  const isElsewhere = work.stat.dev !== upper.stat.dev || mountIdOf(work.fd) !== mountIdOf(upper.fd)
  if (isElsewhere) {
    throw new MountError(
      `${name(work)} is on another file system than ${name(upper)}; put them side by side`,
      'EXDEV',
    )
  }
  const foreign = readdirSync(fdPath(work.fd), 'buffer')
    .map(decodePath)
    .find((entry) => !isOurs(entry))
  if (foreign !== undefined) {
    throw new MountError(
      `${name(work)} is not empty: it holds '${showPath(foreign)}'; give an empty directory`,
      'ENOTEMPTY',
    )
  }
}

/**
 * Throws when a live mount writes to this upper. With the same workdir the claim in there decides;
 * this finds the one that was given another workdir.
 */
function checkUnused(upper: Place): void {
  for (const record of readRecords()) {
    if (record.upper === null) continue
    const stat = statOf(record.upper)
    if (stat === undefined || key(stat) !== key(upper.stat) || !isLive(record)) continue
    throw new MountError(
      `${name(upper)} is in use by the mount at ${showPath(record.mountpoint)}; mica umount it first`,
      'EBUSY',
    )
  }
}

/** Returns undefined for what is gone, or belongs to somebody else. */
function statOf(path: string): BigIntStats | undefined {
  try {
    return statSync(encodePath(path), { bigint: true })
  } catch {
    return undefined
  }
}

/** Throws when the mount would lie inside a layer: the union would then find itself in there, and wait. */
function checkOutside(mountpoint: string, layers: readonly Place[]): void {
  const byKey = new Map(layers.map((layer) => [key(layer.stat), layer]))
  for (let path = dirname(mountpoint); ; path = dirname(path)) {
    const stat = statSync(encodePath(path), { bigint: true, throwIfNoEntry: false })
    const layer = stat === undefined ? undefined : byKey.get(key(stat))
    if (layer !== undefined) {
      throw new MountError(`the mount point lies inside ${name(layer)}; mount it outside of all layers`)
    }
    if (path === '/' || path === '.') return
  }
}

/**
 * With ids mapped by us a lower is wanted as it is on disk. An engine may give it through a mount that maps ids
 * as well (podman's --userns=auto as root does both): the same directory by another mount then takes its place.
 */
function unmapped(place: Place): void {
  const mounts = readMounts()
  const id = Number(mountIdOf(place.fd))
  const given = mounts.find((mount) => mount.id === id)
  if (given === undefined || !given.options.split(',').includes('idmapped')) return
  const below = relative(given.mountpoint, decodePath(readlinkSync(fdPath(place.fd), 'buffer')))
  const path = join(given.root, below)
  for (const { device, root, mountpoint, options } of mounts) {
    if (device !== given.device || options.split(',').includes('idmapped')) continue
    if (root !== '/' && path !== root && !path.startsWith(`${root}/`)) continue
    const fd = native.openPath(encodePath(join(mountpoint, relative(root, path))), O_PATH | O_DIRECTORY, 0)
    if (fd < 0) continue
    const stat = statSync(fdPath(fd), { bigint: true })
    if (key(stat) === key(place.stat)) {
      native.close(place.fd)
      place.fd = fd
      return
    }
    native.close(fd)
  }
}

/** Reaches a lower through a read-only mount of our own from here on, where we may make one. */
function protect(lower: Place): void {
  const fd = native.cloneReadOnly(lower.fd)
  if (fd < 0) return
  native.close(lower.fd)
  lower.fd = fd
}

/** Opens and checks all layers. `mountpoint` is a real path. Ensures on failure that nothing stays open and nothing was changed. */
export function openLayers(options: MountOptions, mountpoint: string): Layers {
  const opened: Place[] = []
  const open = (what: string, path: string): Place => {
    const place = openDirectory(what, path)
    opened.push(place)
    return place
  }
  const closeAll = (): void => {
    for (const { fd } of opened.splice(0)) native.close(fd)
  }
  try {
    const isWritable = options.upper !== null && !options.readOnly
    const upper = options.upper === null ? undefined : open('upper', options.upper)
    const lowers = options.lower.map((path) => open('lower', path))
    const work = isWritable && options.work !== null ? open('workdir', options.work) : undefined
    const layers = upper === undefined ? lowers : [upper, ...lowers]
    for (const layer of layers) checkAccess(layer, constants.R_OK | constants.X_OK)
    checkApart(work === undefined ? layers : [...layers, work])
    if (mountpoint !== '') checkOutside(mountpoint, layers)
    let claim: Claim | undefined
    let scratchFd = -1
    if (isWritable) {
      checkAccess(upper!, constants.W_OK)
      checkAccess(work!, constants.R_OK | constants.W_OK | constants.X_OK)
      checkWork(work!, upper!)
      checkUnused(upper!)
      claim = claimWorkdir(fdPath(work!.fd), showPath(options.upper!), mountpoint)
      scratchFd = open('workdir', `${fdPath(work!.fd)}/work`).fd
    }
    if (options.uidMapping.length > 0 || options.gidMapping.length > 0)
      for (const lower of lowers) unmapped(lower)
    for (const lower of lowers) protect(lower)
    return {
      layers: layers.map(({ fd, path, stat }) => ({ fd, path, stat })),
      isWritable,
      workFd: work?.fd ?? -1,
      scratchFd,
      claim,
      close() {
        claim?.release()
        closeAll()
      },
    }
  } catch (error) {
    closeAll()
    throw error
  }
}
