// What nothing refers to goes: layers of no image, blobs of no manifest, directories of no row.
// Only while no operation is under way anywhere, as those make things before they are referred to.

import { randomUUID } from 'node:crypto'
import { readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { parseDigest } from './digest.js'
import { diskUsage } from './disk-usage.js'
import { sweepIndexes } from './layer-index.js'
import { layerDir } from './layout.js'
import { removeTree, STORE_LOCK, type Store, whileIdle } from './store.js'

/** What can go, or has gone. Bytes are those on disk. */
export type Garbage = {
  readonly layers: readonly { readonly chainId: string; readonly bytes: number }[]
  readonly blobs: readonly { readonly digest: string; readonly bytes: number }[]
  /** Downloads that did not end. */
  readonly partial: readonly { readonly digest: string; readonly bytes: number }[]
  readonly bytes: number
}

const STAYING = 'NOT IN (SELECT value FROM json_each(:going))'
const USED_BLOBS = `
SELECT id AS digest FROM images WHERE id ${STAYING} UNION
SELECT digest FROM manifests WHERE image ${STAYING} UNION
SELECT blob FROM manifest_layers JOIN manifests ON manifest = digest WHERE image ${STAYING}`
const USED_LAYERS = `SELECT DISTINCT chain_id AS digest FROM image_layers WHERE image ${STAYING}`

function digests({ db }: Store, sql: string, going: readonly string[]): Set<string> {
  return new Set(
    db
      .prepare<[{ going: string }], { digest: string }>(sql)
      .all({ going: JSON.stringify(going) })
      .map(({ digest }) => digest),
  )
}

/** Returns the blobs in a directory with the bytes that they take. */
export function filesIn(dir: string): { digest: string; bytes: number }[] {
  return readdirSync(dir).map((hex) => {
    const stat = statSync(join(dir, hex), { throwIfNoEntry: false })
    return { digest: `sha256:${hex}`, bytes: (stat?.blocks ?? 0) * 512 }
  })
}

/** Returns what nothing refers to, or nothing but images that are to go. */
export function findGarbage(store: Store, going: readonly string[] = []): Garbage {
  const { layout } = store
  const usedBlobs = digests(store, USED_BLOBS, going)
  const usedLayers = digests(store, USED_LAYERS, going)
  const blobs = filesIn(layout.blobs).filter(({ digest }) => !usedBlobs.has(digest))
  const partial = filesIn(layout.partial)
  const layers = readdirSync(layout.layers)
    .map((hex) => `sha256:${hex}`)
    .filter((chainId) => !usedLayers.has(chainId))
    .map((chainId) => ({ chainId, bytes: diskUsage(join(layout.layers, chainId.slice('sha256:'.length))) }))
  const sum = (list: readonly { bytes: number }[]): number => list.reduce((all, { bytes }) => all + bytes, 0)
  return { layers, blobs, partial, bytes: sum(blobs) + sum(partial) + sum(layers) }
}

/** Removes what nothing refers to; undefined when an operation is under way, which leaves it for later. */
export function collect(store: Store): Garbage | undefined {
  let garbage: Garbage | undefined
  whileIdle(store, () => {
    garbage = findGarbage(store)
    const { layout, db } = store
    for (const { chainId } of garbage.layers) {
      // Out of the table first: a row always has its tree.
      db.prepare('DELETE FROM layers WHERE chain_id = ?').run(chainId)
      discard(store, layerDir(layout, parseDigest(chainId, 'a layer')))
    }
    for (const { digest } of garbage.blobs) {
      rmSync(join(layout.blobs, digest.slice('sha256:'.length)), { recursive: true, force: true })
    }
    for (const { digest } of garbage.partial) {
      rmSync(join(layout.partial, digest.slice('sha256:'.length)), { force: true })
    }
    sweepIndexes(store)
    // Whoever takes one of these holds the store's lock, which is ours now.
    for (const name of readdirSync(layout.locks)) {
      if (name !== STORE_LOCK) rmSync(join(layout.locks, name), { force: true })
    }
  })
  return garbage
}

/** Removes a tree so that it is never seen half gone: a sweep ends what a crash interrupts. */
export function discard({ layout }: Store, path: string): void {
  const trash = join(layout.tmp, `trash-${randomUUID()}`)
  try {
    renameSync(path, trash)
  } catch (error) {
    // Whoever removes the same thing may have been first.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  removeTree(trash)
}
