// A mount of an ordinary user that everybody sees, over files of many owners: fusermount3 makes it out here, and
// the daemon serves it from a user namespace, where it has these owners (user-namespace.ts). What it calls by
// the numbers in there is shown by those out here.

import { native } from '../sys/native.js'
import { parseMountArguments } from './arguments.js'
import { checkMountpoint, mountByHelper } from './device.js'
import { launch } from './launch.js'
import { realDirectory } from './real-path.js'
import { namespaceProgram } from './user-namespace.js'

/** Mounts as the arguments say. Resolves with the daemon's pid when the mount is live. */
export async function launchForUser(args: readonly string[]): Promise<number> {
  const { mountpoint, options, given } = parseMountArguments(args)
  const target = realDirectory('mount point', mountpoint)
  checkMountpoint(target, mountpoint)
  const isReadOnly = options.upper === null || options.readOnly
  const { fd, source, detach } = mountByHelper(target, options, isReadOnly, given)
  try {
    const program = [namespaceProgram(), '--share-mounts', process.execPath]
    return await launch({ args, program, device: { fd, source } })
  } catch (error) {
    detach()
    throw error
  } finally {
    native.close(fd)
  }
}
