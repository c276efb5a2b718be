// Containers of the image store as mounts: a daemon over the image's layers and the container's own
// upper, at the container's `merged`.

import {
  type Container,
  containerPaths,
  deleteContainer,
  listContainers,
  lowersOf,
} from '../store/containers.js'
import type { Store } from '../store/store.js'
import { formatArguments } from './arguments.js'
import { unmountPath } from './device.js'
import { MountError, systemError } from './errors.js'
import { launch } from './launch.js'
import { FS_TYPE, mountAt, startTime } from './mount-info.js'
import { isInitialUserNamespace, recordAt } from './runtime-dir.js'

const GONE_MS = 5000
const POLL_MS = 5

export function isRunning({ pid, startTime: since }: Pick<Container, 'pid' | 'startTime'>): boolean {
  return pid !== 0 && since !== '' && startTime(pid) === since
}

export function isMounted(store: Store, id: string): boolean {
  return mountAt(containerPaths(store, id).merged)?.type === FS_TYPE
}

/** Mounts a container unless it is; returns its path, and whether this call mounted it. */
export async function mountContainer(
  store: Store,
  container: Container,
): Promise<{ path: string; isNew: boolean }> {
  const { upper, work, merged, empty } = containerPaths(store, container.id)
  if (isMounted(store, container.id)) return { path: merged, isNew: false }
  const lower = lowersOf(store, container.image)
  // Only layers of the store are sure never to change.
  // An index holds the owners of whoever unpacked: in a user namespace these are other numbers.
  const hasIndex = lower.length > 0 && isInitialUserNamespace()
  const index = hasIndex ? { indexDir: store.layout.indexes } : {}
  // An image may have no layers (FROM scratch); a mount has at least one.
  if (lower.length === 0) lower.push(empty)
  await launch({ args: formatArguments(merged, { lower, upper, work, ...index }) })
  return { path: merged, isNew: true }
}

/** Takes a container's mount off; resolves when all of it is in the upper. Throws EBUSY while it is used. */
export async function unmountContainer(store: Store, container: Container, isLazy = false): Promise<void> {
  const { merged } = containerPaths(store, container.id)
  if (!isMounted(store, container.id)) return
  const record = recordAt(merged)
  const result = unmountPath(merged, isLazy)
  // Whoever ran it may have taken it off first, e.g. when it was just ended.
  if (result < 0 && isMounted(store, container.id)) throw systemError(result, 'unmount', merged, 'umount2')
  if (record === undefined) return
  const until = Date.now() + GONE_MS
  while (Date.now() < until && startTime(record.pid) === record.startTime) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
}

/** Removes a container. Throws EBUSY while it runs or is mounted, unless `force`: then it is ended first. */
export async function removeContainer(store: Store, container: Container, force: boolean): Promise<void> {
  if (isRunning(container)) {
    if (!force) throw new MountError('it runs; end it, or mica rm -f', 'EBUSY')
    await endContainer(container)
  }
  if (isMounted(store, container.id)) {
    if (!force) throw new MountError('it is mounted; mica umount it, or mica rm -f', 'EBUSY')
    await unmountContainer(store, container, true)
  }
  deleteContainer(store, container.id)
}

async function endContainer(container: Container): Promise<void> {
  // The first process of its pid namespace: all others go with it.
  process.kill(container.pid, 'SIGKILL')
  const until = Date.now() + GONE_MS
  while (Date.now() < until && isRunning(container))
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
}

/** Returns the containers whose process is alive. */
export function runningContainers(store: Store): Container[] {
  return listContainers(store).filter(isRunning)
}
