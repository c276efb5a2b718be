// What the union is told: mount options and opened layers as its configuration, with what only a look at
// this process and these directories can tell (may we write trusted.* names, make whiteouts, …).

import { existsSync, readFileSync, readlinkSync, statfsSync, statSync } from 'node:fs'
import { basename } from 'node:path'
import { OVERRIDE_STAT, type OverrideName } from '../format/markers.js'
import type { OpenIndex } from '../index/files.js'
import { DURABILITY_NONE, DURABILITY_ORDERED, DURABILITY_SYNCED, native } from '../sys/native.js'
import type { UnionConfig } from '../union/state.js'
import { createArena, SCRATCH_NAME, SCRATCH_VALUE } from '../vfs/arena.js'
import { MountError } from './errors.js'
import { fdPath, type Layers } from './layers.js'
import type { IdRange, MountOptions } from './options.js'

const S_IFCHR = 0o020000
const CAP_SYS_ADMIN = 21n
const EXT4_SUPER_MAGIC = 0xef53
/** Lower files from here on are opened for passthrough; smaller ones are cheaper in the page cache. */
const PASSTHROUGH_MIN_BYTES = 128 * 1024
const NO_ID = -1

/** Tells whether names in `trusted.` can be used: that takes CAP_SYS_ADMIN outside all user namespaces. */
function canUseTrusted(): boolean {
  try {
    const status = readFileSync('/proc/self/status', 'latin1')
    const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? '0'}`)
    const isInitial = /^\s*0\s+0\s+4294967295\s*$/.test(readFileSync('/proc/self/uid_map', 'latin1'))
    return isInitial && (effective & (1n << CAP_SYS_ADMIN)) !== 0n
  } catch {
    return false
  }
}

/** Asks the directories themselves. Needs this thread's arena; attaches one of its own for the while. */
class Probe {
  readonly #bytes: Uint8Array

  constructor() {
    const arena = createArena()
    this.#bytes = arena.bytes
    native.attach(arena.bytes, new Uint8Array(new SharedArrayBuffer(64)))
  }

  #put(name: string): number {
    const length =
      this.#bytes.length > 0 ? Buffer.from(this.#bytes.buffer).write(name, SCRATCH_NAME, 'latin1') : 0
    this.#bytes[SCRATCH_NAME + length] = 0
    return SCRATCH_NAME
  }

  /** Tells whether a whiteout in the kernel's form can be made beside the upper. */
  canMakeWhiteout(workFd: number): boolean {
    const name = this.#put(`#probe.${process.pid}`)
    const made = native.mknodAt(workFd, name, S_IFCHR, 0, -1, -1, 0)
    if (made >= 0) native.unlinkAt(workFd, name, 0)
    return made >= 0
  }

  hasXattr(fd: number, name: string): boolean {
    return native.getXattrAt(fd, 0, this.#put(name), SCRATCH_VALUE, 0) >= 0
  }
}

function ranges(map: readonly IdRange[]): UnionConfig['uidMap'] {
  return map.map(({ inside, outside, count }) => ({ disk: inside, shown: outside, count }))
}

/**
 * Says how a copy must reach the disk before it is renamed into place. On ext4 with a journal its data
 * is waited for, not the journal (which is what takes long): a commit flushes the disk's cache before it
 * counts, and the extents of a file are converted before its write is over (fs/ext4/page-io.c:
 * ext4_end_io_end()), so whoever finds the new name finds the data. Anywhere else it is synced.
 */
function durabilityOf(layers: Layers): number {
  if (!layers.isWritable) return DURABILITY_SYNCED
  try {
    const path = fdPath(layers.scratchFd)
    if (statfsSync(path).type !== EXT4_SUPER_MAGIC) return DURABILITY_SYNCED
    const { dev } = statSync(path)
    const [major, minor] = [(dev >>> 8) & 0xfff, (dev & 0xff) | ((dev >>> 12) & 0xfff00)]
    const device = basename(readlinkSync(`/sys/dev/block/${major}:${minor}`))
    return existsSync(`/proc/fs/jbd2/${device}-8`) ? DURABILITY_ORDERED : DURABILITY_SYNCED
  } catch {
    return DURABILITY_SYNCED
  }
}

/** Throws a MountError when the attribute that is to keep owner and mode can't be written by this process. */
export function checkXattrPermissions({ xattrPermissions }: MountOptions): void {
  if (xattrPermissions !== 1 || canUseTrusted()) return
  throw new MountError('--xattr-permissions=1 takes root; use --xattr-permissions=2', 'EPERM')
}

/**
 * Returns the attribute that owner and mode are kept in, null for none: as asked for, or as a layer's root is
 * marked. Of the two names for users a mark decides; the older one is fuse-overlayfs's.
 */
function overrideName(options: MountOptions, isMarked: (name: OverrideName) => boolean): OverrideName | null {
  const [containers, fuseOverlayfs, security] = OVERRIDE_STAT
  if (options.xattrPermissions === 1) return security
  const marked = [containers, fuseOverlayfs].find(isMarked)
  if (marked !== undefined) return marked
  return options.xattrPermissions === 2 ? containers : null
}

/**
 * Returns the union's configuration. `device` is the mounted FUSE device, `files` how many the process may
 * have open, and how many mounts share them.
 */
export function unionConfig(
  options: MountOptions,
  layers: Layers,
  device: number,
  workers: number,
  { maxFds, share }: { readonly maxFds: number; readonly share: number },
  index?: OpenIndex,
): UnionConfig {
  const probe = new Probe()
  const isDotWanted = process.env.FUSE_OVERLAYFS_DISABLE_OVL_WHITEOUT === '1'
  const canMakeWhiteout = layers.isWritable && !isDotWanted && probe.canMakeWhiteout(layers.scratchFd)
  // An index has been asked already.
  const asked = index === undefined ? layers.layers : layers.layers.slice(0, layers.isWritable ? 1 : 0)
  const isVolatile = options.volatile || !options.fsync
  const override = overrideName(options, (name) => asked.some(({ fd }) => probe.hasXattr(fd, name)))
  return {
    layers: layers.layers.map(({ fd, path }) => ({ fd, path, hasDotWhiteouts: true })),
    isWritable: layers.isWritable,
    workFd: layers.scratchFd,
    device,
    dataMode: options.data,
    passthroughMin: PASSTHROUGH_MIN_BYTES,
    isVolatile,
    durability: isVolatile ? DURABILITY_NONE : durabilityOf(layers),
    hasRedirects: options.redirectDir,
    hasXino: options.xino !== 'off',
    xattrPrefix: canUseTrusted() ? 'trusted.overlay.' : 'user.overlay.',
    whiteouts: canMakeWhiteout || !layers.isWritable ? 'device' : 'dot-wh',
    overrideName: override,
    uidMap: ranges(options.uidMapping),
    gidMap: ranges(options.gidMapping),
    squashUid: options.squashToRoot ? 0 : (options.squashToUid ?? NO_ID),
    squashGid: options.squashToRoot ? 0 : (options.squashToGid ?? NO_ID),
    maxNodes: options.maxNodes,
    maxFds,
    maxDirFds: Math.max(64, Math.floor(maxFds / 4 / share)),
    workers,
    isUnlocked: process.env.MICA_TEST_UNLOCKED === '1',
    // Attributes that override owner and mode are not in an index.
    ...(index === undefined || override !== null ? {} : { indexFd: index.fd }),
  }
}
