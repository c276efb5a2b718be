// Images, tags and layers in the database: what is there, how a name finds its image, and the one
// transaction that adds one.

import { readBlob } from './blob-store.js'
import { type Descriptor, parseJsonObject, parseManifest } from './descriptor.js'
import type { Digest } from './digest.js'
import { StoreError } from './errors.js'
import { type ImageConfig, parseImageConfig } from './image-config.js'
import type { Db } from './metadata.js'
import { nearest } from './nearest.js'
import {
  familiar,
  formatReference,
  parseReference,
  repositoryOf,
  splitTag,
  withDefaultTag,
} from './reference.js'
import type { Store } from './store.js'

export type ImageRow = {
  readonly id: Digest
  readonly created: string
  readonly os: string
  readonly architecture: string
  readonly variant: string
  readonly added_ms: number
}

export type TagRow = { readonly reference: string; readonly image: Digest; readonly manifest: Digest }

export type LayerRow = {
  readonly chain_id: Digest
  readonly diff_id: Digest
  readonly parent: string
  readonly size: number
  readonly entries: number
}

/** An image, and the name by which it was found, if it was one. */
export type FoundImage = {
  readonly id: Digest
  readonly manifest: Digest
  /** Full reference; undefined when it was found by id or digest. */
  readonly reference: string | undefined
}

export type NewImage = {
  readonly id: Digest
  readonly config: ImageConfig
  readonly manifest: {
    readonly digest: Digest
    readonly mediaType: string
    readonly layers: readonly Descriptor[]
  }
  readonly names: readonly string[]
  readonly repoDigests: readonly { readonly repository: string; readonly digest: string }[]
}

/** Adds images with their tags, all or none. Their blobs and layers must be in place. */
export function addImages({ db }: Store, images: readonly NewImage[], now = Date.now()): void {
  db.transaction(() => {
    for (const image of images) addImage(db, image, now)
  }).immediate()
}

function addImage(db: Db, { id, config, manifest, names, repoDigests }: NewImage, now: number): void {
  const { os, architecture, variant = '' } = config.platform
  db.prepare('INSERT OR IGNORE INTO images VALUES (?, ?, ?, ?, ?, ?)').run(
    id,
    config.created,
    os,
    architecture,
    variant,
    now,
  )
  const layer = db.prepare('INSERT OR IGNORE INTO image_layers VALUES (?, ?, ?)')
  for (const [at, chain] of config.chainIds.entries()) layer.run(id, at, chain)
  db.prepare('INSERT OR IGNORE INTO manifests VALUES (?, ?, ?, ?)').run(
    manifest.digest,
    id,
    manifest.mediaType,
    now,
  )
  const blob = db.prepare('INSERT OR IGNORE INTO manifest_layers VALUES (?, ?, ?, ?, ?)')
  for (const [at, { digest, size, mediaType }] of manifest.layers.entries()) {
    blob.run(manifest.digest, at, digest, size, mediaType)
  }
  for (const name of names) setTag(db, { reference: name, image: id, manifest: manifest.digest }, now)
  const repo = db.prepare('INSERT OR REPLACE INTO repo_digests VALUES (?, ?, ?)')
  for (const { repository, digest } of repoDigests) repo.run(repository, digest, id)
}

/** Makes a full reference mean an image; one that it meant before loses it. Needs a transaction. */
export function setTag(db: Db, { reference, image, manifest }: TagRow, now: number): void {
  const before = db
    .prepare<[string], { image: Digest }>('SELECT image FROM tags WHERE reference = ?')
    .get(reference)
  db.prepare(
    `INSERT INTO tags VALUES (?, ?, ?, ?) ON CONFLICT (reference)
     DO UPDATE SET image = excluded.image, manifest = excluded.manifest, updated_ms = excluded.updated_ms`,
  ).run(reference, image, manifest, now)
  if (before !== undefined && before.image !== image) {
    forgetRepoDigests(db, before.image, splitTag(reference)[0])
  }
}

/**
 * Forgets by which digests a repository knows an image, if no tag of that repository means it: else what a
 * pulled tag leaves behind would have a name for ever. Returns what was forgotten. Needs a transaction.
 */
export function forgetRepoDigests(db: Db, image: Digest, repository: string): string[] {
  return db
    .prepare<[string, string, string], { name: string }>(
      `DELETE FROM repo_digests WHERE image = ? AND repository = ? AND NOT EXISTS
       (SELECT 1 FROM tags WHERE tags.image = repo_digests.image AND instr(reference, ? || ':') = 1)
       RETURNING repository || '@' || digest AS name`,
    )
    .all(image, repository, repository)
    .map(({ name }) => name)
}

export function listImages({ db }: Store): ImageRow[] {
  return db.prepare<[], ImageRow>('SELECT * FROM images ORDER BY created DESC, id').all()
}

export function listTags({ db }: Store): TagRow[] {
  return db.prepare<[], TagRow>('SELECT reference, image, manifest FROM tags ORDER BY reference').all()
}

export function tagsOf({ db }: Store, image: Digest): TagRow[] {
  return db
    .prepare<[string], TagRow>(
      'SELECT reference, image, manifest FROM tags WHERE image = ? ORDER BY reference',
    )
    .all(image)
}

