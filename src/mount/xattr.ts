// One extended attribute by path, for cold paths. Uses this thread's arena: never in a daemon's worker.

import { constants } from 'node:fs'
import { O_PATH } from '../base/open-flags.js'
import { native } from '../sys/native.js'
import { threadArena } from '../sys/thread-arena.js'
import { SCRATCH_NAME, SCRATCH_VALUE } from '../vfs/arena.js'
import { encodePath } from './path-bytes.js'

const VALUE_MAX = 65536

/** Returns the attribute's value, undefined when there is none or it can't be read. Follows no link. */
export function readXattr(path: string, name: string): Buffer | undefined {
  const arena = threadArena()
  const fd = native.openPath(encodePath(path), O_PATH | constants.O_NOFOLLOW, 0)
  if (fd < 0) return undefined
  const bytes = Buffer.from(arena.bytes.buffer)
  bytes[SCRATCH_NAME + bytes.write(name, SCRATCH_NAME, 'latin1')] = 0
  const length = native.getXattrAt(fd, 0, SCRATCH_NAME, SCRATCH_VALUE, VALUE_MAX)
  native.close(fd)
  return length < 0 ? undefined : Buffer.from(bytes.subarray(SCRATCH_VALUE, SCRATCH_VALUE + length))
}
