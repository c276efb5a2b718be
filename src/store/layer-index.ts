// The indexes of layers and of images' stacks (src/index): made when a layer is unpacked and an image is
// added, proved by fsck, swept when a layer goes. A mount that misses one makes it itself, so none is vital.
// They hold owners by number, which mean the same to whoever is root of this store, in a user namespace or not;
// an ordinary user who gets no namespace has none.

import { closeSync, readdirSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { BESIDE, checkFile, checkLayerIndex, openStack, readStamps, writeLayerIndex } from '../index/files.js'
import { STAMP_WORDS } from '../index/format.js'
import { type Stamp, stampOfFd } from '../index/stamp.js'
import { close, isRoot, openRoot } from './at.js'
import type { Digest } from './digest.js'
import { layerTree } from './layout.js'
import type { Store } from './store.js'

function besideTree(tree: string): string {
  return join(dirname(tree), BESIDE)
}

/** Writes the index of a layer's finished tree beside it. `root`: an fd of the tree. */
export async function indexLayer(root: number, tree: string): Promise<void> {
  if (basename(tree) !== 'fs' || !isRoot) return
  try {
    await writeLayerIndex(root, besideTree(tree))
  } catch {
    // A layer is as good without: too large for one, or holding what can't be read.
    rmSync(besideTree(tree), { force: true })
  }
}

/** Makes the index of an image's layers; `chainIds` base first. */
export async function indexStack(store: Store, chainIds: readonly Digest[]): Promise<void> {
  if (!isRoot) return
  const fds: number[] = []
  try {
    const layers = [...chainIds].reverse().map((chainId) => {
      const path = layerTree(store.layout, chainId)
      const fd = openRoot(path)
      fds.push(fd)
      return { fd, path, stamp: stampOfFd(fd) }
    })
    const index = layers.length === 0 ? undefined : await openStack(store.layout.indexes, layers, () => {})
    if (index !== undefined) closeSync(index.fd)
  } catch {
    // The first mount makes it.
  } finally {
    for (const fd of fds) close(fd)
  }
}

/** Returns what is wrong with a layer's index; undefined when it is right. */
export async function checkIndex(tree: string): Promise<string | undefined> {
  if (!isRoot) return undefined
  const root = openRoot(tree)
  try {
    return await checkLayerIndex(root, besideTree(tree))
  } finally {
    close(root)
  }
}

/** Makes a layer's index anew. Returns whether it is there now. */
export async function remakeIndex(tree: string): Promise<boolean> {
  const root = openRoot(tree)
  try {
    await indexLayer(root, tree)
    return (await checkLayerIndex(root, besideTree(tree))) === undefined
  } finally {
    close(root)
  }
}

/** Returns the files of the index directory that are damaged; those of stacks are made by mounts. */
export async function damagedStacks(store: Store): Promise<{ path: string; words: string }[]> {
  const damaged: { path: string; words: string }[] = []
  for (const name of readdirSync(store.layout.indexes)) {
    const path = join(store.layout.indexes, name)
    const words = await checkFile(path)
    if (words !== undefined) damaged.push({ path, words })
  }
  return damaged
}

/** Removes the indexes of stacks with a layer that is gone. */
export function sweepIndexes(store: Store): void {
  const { layout } = store
  const names = readdirSync(layout.indexes)
  if (names.length === 0) return
  const present = new Set<string>()
  for (const hex of readdirSync(layout.layers)) {
    try {
      const root = openRoot(join(layout.layers, hex, 'fs'))
      present.add(stampOfFd(root).join())
      close(root)
    } catch {
      // Being removed, or never finished.
    }
  }
  for (const name of names) {
    const path = join(layout.indexes, name)
    const stamps = readStamps(path)
    if (stamps === undefined || !each(stamps).every((stamp) => present.has(stamp)))
      rmSync(path, { force: true })
  }
}

function each(stamps: Stamp): string[] {
  return Array.from({ length: stamps.length / STAMP_WORDS }, (_, i) =>
    stamps.slice(i * STAMP_WORDS, (i + 1) * STAMP_WORDS).join(),
  )
}