/** Returns `repository@digest` names of an image. */
export function repoDigestsOf({ db }: Store, image: Digest): string[] {
  return db
    .prepare<[string], { repository: string; digest: string }>(
      'SELECT repository, digest FROM repo_digests WHERE image = ? ORDER BY repository, digest',
    )
    .all(image)
    .map(({ repository, digest }) => `${repository}@${digest}`)
}

export function layerRow({ db }: Store, chainId: Digest): LayerRow | undefined {
  return db.prepare<[string], LayerRow>('SELECT * FROM layers WHERE chain_id = ?').get(chainId)
}

/** Returns an image's layers, base first. */
export function layersOf({ db }: Store, image: Digest): LayerRow[] {
  return db
    .prepare<[string], LayerRow>(
      `SELECT layers.* FROM image_layers JOIN layers USING (chain_id) WHERE image = ? ORDER BY position`,
    )
    .all(image)
}

/** Returns how large an image is: the bytes of its layers' files. */
export function imageSize(store: Store, image: Digest): number {
  return layersOf(store, image).reduce((sum, { size }) => sum + size, 0)
}

/** Returns a layer's blob as some manifest in the store has it, if one does. */
export function knownLayer({ db }: Store, chainId: Digest): Descriptor | undefined {
  const row = db
    .prepare<[string], { blob: Digest; size: number; media_type: string }>(
      `SELECT blob, manifest_layers.size, manifest_layers.media_type
       FROM image_layers JOIN manifests USING (image)
       JOIN manifest_layers ON manifest = manifests.digest AND manifest_layers.position = image_layers.position
       WHERE chain_id = ? ORDER BY manifests.added_ms LIMIT 1`,
    )
    .get(chainId)
  return row && { digest: row.blob, size: row.size, mediaType: row.media_type }
}

export function readConfig({ layout }: Store, image: Digest): ImageConfig {
  return parseImageConfig(readBlob(layout, image))
}

/** Returns a manifest's bytes and what is in it. */
export function readManifest(
  { layout, db }: Store,
  digest: Digest,
): { bytes: Buffer; mediaType: string; layers: readonly Descriptor[]; config: Descriptor } {
  const row = db
    .prepare<[string], { media_type: string }>('SELECT media_type FROM manifests WHERE digest = ?')
    .get(digest)
  if (row === undefined) throw new StoreError('NOT_FOUND', `the store lacks manifest ${digest}`)
  const bytes = readBlob(layout, digest)
  const { layers, config } = parseManifest(parseJsonObject(bytes, 'the manifest'), row.media_type)
  return { bytes, mediaType: row.media_type, layers, config }
}

function newestManifest(db: Db, image: Digest): Digest {
  const sql = 'SELECT digest FROM manifests WHERE image = ? ORDER BY added_ms DESC LIMIT 1'
  return db.prepare<[string], { digest: Digest }>(sql).get(image)!.digest
}

/** Returns the image that a name, an id (or the beginning of one), or name@digest means. Throws NOT_FOUND. */
export function findImage(store: Store, text: string): FoundImage {
  const { db } = store
  const found = (FULL_ID.test(text) ? undefined : findByName(store, text)) ?? findById(db, text)
  if (found === undefined) throw noSuchImage(store, text)
  return found
}

function findByName({ db }: Store, text: string): FoundImage | undefined {
  const reference = withDefaultTag(parseReference(text))
  if (reference.digest !== undefined) {
    const repository = repositoryOf(reference)
    const row = db
      .prepare<[string, string], { image: Digest }>(
        'SELECT image FROM repo_digests WHERE repository = ? AND digest = ?',
      )
      .get(repository, reference.digest)
    const manifest = db
      .prepare<[string], { digest: Digest; image: Digest }>(
        'SELECT digest, image FROM manifests WHERE digest = ?',
      )
      .get(reference.digest)
    if (row === undefined) return undefined
    const own = manifest?.image === row.image ? manifest.digest : newestManifest(db, row.image)
    return { id: row.image, manifest: own, reference: undefined }
  }
  const full = formatReference(reference)
  const row = db
    .prepare<[string], TagRow>('SELECT reference, image, manifest FROM tags WHERE reference = ?')
    .get(full)
  return row && { id: row.image, manifest: row.manifest, reference: full }
}

const FULL_ID = /^(?:sha256:)?[0-9a-f]{64}$/
const ID_PREFIX = /^(?:sha256:)?([0-9a-f]{1,64})$/

function findById(db: Db, text: string): FoundImage | undefined {
  const hex = ID_PREFIX.exec(text)?.[1]
  if (hex === undefined) return undefined
  const rows = db
    .prepare<[string], { id: Digest }>("SELECT id FROM images WHERE id GLOB 'sha256:' || ? || '*' LIMIT 2")
    .all(hex)
  if (rows.length > 1) throw new StoreError('INVALID', `${text} is the beginning of several image ids`)
  const id = rows[0]?.id
  return id && { id, manifest: newestManifest(db, id), reference: undefined }
}

/** Returns the error for an unknown image, with the nearest names that are known. */
export function noSuchImage(store: Store, text: string): StoreError {
  const names = listTags(store).map(({ reference }) => familiar(reference))
  const near = nearest(text, names)
  const hint = near.length === 0 ? '' : `; there is ${near.join(', ')}`
  return new StoreError('NOT_FOUND', `no such image${hint}`)
}
