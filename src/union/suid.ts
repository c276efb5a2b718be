// What a write takes from a file that runs with its owner's rights.

import { readFileSync } from 'node:fs'
import { SCRATCH_STAT, STAT_GID, STAT_MODE } from '../vfs/arena.js'
import { statReal } from './attr.js'
import { changeOverride } from './override.js'
import type { Union } from './union.js'

/**
 * Clears S_ISUID, and S_ISGID of an executable or for a caller outside its group, as a write without
 * CAP_FSETID does (fs/attr.c:setattr_should_drop_sgid()).
 */
export function killSuid(u: Union, fd: number): number {
  const r = statReal(u, fd, 0, SCRATCH_STAT)
  if (r < 0) return r
  const mode = u.u32[(SCRATCH_STAT >> 2) + STAT_MODE]!
  let wanted = mode & ~0o4000
  const gid = u.u32[(SCRATCH_STAT >> 2) + STAT_GID]!
  if ((mode & 0o2000) !== 0 && ((mode & 0o010) !== 0 || !isMember(u, gid))) wanted &= ~0o2000
  if (wanted === mode) return 0
  return u.hasOverride ? changeOverride(u, fd, 0, -1, -1, wanted) : u.sys.chmodAt(fd, 0, wanted & 0o7777)
}

/** Tells whether the caller is in a group. The request names his first one only; others are seldom asked for. */
function isMember(u: Union, gid: number): boolean {
  if (u.caller.gid === gid) return true
  try {
    const status = readFileSync(`/proc/${u.caller.pid}/status`, 'latin1')
    return (/^Groups:(.*)$/m.exec(status)?.[1] ?? '').trim().split(/\s+/).includes(String(gid))
  } catch {
    return false
  }
}
