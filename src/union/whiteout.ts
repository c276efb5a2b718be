// Making whiteouts: hiding a lower name that has nothing in the upper, and replacing an upper object
// by one so that the lower never shows in between. The form is the mount's (device or `.wh.`).
//
// See fs/overlayfs/dir.c:ovl_whiteout(), ovl_cleanup_and_whiteout().

import { EEXIST, ENOENT, isAbsent } from '../base/errno.js'
import { O_CREAT, O_EXCL, O_WRONLY } from '../base/open-flags.js'
import { DOT_WHITEOUT } from '../format/markers.js'
import { SCRATCH_STAT2 } from '../vfs/arena.js'
import { isWhiteout } from './lookup.js'
import { DOT_NAME } from './scratch.js'
import type { Union } from './union.js'
import { makeWhiteout } from './workdir.js'

const RENAME_WHITEOUT = 4
const dot = new TextEncoder().encode(DOT_WHITEOUT)

/** Writes `.wh.NAME` to the arena and returns its place. */
export function dotName(u: Union, name: number): number {
  let length = 0
  while (u.bytes[name + length] !== 0) length++
  u.bytes.copyWithin(DOT_NAME + 4, name, name + length + 1)
  u.bytes.set(dot, DOT_NAME)
  return DOT_NAME
}

/** Hides what the lowers have at `name`; the upper directory `fd` has nothing there. */
export function hide(u: Union, fd: number, name: number): number {
  if (u.config.whiteouts === 'device') {
    const r = makeWhiteout(u, fd, name)
    return r === -EEXIST && isWhiteoutAt(u, fd, name) === 1 ? 0 : r
  }
  const file = u.sys.createAt(fd, dotName(u, name), O_WRONLY | O_CREAT | O_EXCL, 0, -1, -1, 0)
  if (file < 0) return file === -EEXIST ? 0 : file
  return u.sys.close(file)
}

/** Moves the upper object at `name` to `temp` in the workdir, leaving a whiteout in one step. */
export function replaceByWhiteout(u: Union, fd: number, name: number, temp: number): number {
  const { workFd } = u.config
  if (u.config.whiteouts === 'device') return u.sys.renameAt(fd, name, workFd, temp, RENAME_WHITEOUT)
  // The real name wins over its `.wh.` until it goes.
  const r = hide(u, fd, name)
  return r < 0 ? r : u.sys.renameAt(fd, name, workFd, temp, 0)
}

/** Tells (1, 0 or -errno) whether a whiteout of either form stands at `name` in an upper directory. */
export function isWhiteoutAt(u: Union, fd: number, name: number): number {
  const r = u.sys.statAt(fd, name, SCRATCH_STAT2)
  if (r === 0) return isWhiteout(u, SCRATCH_STAT2 >> 2) ? 1 : 0
  if (!isAbsent(r)) return r
  return hasDot(u, fd, name)
}

/** Tells (1, 0 or -errno) whether `.wh.NAME` lies in an upper directory. */
export function hasDot(u: Union, fd: number, name: number): number {
  if (!u.config.layers[0]!.hasDotWhiteouts) return 0
  const r = u.sys.statAt(fd, dotName(u, name), SCRATCH_STAT2)
  return r === 0 ? 1 : isAbsent(r) ? 0 : r
}

/** Removes `.wh.NAME` if it is there. */
export function removeDot(u: Union, fd: number, name: number): number {
  if (!u.config.layers[0]!.hasDotWhiteouts) return 0
  const r = u.sys.unlinkAt(fd, dotName(u, name), 0)
  return r === -ENOENT ? 0 : r
}
