// A container's tree as mounted, for commands that need it for a moment.

import { isMounted, mountContainer, unmountContainer } from '../mount/container.js'
import { type Container, containerPaths } from '../store/containers.js'
import { SystemError } from '../store/errors.js'
import type { Store } from '../store/store.js'

/** Runs `work` with the container's mount; mounts it for that time if it is not. */
export async function withMounted<T>(
  store: Store,
  container: Container,
  work: (path: string) => Promise<T> | T,
): Promise<T> {
  const { path, isNew } = await mountContainer(store, container)
  try {
    return await work(path)
  } finally {
    if (isNew) await unmountContainer(store, container)
  }
}

/**
 * Runs `work` with the mount's path where there is one, else without; once more with one, if it turns
 * out to be needed (a directory was moved, and its content is in the lowers).
 */
export async function withTree<T>(
  store: Store,
  container: Container,
  work: (merged: string | undefined) => Promise<T> | T,
): Promise<T> {
  if (isMounted(store, container.id)) return work(containerPaths(store, container.id).merged)
  try {
    return await work(undefined)
  } catch (error) {
    if (!(error instanceof SystemError && error.code === 'ENOTCONN')) throw error
    return withMounted(store, container, work)
  }
}
