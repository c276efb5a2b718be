// Images from any source into the store: blobs fetched several at once, layers unpacked several at
// once, then one transaction. Until that nothing refers to what was made.

import { randomUUID } from 'node:crypto'
import { mkdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import type { Worker } from 'node:worker_threads'
import { blobPath, ensureBlob, putBlob } from './blob-store.js'
import { parseJsonObject, parseManifest } from './descriptor.js'
import { type Digest, digestOf, hexOf } from './digest.js'
import { StoreError } from './errors.js'
import { type ImageConfig, parseImageConfig } from './image-config.js'
import { addImages, layerRow, type NewImage } from './image-table.js'
import { indexStack } from './layer-index.js'
import { layerDir, layerTree } from './layout.js'
import { lock } from './lock.js'
import type { SourceImage } from './source.js'
import { type Operation, removeTree, type Store, syncStore } from './store.js'
import { DEFAULT_LIMITS, type UnpackLimits } from './unpack.js'
import type { Unpacked } from './unpack-layer.js'
import { UnpackPool } from './unpack-pool.js'

/** Blobs that are fetched at the same time. */
const FETCHES = 3

export type AddedImage = { readonly id: Digest; readonly manifest: Digest; readonly names: readonly string[] }

/** Brings images in with their names. Throws, with the store as it was, when anything about one is wrong. */
export async function addFromSource(
  operation: Operation,
  sources: readonly SourceImage[],
): Promise<AddedImage[]> {
  const pool = new UnpackPool()
  const onAbort = (): void => void pool.close()
  operation.signal?.addEventListener('abort', onAbort)
  try {
    const images: NewImage[] = []
    for (const source of sources) images.push(await prepare(operation, source, pool))
    operation.signal?.throwIfAborted()
    syncStore(operation.store)
    addImages(operation.store, images)
    for (const { config } of images) await indexStack(operation.store, config.chainIds)
    return images.map(({ id, manifest, names }) => ({ id, manifest: manifest.digest, names }))
  } finally {
    operation.signal?.removeEventListener('abort', onAbort)
    await pool.close()
  }
}

async function prepare(operation: Operation, source: SourceImage, pool: UnpackPool): Promise<NewImage> {
  const { mediaType, bytes } = source.manifest
  const manifest = parseManifest(parseJsonObject(bytes, 'the manifest'), mediaType)
  const config = parseImageConfig(source.config)
  if (digestOf(source.config) !== manifest.config.digest) {
    throw new StoreError(
      'DIGEST',
      `wrong digest: the config is not the ${manifest.config.digest} of the manifest`,
    )
  }
  if (config.diffIds.length !== source.layers.length) {
    throw new StoreError(
      'INVALID',
      `the config names ${config.diffIds.length} layers, the manifest has ${source.layers.length}`,
    )
  }
  const limits = limitsFrom(process.env)
  const abort = new AbortController()
  const fetched = fetchAll(operation, source, abort.signal)
  try {
    await unpackAll(operation, source, fetched, { config, limits, pool })
    await Promise.all(fetched)
  } catch (error) {
    abort.abort()
    await Promise.allSettled(fetched)
    throw error
  }
  const id = putBlob(operation, source.config)
  const digest = putBlob(operation, bytes)
  const layers = source.layers.map(({ descriptor }) => descriptor)
  return {
    id,
    config,
    manifest: { digest, mediaType: manifest.mediaType, layers },
    names: source.names,
    repoDigests: source.repoDigests ?? [],
  }
}

/** Starts fetching all layer blobs, base first; returns a promise for each. */
function fetchAll(operation: Operation, source: SourceImage, stop: AbortSignal): Promise<number>[] {
  const free: (() => void)[] = []
  let running = 0
  const turn = async (): Promise<void> => {
    if (running >= FETCHES) await new Promise<void>((go) => free.push(go))
    else running++
  }
  const done = (): void => {
    const next = free.shift()
    if (next === undefined) running--
    else next()
  }
  const signal = operation.signal === undefined ? stop : AbortSignal.any([operation.signal, stop])
  const promises = source.layers.map(async ({ descriptor, open }) => {
    await turn()
    try {
      signal.throwIfAborted()
      return await ensureBlob({ ...operation, signal }, descriptor, open, {
        ...(source.isRetryable !== undefined && { isRetryable: source.isRetryable, tries: 5 }),
        ...(source.verb !== undefined && { verb: source.verb }),
      })
    } finally {
      done()
    }
  })
  // Each is awaited in its turn; until then a failure is no unhandled one.
  for (const promise of promises) promise.catch(() => {})
  return promises
}

async function unpackAll(
  operation: Operation,
  source: SourceImage,
  fetched: readonly Promise<number>[],
  all: Pick<LayerWork, 'config' | 'limits' | 'pool'>,
): Promise<void> {
  const running: Promise<void>[] = []
  let hasFailed = false
  for (const [at, { descriptor }] of source.layers.entries()) {
    await fetched[at]
    if (hasFailed) break
    const below = Promise.all(running.slice())
    below.catch(() => {})
    const { ended } = await startLayer(operation, { ...all, at, blob: descriptor.digest, below })
    ended.catch(() => {
      hasFailed = true
    })
    running.push(ended)
  }
  await Promise.all(running)
}

type LayerWork = {
  readonly config: ImageConfig
  /** Position, 0 is the base. */
  readonly at: number
  readonly blob: Digest
  /** Resolves when the layers below are in place. */
  readonly below: Promise<unknown>
  readonly limits: UnpackLimits
  readonly pool: UnpackPool
}

/**
 * Resolves when the layer's turn has come: its lock and a thread are ours, or it is there already.
 * `ended` resolves when it is in place. Turns are taken base first, here and in every other process,
 * so that whoever holds one waits only for those that can go on.
 */
async function startLayer(operation: Operation, work: LayerWork): Promise<{ ended: Promise<void> }> {
  const { store, signal } = operation
  const chainId = work.config.chainIds[work.at]!
  const exists = (): boolean => {
    if (layerRow(store, chainId) === undefined) return false
    operation.onProgress({ id: work.blob, status: 'done' })
    return true
  }
  const ended = Promise.resolve()
  if (exists()) return { ended }
  const held = await lock(store.layout.locks, `layer-${hexOf(chainId)}`, 'exclusive', { signal })
  try {
    if (exists()) {
      held.release()
      return { ended }
    }
    const worker = await work.pool.take()
    return { ended: unpackInto(operation, work, worker).finally(() => held.release()) }
  } catch (error) {
    held.release()
    throw error
  }
}

async function unpackInto(operation: Operation, work: LayerWork, worker: Worker): Promise<void> {
  const { store, onProgress } = operation
  const { config, at, blob, below, limits, pool } = work
  const { layout } = store
  const draft = join(operation.dir, `layer-${at}-${randomUUID()}`)
  mkdirSync(draft, { mode: 0o700 })
  const lowers = config.chainIds
    .slice(0, at)
    .map((each) => layerTree(layout, each))
    .reverse()
  const unpacked = await pool.run(worker, {
    blob: blobPath(layout, blob),
    tree: join(draft, 'fs'),
    diffId: config.diffIds[at]!,
    lowers: below.then(() => lowers),
    limits,
    onBytes: (current) => onProgress({ id: blob, status: 'unpacking', current }),
  })
  operation.signal?.throwIfAborted()
  for (const owner of unpacked.lostOwners) operation.lostOwners.add(owner)
  keepLayer(store, draft, config, at, unpacked)
  onProgress({ id: blob, status: 'done' })
}

/** Puts an unpacked layer (a directory with `fs` in it) in its place and in the table. */
export function keepLayer(
  store: Store,
  draft: string,
  config: ImageConfig,
  at: number,
  unpacked: Unpacked,
): void {
  const chainId = config.chainIds[at]!
  const place = layerDir(store.layout, chainId)
  // Without a row it is what a crash left between these two steps.
  removeTree(place)
  renameSync(draft, place)
  store.db
    .prepare('INSERT OR REPLACE INTO layers VALUES (?, ?, ?, ?, ?, ?)')
    .run(
      chainId,
      config.diffIds[at]!,
      config.chainIds[at - 1] ?? '',
      unpacked.size,
      unpacked.entries,
      Date.now(),
    )
}

/** Returns the limits that MICA_MAX_LAYER_BYTES and MICA_MAX_LAYER_ENTRIES set. Throws for what is no number. */
function limitsFrom(env: NodeJS.ProcessEnv): UnpackLimits {
  const number = (name: string, otherwise: number): number => {
    const text = env[name] ?? ''
    const value = Number(text)
    if (text === '') return otherwise
    if (Number.isSafeInteger(value) && value > 0) return value
    throw new StoreError('INVALID', `${name}=${text}: give a whole number from 1 on, in digits`)
  }
  return {
    bytes: number('MICA_MAX_LAYER_BYTES', DEFAULT_LIMITS.bytes),
    entries: number('MICA_MAX_LAYER_ENTRIES', DEFAULT_LIMITS.entries),
  }
}
