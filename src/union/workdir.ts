// Temporary names in the workdir: what is made there becomes visible only by a rename, and what a
// crash leaves there is removed at the next mount.

import { EEXIST, ENOENT } from '../base/errno.js'
import { SCRATCH_NAME } from '../vfs/arena.js'
import { H_TEMP } from './state.js'
import type { Union } from './union.js'

/** Every name of ours in the workdir begins so. */
export const TEMP_PREFIX = '#'

const TEMP_NAME = SCRATCH_NAME + 3072

/**
 * Writes a new name, unique in this mount, to the arena and returns its ref. The next call reuses
 * the place: steps that hold two names pass `slot` 0 and 1.
 */
export function tempName(u: Union, slot = 0): number {
  const number = Atomics.add(u.t.header, H_TEMP, 1)
  return writeTempName(u, number, slot)
}

/** Writes the name with a given number, as tempName() did. */
export function writeTempName(u: Union, number: number, slot = 0): number {
  const at = TEMP_NAME + slot * 64
  let text = (number >>> 0).toString(16)
  text = `#${text}`
  for (let i = 0; i < text.length; i++) u.bytes[at + i] = text.charCodeAt(i)
  u.bytes[at + text.length] = 0
  return at
}

/** Number of the temporary name given last by this thread; kept by long jobs. */
export function numberOf(u: Union, ref: number): number {
  let end = ref
  while (u.bytes[end] !== 0) end++
  return Number.parseInt(Buffer.from(u.bytes.buffer, ref + 1, end - ref - 1).toString('latin1'), 16)
}

/** Puts a whiteout at (fd, ref), where nothing is. Returns 0 or -errno. */
export function makeWhiteout(u: Union, fd: number, ref: number): number {
  const { workFd } = u.config
  let r = u.sys.linkAt(workFd, u.refs.whiteoutName, fd, ref)
  if (r === 0 || r === -EEXIST) return r
  // The shared one is gone or has all the links it may have: a new one takes its place.
  if (r !== -ENOENT) u.sys.unlinkAt(workFd, u.refs.whiteoutName, 0)
  r = u.sys.mknodAt(workFd, u.refs.whiteoutName, 0o020000, 0, -1, -1, 0)
  if (r === 0 || r === -EEXIST) r = u.sys.linkAt(workFd, u.refs.whiteoutName, fd, ref)
  if (r === 0 || r === -EEXIST) return r
  return u.sys.mknodAt(fd, ref, 0o020000, 0, -1, -1, 0)
}
