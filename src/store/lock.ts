// Locks between processes that go with the process that holds them, however it ends: the file locks
// that SQLite takes on an empty database. A shared lock is a read transaction, an exclusive one
// BEGIN EXCLUSIVE. Nothing is ever written to the file.
//
// Order, outermost first: store, blob, layer, container. Within one kind by name.

import { join } from 'node:path'
import Database from 'better-sqlite3'

export type LockMode = 'shared' | 'exclusive'

/** A held lock. */
export type Lock = { release(): void }

const POLL_MIN_MS = 5
const POLL_MAX_MS = 100

/** Takes the lock if it is free this instant. */
export function tryLock(dir: string, name: string, mode: LockMode): Lock | undefined {
  const db = new Database(join(dir, name), { timeout: 0 })
  try {
    // No journal beside the file.
    db.pragma('journal_mode = MEMORY')
    if (mode === 'exclusive') db.exec('BEGIN EXCLUSIVE')
    else {
      db.exec('BEGIN')
      // A read transaction begins with its first read.
      db.prepare('SELECT count(*) FROM sqlite_master').get()
    }
  } catch (error) {
    db.close()
    if (String((error as { code?: unknown }).code).startsWith('SQLITE_BUSY')) return undefined
    throw error
  }
  return { release: () => void db.close() }
}

/** Waits for the lock. `onWait` is called once when it is not free at once. */
export async function lock(
  dir: string,
  name: string,
  mode: LockMode,
  { signal, onWait }: { signal?: AbortSignal | undefined; onWait?: (() => void) | undefined } = {},
): Promise<Lock> {
  for (let ms = POLL_MIN_MS, isFirst = true; ; ms = Math.min(ms * 1.5, POLL_MAX_MS), isFirst = false) {
    signal?.throwIfAborted()
    const held = tryLock(dir, name, mode)
    if (held !== undefined) return held
    if (isFirst) onWait?.()
    await new Promise((done) => setTimeout(done, ms))
  }
}

/** Runs `work` under the lock. */
export async function withLock<T>(
  dir: string,
  name: string,
  mode: LockMode,
  work: () => Promise<T>,
  options: { signal?: AbortSignal | undefined; onWait?: (() => void) | undefined } = {},
): Promise<T> {
  const held = await lock(dir, name, mode, options)
  try {
    return await work()
  } finally {
    held.release()
  }
}
