// An index for the folders of a rig.

import { join } from 'node:path'
import { openStack } from '../../src/index/files.js'
import { stampOfFd } from '../../src/index/stamp.js'
import { native } from '../../src/sys/native.js'
import { forgetAttached, openLayer } from './disk.js'
import type { Folders } from './rig.js'

/** Returns the fd of the index of the lowers of these folders; made on the first call. Throws when there is none. */
export async function indexOf(
  folders: Folders,
  log: (line: string) => void = (line) => {
    throw new Error(line)
  },
): Promise<{ indexFd: number; path: string }> {
  const layers = folders.lowers.map((path) => {
    const fd = openLayer(path)
    return { fd, path, stamp: stampOfFd(fd) }
  })
  const index = await openStack(join(folders.path, 'index'), layers, log)
  forgetAttached()
  for (const { fd } of layers) native.close(fd)
  if (index === undefined) throw new Error('no index')
  return { indexFd: index.fd, path: index.path }
}
