// unlink and rmdir. See fs/overlayfs/dir.c:ovl_do_remove().

import { EEXIST, EMFILE, ENOTEMPTY, EPERM } from '../base/errno.js'
import { O_DIRECTORY, O_PATH } from '../base/open-flags.js'
import { SCRATCH_STAT, STAT_ATTRIBUTES } from '../vfs/arena.js'
import { dirFd } from './address.js'
import { findBound } from './bind.js'
import { beginChange, cancelChange, endChange, hasLower, nodeOf, unname } from './change.js'
import { upperDir } from './copy-up.js'
import { noteRemovedLink } from './hard-links.js'
import { at, F_STACK, F_UPPER, N_INFO, N_LAYER } from './inode-table.js'
import { isEmpty } from './merge-dir.js'
import { directoryChanged, dropHalfListed } from './snapshot.js'
import type { Union } from './union.js'
import { hide, replaceByWhiteout } from './whiteout.js'
import { tempName } from './workdir.js'

const STATX_ATTR_IMMUTABLE = 0x10
const STATX_ATTR_APPEND = 0x20
const AT_REMOVEDIR = 0x200
/** A removed directory with more whiteouts than this is emptied off the loop. */
const MANY = 500

export function removeFile(u: Union, parent: number, name: number, length: number): number {
  const dir = upperDir(u, parent)
  if (dir < 0) return dir
  const node = nodeOf(u, parent, name, length)
  if (node < 0) return node
  const isUpper = (u.t.nodes[at(node) + N_INFO]! & F_UPPER) !== 0
  const realDir = isUpper ? dir : dirFd(u, parent, u.t.nodes[at(node) + N_LAYER]!)
  if (realDir < 0) return realDir
  let r = noteRemovedLink(u, node)
  if (r === 0) r = beginChange(u, node, 0)
  if (r !== 0) return r
  const isUpperNow = (u.t.nodes[at(node) + N_INFO]! & F_UPPER) !== 0
  if (isUpperNow !== isUpper || findBound(u, parent, name, length) !== node) {
    // Copied up meanwhile: an open takes no lock of the kernel's.
    cancelChange(u, node, 0)
    return removeFile(u, parent, name, length)
  }
  // Who has the file open, or just knows it, must reach it when the name is gone.
  const pin = u.sys.openAt(realDir, name, O_PATH)
  if (pin < 0 && pin !== -EMFILE) r = pin
  if (r === 0 && !isUpper) r = mayRemove(u, pin)
  if (r === 0) r = removeReal(u, parent, dir, name, length, isUpper)
  r = conclude(u, parent, name, length, node, r, pin)
  if (r < 0 && pin >= 0) u.sys.close(pin)
  return r
}

/** Refuses the removal of a lower object that its owner made unchangeable. `fd`: an O_PATH fd of it. */
function mayRemove(u: Union, fd: number): number {
  if (fd < 0 || u.sys.statAt(fd, 0, SCRATCH_STAT) < 0) return 0
  const attributes = u.u32[(SCRATCH_STAT >> 2) + STAT_ATTRIBUTES]!
  return (attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND)) !== 0 ? -EPERM : 0
}

/** Removes the object at a name of an upper directory so that nothing shows there. */
function removeReal(
  u: Union,
  parent: number,
  dir: number,
  name: number,
  length: number,
  isUpper: boolean,
): number {
  if (!isUpper) return hide(u, dir, name)
  const lower = hasLower(u, parent, name, length)
  if (lower < 0) return lower
  if (lower === 0) return u.sys.unlinkAt(dir, name, 0)
  const temp = tempName(u)
  const r = replaceByWhiteout(u, dir, name, temp)
  if (r === 0) u.sys.unlinkAt(u.config.workFd, temp, 0)
  return r
}

/** Updates the tables after a removal that went well, and ends the change either way. */
function conclude(
  u: Union,
  parent: number,
  name: number,
  length: number,
  node: number,
  r: number,
  pin: number,
): number {
  const t = u.t
  let spare = -1
  t.lock()
  if (r === 0) {
    directoryChanged(u.t, parent)
    spare = unname(u, parent, name, length, pin)
  }
  endChange(u, node, 0)
  t.unlock()
  dropHalfListed(u)
  if (spare >= 0) u.sys.close(spare)
  return r
}

export function removeDirectory(u: Union, parent: number, name: number, length: number): number {
  const dir = upperDir(u, parent)
  if (dir < 0) return dir
  const node = nodeOf(u, parent, name, length)
  if (node < 0) return node
  const info = u.t.nodes[at(node) + N_INFO]!
  const isUpper = (info & F_UPPER) !== 0
  const lower = isUpper ? hasLower(u, parent, name, length) : 0
  if (lower < 0) return lower
  const top = dirFd(u, node, isUpper ? 0 : topOf(u, node))
  if (top < 0) return top
  // rmdir(2) itself refuses a full directory, but not the rename that leaves a whiteout.
  const isPure = isUpper && (info & F_STACK) === 0
  if (!isPure || lower === 1) {
    const empty = isEmpty(u, node)
    if (empty < 0) return empty
    if (empty === 0) return -ENOTEMPTY
  }
  let r = beginChange(u, node, 0)
  if (r !== 0) return r
  const pin = u.sys.openAt(top, 0, O_PATH | O_DIRECTORY)
  r = isUpper ? removeUpperDirectory(u, dir, name, node, lower === 1) : hide(u, dir, name)
  r = conclude(u, parent, name, length, node, r, pin)
  if (r < 0 && pin >= 0) u.sys.close(pin)
  if (r === 0) u.dirs.drop(node, isUpper ? 0 : topOf(u, node))
  return r
}

/** Returns the topmost layer of a directory. */
export function topOf(u: Union, node: number): number {
  const layer = u.t.nodes[at(node) + N_LAYER]!
  if ((u.t.nodes[at(node) + N_INFO]! & F_STACK) === 0) return layer
  u.t.lock()
  const top = u.t.names.words[-layer * 2 + 1]!
  u.t.unlock()
  return top
}

function removeUpperDirectory(
  u: Union,
  dir: number,
  name: number,
  node: number,
  coversLower: boolean,
): number {
  const { sys } = u
  const { workFd } = u.config
  let temp = 0
  let r: number
  if (!coversLower) {
    r = sys.unlinkAt(dir, name, AT_REMOVEDIR)
    if (r !== -ENOTEMPTY && r !== -EEXIST) return r
    // Only whiteouts may be left in it.
    const empty = isEmpty(u, node)
    if (empty !== 1) return empty < 0 ? empty : -ENOTEMPTY
    temp = tempName(u)
    r = sys.renameAt(dir, name, workFd, temp, 0)
  } else {
    temp = tempName(u)
    r = replaceByWhiteout(u, dir, name, temp)
  }
  if (r === 0) discard(u, temp)
  return r
}

/** Removes a tree in the workdir that nobody sees any more. */
export function discard(u: Union, temp: number): void {
  const { sys } = u
  const { workFd } = u.config
  if (sys.unlinkAt(workFd, temp, AT_REMOVEDIR) === 0) return
  if (u.writer.count > MANY) {
    sys.removeTreeLater(workFd, temp)
    return
  }
  const fd = sys.openAt(workFd, temp, O_DIRECTORY)
  if (fd < 0) return
  sys.removeTree(fd)
  sys.close(fd)
  sys.unlinkAt(workFd, temp, AT_REMOVEDIR)
}
