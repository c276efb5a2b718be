// A FUSE device that was mounted before the daemon started, in the user namespace around the daemon's: how it is
// handed over, and what differs when it is served. Nothing may look into the mount before it is.

import type { MountedDevice } from './device.js'
import { mountAt } from './mount-info.js'
import type { MountOptions } from './options.js'
import { namespaceIds } from './user-namespace.js'

export type OuterDevice = Pick<MountedDevice, 'fd' | 'source'>

const VARIABLE = 'MICA_DEVICE'

/** Returns the variable that tells the daemon. */
export function formatOuterDevice({ fd, source }: OuterDevice): Record<string, string> {
  return { [VARIABLE]: `${fd}:${source}` }
}

/** Returns what the daemon was given, out of the environment: no child may inherit it. */
export function takeOuterDevice(): OuterDevice | undefined {
  const [, fd, source] = /^(\d+):(.+)$/.exec(process.env[VARIABLE] ?? '') ?? []
  delete process.env[VARIABLE]
  return fd === undefined ? undefined : { fd: Number(fd), source: source! }
}

/** Ids come through the device as they are called outside. */
export function withOuterIds(options: MountOptions): MountOptions {
  return { ...options, uidMapping: namespaceIds('uid'), gidMapping: namespaceIds('gid') }
}

/** Returns the device as mounted. Taking it off is the affair of those outside. */
export function outerMounted({ fd, source }: OuterDevice, target: string): MountedDevice {
  return { fd, source, device: mountAt(target)?.device ?? '', detach: () => {} }
}
