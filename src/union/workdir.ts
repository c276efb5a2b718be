// Temporary names in the workdir: what is made there becomes visible only by a rename, and what a
// crash leaves there is removed at the next mount.

import { EEXIST, ENOENT } from '../base/errno.js'
import { O_DIRECTORY } from '../base/open-flags.js'
import { SCRATCH_DIRENTS, SCRATCH_DIRENTS_CAPACITY } from '../vfs/arena.js'
import { TEMP_NAMES } from './scratch.js'
import { H_TEMP } from './state.js'
import type { Union } from './union.js'

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
  const at = TEMP_NAMES + slot * 64
  const text = `#${number.toString(16)}`
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

/**
 * Removes what an earlier mount left in the workdir: half copies after a crash, and removed trees
 * whose deletion it did not get to. Nothing of it was ever visible.
 */
export function sweepWorkdir(u: Union): void {
  const { sys } = u
  const { workFd } = u.config
  const fd = sys.openAt(workFd, 0, O_DIRECTORY)
  if (fd < 0) return
  const names: Buffer[] = []
  for (;;) {
    const r = sys.getdents(fd, SCRATCH_DIRENTS, SCRATCH_DIRENTS_CAPACITY)
    if (r <= 0) break
    const end = SCRATCH_DIRENTS + r
    for (let d = SCRATCH_DIRENTS; d < end; d += u.bytes[d + 16]! | (u.bytes[d + 17]! << 8)) {
      let nul = d + 19
      while (u.bytes[nul] !== 0) nul++
      if (u.bytes[d + 19] === 0x23) names.push(Buffer.from(u.bytes.slice(d + 19, nul + 1)))
    }
  }
  sys.close(fd)
  for (const name of names) {
    u.bytes.set(name, TEMP_NAMES)
    if (sys.unlinkAt(workFd, TEMP_NAMES, 0) < 0) sys.removeTreeLater(workFd, TEMP_NAMES)
  }
}
