// From a real object's Stat to the attributes that the mount shows.

import { EIO } from '../base/errno.js'
import {
  SCRATCH_VALUE,
  STAT_BLKSIZE,
  STAT_FLAGS,
  STAT_GID,
  STAT_INO,
  STAT_IS_FLEETING,
  STAT_MODE,
  STAT_NLINK,
  STAT_RDEV,
  STAT_SIZE,
  STAT_UID,
} from '../vfs/arena.js'
import { hasMoved, locate } from './address.js'
import { listBytes } from './eagerness.js'
import { statIndexed } from './indexed.js'
import {
  at,
  F_NAMELESS,
  F_TWIN,
  isLive,
  N_HIDDEN,
  N_INFO,
  N_INO,
  N_IO,
  N_LAYER,
  T_DIR,
  T_REG,
  TYPE_MASK,
} from './inode-table.js'
import { H_DEVICE_COUNT, H_DEVICES } from './state.js'
import type { Union } from './union.js'

export const S_IFMT = 0o170000
export const S_IFDIR = 0o040000
export const S_IFREG = 0o100000
export const S_IFCHR = 0o020000
export const S_IFLNK = 0o120000

/**
 * Returns in u.inoLo/u.inoHi form (the two words at `out`) the ino to show for a real object: its
 * own, with the number of its device above bit 48 so that layers on two devices differ. Our first
 * layer's device is 0, so on one file system inos are the real ones.
 */
export function showIno(u: Union, lo: number, hi: number, device: number, out: Int32Array): void {
  const index = u.config.hasXino ? deviceIndex(u, device) : 0
  if (index !== 0) {
    if (hi >>> 16 === 0) hi |= index << 16
    else {
      // A 64-bit ino leaves no room: mix the device in, and set the top bit to stay apart.
      lo = Math.imul(lo ^ Math.imul(index, 0x9e3779b1), 0x85ebca6b) ^ hi
      hi = Math.imul(hi ^ index, 0xc2b2ae35) | 0x80000000
    }
  }
  out[0] = lo
  out[1] = hi
}

/** Returns the number of a device among those of the layers; the first one's is 0. */
export function deviceIndex(u: Union, dev: number): number {
  const device = dev | 0 // as the table gives it back
  const header = u.t.header
  const count = Atomics.load(header, H_DEVICE_COUNT)
  for (let i = 0; i < count; i++) if (header[H_DEVICES + i] === device) return i
  u.t.lock()
  const now = header[H_DEVICE_COUNT]!
  for (let i = count; i < now; i++) {
    if (header[H_DEVICES + i] === device) {
      u.t.unlock()
      return i
    }
  }
  const index = Math.min(now, 63)
  header[H_DEVICES + index] = device
  if (now < 63) Atomics.store(header, H_DEVICE_COUNT, now + 1)
  u.t.unlock()
  return index
}

/** Turns the Stat at word `w` into what a node shows: its ino, link count, owner. */
export function finishAttr(u: Union, node: number, w: number): void {
  const n = at(node)
  const nodes = u.t.nodes
  u.u32[w + STAT_INO] = nodes[n + N_INO]!
  u.u32[w + STAT_INO + 1] = nodes[n + N_INO + 1]!
  const info = nodes[n + N_INFO]!
  if ((info & TYPE_MASK) === T_DIR) {
    u.u32[w + STAT_NLINK] = (info & F_NAMELESS) !== 0 ? 0 : 1
    u.u32[w + STAT_BLKSIZE] = listBytes(u.u32[w + STAT_SIZE]!)
  } else {
    const hidden = nodes[n + N_HIDDEN]!
    if (hidden !== 0 && !u.isUpper(nodes[n + N_LAYER]!)) {
      u.u32[w + STAT_NLINK] = Math.max(0, u.u32[w + STAT_NLINK]! - hidden)
    }
  }
  // A write past us clears set-id bits, and nobody tells the kernel.
  const hasSetId = (u.u32[w + STAT_MODE]! & 0o6000) !== 0 && nodes[n + N_IO]! > 0
  if ((info & F_TWIN) !== 0 || (hasSetId && (info & TYPE_MASK) === T_REG))
    u.u32[w + STAT_FLAGS] = STAT_IS_FLEETING
  showOwner(u, w)
}

/** Maps the owner of the Stat at word `w` to the ids that the mount shows. */
export function showOwner(u: Union, w: number): void {
  if (u.ids.isIdentity) return
  u.u32[w + STAT_UID] = u.ids.shownUid(u.u32[w + STAT_UID]!)
  u.u32[w + STAT_GID] = u.ids.shownGid(u.u32[w + STAT_GID]!)
}

/**
 * statAt() that heeds `override_stat` attributes (owner and mode that a container tool could not
 * set for real), when the mount asks for that.
 */
export function statReal(u: Union, fd: number, ref: number, out: number): number {
  const r = u.sys.statAt(fd, ref, out)
  if (r < 0 || !u.hasOverride) return r
  overrideStat(u, fd, ref, out >> 2)
  return 0
}

export function overrideStat(u: Union, fd: number, ref: number, w: number): void {
  for (let i = 0; i < u.refs.override.length; i++) {
    const length = u.sys.getXattrAt(fd, ref, u.refs.override[i]!, SCRATCH_VALUE, 128)
    if (length <= 0) continue
    const text = Buffer.from(u.bytes.buffer, SCRATCH_VALUE, length).toString('latin1')
    const match = /^(\d+):(\d+):([0-7]+)(?::([a-z]+)(?:-(\d+)-(\d+))?)?/.exec(text)
    if (match === null) return
    u.u32[w + STAT_UID] = Number(match[1])
    u.u32[w + STAT_GID] = Number(match[2])
    const mode = Number.parseInt(match[3]!, 8) & 0o7777
    const real = u.u32[w + STAT_MODE]! & S_IFMT
    u.u32[w + STAT_MODE] = real | mode
    if (real === S_IFREG && match[4] !== undefined) standIn(u, w, match)
    return
  }
}

const STAND_INS: Readonly<Record<string, number>> = {
  pipe: 0o010000,
  socket: 0o140000,
  char: S_IFCHR,
  block: 0o060000,
}

/** A plain file stands for what its attribute says. Never for a whiteout. */
function standIn(u: Union, w: number, match: RegExpExecArray): void {
  const kind = STAND_INS[match[4]!]
  if (kind === undefined) return
  const major = Number(match[5] ?? 0)
  const minor = Number(match[6] ?? 0)
  const rdev = ((minor & 0xfff00) << 12) | ((major & 0xfff) << 8) | (minor & 0xff)
  if (kind === S_IFCHR && rdev === 0) return
  u.u32[w + STAT_MODE] = kind | (u.u32[w + STAT_MODE]! & 0o7777)
  u.u32[w + STAT_RDEV] = rdev
}

/** Writes the current attributes of a node as a fuse_attr at `out`. */
export function getAttr(u: Union, node: number, out: number): number {
  if (u.index !== null && statIndexed(u, node, out)) {
    finishAttr(u, node, out >> 2)
    return 0
  }
  for (let attempt = 0; attempt < 1000; attempt++) {
    const r = locate(u, node)
    if (r < 0) return r
    const s = statReal(u, u.fd, u.ref, out)
    if (hasMoved(u)) continue
    if (s < 0) return s
    if (!isLive(u.t, u.node)) return -EIO
    finishAttr(u, u.node, out >> 2)
    return 0
  }
  return -EIO
}
