// The real path of a directory that may be given in any way.

import { constants, readlinkSync } from 'node:fs'
import { O_PATH } from '../base/open-flags.js'
import { native } from '../sys/native.js'
import { systemError } from './errors.js'
import { decodePath, encodePath, showPath } from './path-bytes.js'

/**
 * Returns the real path of a directory, without touching the file system that may be mounted on it.
 * Throws when it is missing or no directory; `what` names it in the message.
 */
export function realDirectory(what: string, path: string): string {
  const fd = native.openPath(encodePath(path), O_PATH | constants.O_DIRECTORY, 0)
  if (fd < 0) throw systemError(fd, what, showPath(path), 'open')
  try {
    return decodePath(readlinkSync(`/proc/self/fd/${fd}`, 'buffer'))
  } finally {
    native.close(fd)
  }
}
