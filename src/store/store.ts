// An open store: its layout, its database, and the directory that this process works in. What dead
// processes left unfinished is swept when a store is opened.

import { randomUUID } from 'node:crypto'
import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { errnoReason } from '../base/errno.js'
import { makePath } from '../base/make-path.js'
import { O_DIRECTORY } from '../base/open-flags.js'
import { native } from '../sys/native.js'
import { StoreError } from './errors.js'
import { type Layout, layoutOf, storeRoot } from './layout.js'
import { type Lock, lock, tryLock } from './lock.js'
import { type Db, openDatabase } from './metadata.js'

/** What long work tells about itself. */
export type Progress = {
  /** What it is about: a digest, or a few words. */
  readonly id: string
  readonly status: 'waiting' | 'exists' | 'downloading' | 'copying' | 'unpacking' | 'uploading' | 'done'
  /** Bytes, where they are known. */
  readonly current?: number
  readonly total?: number
}

export type Store = {
  readonly layout: Layout
  readonly db: Db
  close(): void
}

/** One piece of work that makes things: a scratch directory, and the promise that nothing is collected. */
export type Operation = {
  readonly store: Store
  /** Gone with the operation. */
  readonly dir: string
  readonly signal: AbortSignal | undefined
  readonly onProgress: (progress: Progress) => void
  /** Owners of files, as `uid:gid`, that files can't have here (owners.ts). */
  readonly lostOwners: Set<string>
}

export type OperationOptions = {
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((progress: Progress) => void) | undefined
  /** Called at a good end when there are any. */
  readonly onLostOwners?: ((owners: readonly string[]) => void) | undefined
}

/** Held shared by every operation. */
export const STORE_LOCK = 'store'
const PRIVATE = 0o700

/** Opens the store at the root that `given` and the environment say; makes it if need be. */
export function openStore(given?: string, env: NodeJS.ProcessEnv = process.env): Store {
  const layout = layoutOf(storeRoot(given, env))
  // Private: a layer may hold set-uid programs of any age.
  for (const dir of [
    layout.root,
    layout.blobs,
    layout.partial,
    layout.layers,
    layout.indexes,
    layout.containers,
    layout.locks,
    layout.tmp,
  ]) {
    try {
      makePath(dir, PRIVATE)
    } catch (error) {
      const reason = errnoReason((error as NodeJS.ErrnoException).errno ?? 0)
      throw new StoreError(
        'INVALID',
        `no store at ${layout.root}: ${reason} (--root or MICA_ROOT name another)`,
        {
          cause: error,
        },
      )
    }
  }
  const db = openDatabase(layout.database)
  sweepTmp(layout)
  return { layout, db, close: () => void db.close() }
}

/** Removes the scratch directories of operations whose process is gone. */
function sweepTmp(layout: Layout): void {
  for (const name of readdirSync(layout.tmp)) {
    const held = tryLock(layout.locks, name, 'exclusive')
    if (held === undefined) continue
    try {
      removeTree(join(layout.tmp, name))
    } catch {
      // Of other owners: the next command that has them sweeps it.
    }
    held.release()
    rmSync(join(layout.locks, name), { force: true })
  }
}

/** Removes a directory with all that is in it, whatever the modes are; quietly when it is not there. */
export function removeTree(path: string): void {
  removeContent(path)
  rmSync(path, { recursive: true, force: true })
}

/** Removes all that is in a directory, as far as it can be. */
export function removeContent(path: string): void {
  const fd = native.openPath(Buffer.from(path), O_DIRECTORY, 0)
  if (fd < 0) return
  native.removeTree(fd)
  native.close(fd)
}

/**
 * Runs `work` with a scratch directory. As long as it runs nothing that it adds is collected, though
 * nothing refers to it yet.
 */
export async function withOperation<T>(
  store: Store,
  { signal, onProgress = () => {}, onLostOwners }: OperationOptions,
  work: (operation: Operation) => Promise<T>,
): Promise<T> {
  const { layout } = store
  const name = `op-${randomUUID()}`
  const held: Lock[] = []
  const dir = join(layout.tmp, name)
  try {
    held.push(await lock(layout.locks, STORE_LOCK, 'shared', { signal }))
    held.push(await lock(layout.locks, name, 'exclusive'))
    mkdirSync(dir, { mode: PRIVATE })
    const lostOwners = new Set<string>()
    const result = await work({ store, dir, signal, onProgress, lostOwners })
    if (lostOwners.size > 0) onLostOwners?.([...lostOwners])
    return result
  } finally {
    removeTree(dir)
    for (const each of held.reverse()) each.release()
    rmSync(join(layout.locks, name), { force: true })
  }
}

/** Runs `work` if no operation is under way in any process; returns whether it ran. */
export function whileIdle(store: Store, work: () => void): boolean {
  const held = tryLock(store.layout.locks, STORE_LOCK, 'exclusive')
  if (held === undefined) return false
  try {
    work()
  } finally {
    held.release()
  }
  return true
}

/** Makes everything written so far durable, on the store's file system only. */
export function syncStore(store: Store): void {
  const fd = native.openPath(Buffer.from(store.layout.root), O_DIRECTORY, 0)
  if (fd < 0) return
  native.syncfs(fd)
  native.close(fd)
}
