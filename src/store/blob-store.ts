// Blobs by digest. A blob is under its name only when all of its bytes are there and are what the
// digest says; until then it is in the operation's own directory, or among the partial downloads.

import { randomUUID } from 'node:crypto'
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Digest, digestOf, Hasher, hexOf } from './digest.js'
import { StoreError } from './errors.js'
import type { Layout } from './layout.js'
import { withLock } from './lock.js'
import type { Operation } from './store.js'

export function blobPath(layout: Layout, digest: Digest): string {
  return join(layout.blobs, hexOf(digest))
}

/** Returns the blob's size in bytes, undefined when it is not here. */
export function blobSize(layout: Layout, digest: Digest): number | undefined {
  return statSync(blobPath(layout, digest), { throwIfNoEntry: false })?.size
}

/** Returns a small blob's bytes, checked against its digest. Throws NOT_FOUND or DIGEST. */
export function readBlob(layout: Layout, digest: Digest): Buffer {
  const path = blobPath(layout, digest)
  if (!existsSync(path)) throw new StoreError('NOT_FOUND', `the store lacks blob ${digest}; see mica fsck`)
  const bytes = readFileSync(path)
  if (digestOf(bytes) !== digest) throw new StoreError('DIGEST', `blob ${digest} is damaged; see mica fsck`)
  return bytes
}

/** Stores bytes; returns their digest. */
export function putBlob({ store: { layout }, dir }: Operation, bytes: Uint8Array): Digest {
  const digest = digestOf(bytes)
  const path = blobPath(layout, digest)
  if (existsSync(path)) return digest
  const draft = join(dir, randomUUID())
  writeFileSync(draft, bytes, { mode: 0o600 })
  renameSync(draft, path)
  return digest
}

/** Makes a file of the operation's own directory the blob of this digest, which is the caller's word. */
export function adoptBlob({ store: { layout } }: Operation, file: { path: string; digest: Digest }): void {
  const path = blobPath(layout, file.digest)
  if (!existsSync(path)) renameSync(file.path, path)
}

/** What a blob has to be; `size` undefined where only the digest is known. */
export type Expected = { readonly digest: Digest; readonly size?: number | undefined }

/**
 * Makes sure that the blob is here. If it is not, `open` gives its bytes from `offset` on: it is called
 * once, or again with a larger offset after it failed with a retryable error (`isRetryable`). Two
 * operations, here or in another process, never fetch one blob at the same time. Returns its size.
 */
export async function ensureBlob(
  operation: Operation,
  expected: Expected,
  open: (offset: number) => AsyncIterable<Uint8Array> | Promise<AsyncIterable<Uint8Array>>,
  {
    isRetryable = () => false,
    tries = 1,
    progressId = expected.digest as string,
    verb = 'copying' as const,
  }: {
    isRetryable?: (error: unknown) => boolean
    tries?: number
    progressId?: string
    verb?: 'copying' | 'downloading'
  } = {},
): Promise<number> {
  const { layout } = operation.store
  const { digest } = expected
  const here = blobSize(layout, digest)
  if (here !== undefined) {
    operation.onProgress({ id: progressId, status: 'exists' })
    return here
  }
  const onWait = (): void => operation.onProgress({ id: progressId, status: 'waiting' })
  return withLock(
    layout.locks,
    `blob-${hexOf(digest)}`,
    'exclusive',
    async () => {
      const since = blobSize(layout, digest)
      if (since !== undefined) {
        operation.onProgress({ id: progressId, status: 'exists' })
        return since
      }
      return fetchBlob(operation, expected, open, { isRetryable, tries, progressId, verb })
    },
    { signal: operation.signal, onWait },
  )
}

const BACKOFF_MS = 250
const READ_BYTES = 1 << 20

type How = {
  isRetryable: (error: unknown) => boolean
  tries: number
  progressId: string
  verb: 'copying' | 'downloading'
}
type Open = (offset: number) => AsyncIterable<Uint8Array> | Promise<AsyncIterable<Uint8Array>>

/**
 * Fetches a blob to a file and then under its name. What came of a download that fails or is interrupted
 * stays, and the next one, in whatever process, goes on from there. Needs: the blob's lock.
 */
async function fetchBlob(operation: Operation, expected: Expected, open: Open, how: How): Promise<number> {
  const { layout } = operation.store
  const { digest } = expected
  const isKept = how.verb === 'downloading'
  const draft = isKept ? join(layout.partial, hexOf(digest)) : join(operation.dir, randomUUID())
  const fd = openSync(draft, constants.O_RDWR | constants.O_CREAT, 0o600)
  try {
    const hasher = isKept ? readPartial(fd, expected.size) : new Hasher()
    await receive(operation, expected, open, how, { fd, hasher })
    const got = hasher.size
    const actual = hasher.digest()
    if (actual !== digest) throw new StoreError('DIGEST', `wrong digest: asked for ${digest}, got ${actual}`)
    renameSync(draft, blobPath(layout, digest))
    return got
  } catch (error) {
    if (isWorthless(error)) rmSync(draft, { force: true })
    throw error
  } finally {
    closeSync(fd)
  }
}

/** Tells whether what was received is of no use to the next try: it is wrong, or there is no room for it. */
function isWorthless(error: unknown): boolean {
  return (
    (error instanceof StoreError && error.code === 'DIGEST') ||
    ['ENOSPC', 'EDQUOT', 'EIO'].includes(String((error as NodeJS.ErrnoException).code))
  )
}

/** Hashes what an earlier download left. The file's position is its end afterwards. */
function readPartial(fd: number, size = Number.POSITIVE_INFINITY): Hasher {
  const hasher = new Hasher()
  if (fstatSync(fd).size > size) ftruncateSync(fd, 0)
  const buffer = Buffer.allocUnsafe(READ_BYTES)
  for (;;) {
    const length = readSync(fd, buffer, 0, buffer.length, null)
    if (length === 0) return hasher
    hasher.update(buffer.subarray(0, length))
  }
}

async function receive(
  { signal, onProgress }: Operation,
  { digest, size }: Expected,
  open: Open,
  how: How,
  { fd, hasher }: { fd: number; hasher: Hasher },
): Promise<void> {
  for (let attempt = 1; size === undefined || hasher.size < size || size === 0; attempt++) {
    const before = hasher.size
    try {
      for await (const chunk of await open(hasher.size)) {
        signal?.throwIfAborted()
        if (size !== undefined && hasher.size + chunk.length > size) {
          throw new StoreError('DIGEST', `blob ${digest} is longer than its ${size} bytes`)
        }
        writeAll(fd, chunk)
        hasher.update(chunk)
        onProgress({
          id: how.progressId,
          status: how.verb,
          current: hasher.size,
          ...(size !== undefined && { total: size }),
        })
      }
      if (size !== undefined && hasher.size < size) {
        throw new StoreError('INVALID', `blob ${digest} ends after ${hasher.size} of ${size} bytes`)
      }
      return
    } catch (error) {
      signal?.throwIfAborted()
      // Bytes that arrived are progress: the count of failures begins anew.
      if (hasher.size > before) attempt = 0
      const isShort = error instanceof StoreError && error.code === 'INVALID' && hasher.size > before
      if (attempt >= how.tries || !(how.isRetryable(error) || (isShort && how.tries > 1))) throw error
      await sleep(BACKOFF_MS * 2 ** attempt, undefined, { signal })
    }
  }
}

/** Writes all of the bytes. Throws Node's own error, e.g. ENOSPC. */
export function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at)
}
