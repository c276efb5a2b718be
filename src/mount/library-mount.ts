// Mounts that libfuse makes and not we: for the transport fuse-native. Its options as libfuse spells
// them, and what stands in for our own device.

import { detachPath, isAllowOtherPermitted, type MountedDevice, newSource } from './device.js'
import type { WorkerHooks } from './engine.js'
import { MountError, reasonOf } from './errors.js'
import type { Log } from './log.js'
import { mountAt } from './mount-info.js'
import type { MountOptions } from './options.js'

/** Returns a mount that is yet to be made, by the transport. */
export function mountedByLibrary(target: string): MountedDevice {
  const source = newSource()
  return {
    fd: -1,
    device: '',
    source,
    detach() {
      if (mountAt(target)?.source === source) detachPath(target)
    },
  }
}

/**
 * Returns how the transport is made. Throws MountError with the way out when the package can't be used.
 * Attributes are not cached: to the library each link of a file is a file of its own, of whose changes
 * the others would not learn.
 */
export async function libraryTransport(
  target: string,
  source: string,
  options: MountOptions,
  isReadOnly: boolean,
  given: ReadonlySet<string>,
  log: Log,
): Promise<NonNullable<WorkerHooks['makeTransport']>> {
  const { FuseNativeTransport, loadFuseNative } = await import('../fuse/fuse-native.js')
  try {
    loadFuseNative()
  } catch (error) {
    throw new MountError(
      `the package fuse-native is not installed or does not load (${reasonOf(error).split('\n')[0]}); npm install fuse-native, or use --transport dev-fuse`,
      'ENOSYS',
    )
  }
  const isRoot = process.geteuid!() === 0
  const canAllowOther = options.allowOther && (isRoot || given.has('allowOther') || isAllowOtherPermitted())
  const words = [
    ...['default_permissions', 'use_ino', 'nonempty', 'big_writes', 'attr_timeout=0'],
    ...[`entry_timeout=${options.timeout}`, `negative_timeout=${options.timeout}`],
    ...(canAllowOther ? ['allow_other'] : []),
    ...(isReadOnly ? ['ro'] : []),
    ...(options.exec ? [] : ['noexec']),
    ...(isRoot && options.dev ? ['dev'] : []),
    ...(isRoot && options.suid ? ['suid'] : []),
  ]
  return (arena) => new FuseNativeTransport(arena, { mountpoint: target, source, words, log })
}

/** Returns the options as this transport can keep them: the kernel reads no real file by itself. */
export function withoutPassthrough(options: MountOptions): MountOptions {
  return { ...options, data: 'cache' }
}
