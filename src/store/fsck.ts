// `fsck`: proves that the store holds what it says. A blob by its digest; a layer by unpacking its blob
// again (which proves the diff id) and comparing the trees; its index by making it again; an image by its
// documents.

import { createReadStream, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { close, openRoot } from './at.js'
import { blobPath, blobSize, readBlob } from './blob-store.js'
import { type Digest, Hasher } from './digest.js'
import { discard } from './gc.js'
import { knownLayer, layersOf, listImages, readConfig } from './image-table.js'
import { checkIndex, damagedStacks, remakeIndex } from './layer-index.js'
import { layerDir, layerTree } from './layout.js'
import type { Operation, Store } from './store.js'
import { removeTree } from './store.js'
import { compareTrees } from './tree-compare.js'
import { unpackLayer } from './unpack-layer.js'

export type Problem = {
  /** A digest; of an index the chain id of its layer, or its file for that of a stack. */
  readonly object: string
  readonly kind: 'blob' | 'layer' | 'image' | 'index'
  readonly words: string
  readonly isRepaired: boolean
}

export type CheckReport = {
  readonly problems: readonly Problem[]
  readonly blobs: number
  readonly layers: number
  readonly images: number
  /** Layers without their blob: nothing to prove them by. */
  readonly unproven: number
}

const SHOWN_MAX = 3

/** Checks all; with `repair`, layers that differ are unpacked anew. Needs: no mount on them then. */
export async function checkStore(operation: Operation, repair: boolean): Promise<CheckReport> {
  const { store } = operation
  const problems: Problem[] = []
  const damaged = await checkBlobs(store, problems)
  const images = listImages(store)
  let layers = 0
  let unproven = 0
  const seen = new Set<Digest>()
  for (const { id } of images) {
    const chainIds = imageChains(store, id, problems)
    for (const [at, chainId] of chainIds.entries()) {
      if (seen.has(chainId)) continue
      seen.add(chainId)
      layers++
      const blob = knownLayer(store, chainId)
      if (
        blob === undefined ||
        blobSize(store.layout, blob.digest) === undefined ||
        damaged.has(blob.digest)
      ) {
        unproven++
        if (!existsSync(layerTree(store.layout, chainId))) {
          problems.push({
            object: chainId,
            kind: 'layer',
            words: 'is missing, and so is its blob',
            isRepaired: false,
          })
        }
        continue
      }
      await checkLayer(operation, id, at, chainIds, blob.digest, repair, problems)
    }
  }
  const wrong = new Set(problems.filter(({ isRepaired }) => !isRepaired).map(({ object }) => object))
  for (const chainId of seen) if (!wrong.has(chainId)) await checkLayerIndex(store, chainId, repair, problems)
  for (const { path, words } of await damagedStacks(store)) {
    // The next mount makes it anew.
    if (repair) rmSync(path, { force: true })
    problems.push({ object: path, kind: 'index', words, isRepaired: repair })
  }
  return { problems, blobs: damaged.count, layers, images: images.length, unproven }
}

async function checkBlobs(store: Store, problems: Problem[]): Promise<Set<string> & { count: number }> {
  const damaged = Object.assign(new Set<string>(), { count: 0 })
  const rows = store.db
    .prepare<[], { digest: Digest }>(
      'SELECT id AS digest FROM images UNION SELECT digest FROM manifests UNION SELECT blob FROM manifest_layers',
    )
    .all()
  for (const { digest } of rows) {
    damaged.count++
    const path = blobPath(store.layout, digest)
    const problem = (words: string): void => {
      damaged.add(digest)
      problems.push({ object: digest, kind: 'blob', words, isRepaired: false })
    }
    if (!existsSync(path)) {
      problem('is missing')
      continue
    }
    const hasher = new Hasher()
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 }))
      hasher.update(chunk as Buffer)
    if (hasher.digest() !== digest) problem('is damaged: its content has another digest')
  }
  return damaged
}

/** Returns an image's chain ids, with what is wrong about its documents noted. */
function imageChains(store: Store, id: Digest, problems: Problem[]): readonly Digest[] {
  try {
    readBlob(store.layout, id)
    const { chainIds } = readConfig(store, id)
    const rows = layersOf(store, id).map(({ chain_id }) => chain_id)
    if (rows.join() !== chainIds.join()) {
      problems.push({
        object: id,
        kind: 'image',
        words: 'has layers that the store does not list',
        isRepaired: false,
      })
    }
    return chainIds
  } catch (error) {
    problems.push({ object: id, kind: 'image', words: (error as Error).message, isRepaired: false })
    return []
  }
}

async function checkLayer(
  operation: Operation,
  image: Digest,
  at: number,
  chainIds: readonly Digest[],
  blob: Digest,
  repair: boolean,
  problems: Problem[],
): Promise<void> {
  const { store, dir, onProgress } = operation
  const chainId = chainIds[at]!
  onProgress({ id: chainId, status: 'unpacking' })
  const draft = join(dir, `check-${at}`)
  mkdirSync(draft, { mode: 0o700 })
  const tree = join(draft, 'fs')
  const lowers = chainIds
    .slice(0, at)
    .map((each) => layerTree(store.layout, each))
    .reverse()
  const problem = (words: string, isRepaired: boolean): void => {
    problems.push({ object: chainId, kind: 'layer', words, isRepaired })
  }
  try {
    const diffId = readConfig(store, image).diffIds[at]!
    await unpackLayer({ blob: blobPath(store.layout, blob), tree, diffId, lowers: Promise.resolve(lowers) })
    const words = differenceOf(tree, layerTree(store.layout, chainId))
    if (words !== undefined) {
      if (repair) {
        discard(store, layerDir(store.layout, chainId))
        renameSync(draft, layerDir(store.layout, chainId))
      }
      problem(words, repair)
    }
  } catch (error) {
    // These say nothing about the layer.
    if (['ENOSPC', 'EDQUOT', 'EMFILE'].includes(String((error as NodeJS.ErrnoException).code))) throw error
    problem((error as Error).message, false)
  } finally {
    removeTree(draft)
    onProgress({ id: chainId, status: 'done' })
  }
}

/** A layer that is right, or was made right, has an index that says the same. */
async function checkLayerIndex(
  store: Store,
  chainId: Digest,
  repair: boolean,
  problems: Problem[],
): Promise<void> {
  const tree = layerTree(store.layout, chainId)
  if (!existsSync(tree)) return
  const words = await checkIndex(tree)
  if (words === undefined) return
  const isRepaired = repair && (await remakeIndex(tree))
  problems.push({ object: chainId, kind: 'index', words, isRepaired })
}

function differenceOf(expected: string, actual: string): string | undefined {
  if (!existsSync(actual)) return 'is missing'
  const fds = [openRoot(expected), openRoot(actual)] as const
  try {
    const found: string[] = []
    for (const line of compareTrees(...fds)) {
      if (found.length === SHOWN_MAX) {
        found.push('…')
        break
      }
      found.push(line)
    }
    return found.length === 0 ? undefined : found.join('; ')
  } finally {
    for (const fd of fds) close(fd)
  }
}
