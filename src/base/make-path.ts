// mkdir -p. Node's own never ends where a directory that is there refuses a new one with ENOENT, as /proc does.

import { mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

/** Makes a directory and those above it that are missing, each with `mode` less the umask. Throws as mkdirSync(). */
export function makePath(path: string, mode = 0o777): void {
  const isThere = () => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true
  if (isThere()) return
  const parent = dirname(path)
  if (parent !== path) makePath(parent, mode)
  try {
    mkdirSync(path, { mode })
  } catch (error) {
    // Somebody else may have been first.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || !isThere()) throw error
  }
}
