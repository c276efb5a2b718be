// Containers of the image store as mounts: a daemon over the image's layers and the container's own
// upper, at the container's `merged`.

import { readlinkSync } from 'node:fs'
import {
  type Container,
  containerPaths,
  deleteContainer,
  findContainer,
  listContainers,
  lowersOf,
} from '../store/containers.js'
import type { Store } from '../store/store.js'
import { formatArguments } from './arguments.js'
import { unmountPath } from './device.js'
import { MountError, systemError } from './errors.js'
import { launch } from './launch.js'
import { FS_TYPE, mountAt, startTime } from './mount-info.js'
import { PLACEHOLDERS } from './placeholders.js'
import { type MountRecord, recordAt } from './runtime-dir.js'
import { sendSignal } from './signal-relay.js'
import { launchForUser } from './user-mount.js'
import { userNamespace } from './user-namespace.js'

const GONE_MS = 5000
const POLL_MS = 5
/** How long a command may take to tidy up after its container. */
const TIDY_MS = 500

export function isRunning({ pid, startTime: since }: Pick<Container, 'pid' | 'startTime'>): boolean {
  return pid !== 0 && since !== '' && startTime(pid) === since
}

/** Returns what is made in a container only while it runs. */
export function placeholdersOf(container: Container): ReadonlySet<string> {
  return isRunning(container) ? PLACEHOLDERS : new Set()
}

export function isMounted(store: Store, id: string): boolean {
  return mountAt(containerPaths(store, id).merged)?.type === FS_TYPE
}

/**
 * Returns the process that serves the mount of one of these containers (names that are none are passed over),
 * where that is in a mount namespace of its own: an ordinary user's.
 */
export function holderOf(store: Store, names: readonly string[]): number | undefined {
  const here = readlinkSync('/proc/self/ns/mnt')
  for (const name of names) {
    const id = idOf(store, name)
    const record = id === undefined ? undefined : recordAt(containerPaths(store, id).merged)
    if (record !== undefined && readlinkSync(`/proc/${record.pid}/ns/mnt`) !== here) return record.pid
  }
  return undefined
}

function idOf(store: Store, name: string): string | undefined {
  try {
    return findContainer(store, name).id
  } catch {
    return undefined
  }
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
  const index = lower.length > 0 && userNamespace()?.kind !== 'none' ? { indexDir: store.layout.indexes } : {}
  // An image may have no layers (FROM scratch); a mount has at least one.
  if (lower.length === 0) lower.push(empty)
  const args = formatArguments(merged, { lower, upper, work, ...index })
  await (userNamespace() === undefined ? launchForUser(args) : launch({ args }))
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
  if (record !== undefined) await isGone(record)
}

/** Resolves with true when the process has ended, with false when it takes too long. */
async function isGone(
  process: { readonly pid: number; readonly startTime: string },
  ms = GONE_MS,
): Promise<boolean> {
  const until = Date.now() + ms
  while (startTime(process.pid) === process.startTime) {
    if (Date.now() >= until) return false
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
  return true
}

/** Ends a mount in a mount namespace that is not ours: its command takes it off, or its daemon is told to. */
async function endDaemon(record: MountRecord): Promise<void> {
  if (await isGone(record, TIDY_MS)) return
  sendSignal(record.pid, 'SIGTERM')
  if (!(await isGone(record))) sendSignal(record.pid, 'SIGKILL')
}

/** Removes a container. Throws EBUSY while it runs or is mounted, unless `force`: then it is ended first. */
export async function removeContainer(store: Store, container: Container, force: boolean): Promise<void> {
  const record = recordAt(containerPaths(store, container.id).merged)
  if (isRunning(container)) {
    if (!force) throw new MountError('it runs; end it, or mica rm -f', 'EBUSY')
    await endContainer(container)
  }
  if (isMounted(store, container.id)) {
    if (!force) throw new MountError('it is mounted; mica umount it, or mica rm -f', 'EBUSY')
    await unmountContainer(store, container, true)
  } else if (record !== undefined) await endDaemon(record)
  deleteContainer(store, container.id)
}

async function endContainer(container: Container): Promise<void> {
  // The first process of its pid namespace: all others go with it.
  sendSignal(container.pid, 'SIGKILL')
  await isGone(container)
}

/** Returns the containers whose process is alive. */
export function runningContainers(store: Store): Container[] {
  return listContainers(store).filter(isRunning)
}
