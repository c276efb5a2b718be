// `tag` and `rmi`: names come and go; an image goes with its last name, unless a container needs it.

import type { Digest } from './digest.js'
import { StoreError } from './errors.js'
import { collect } from './gc.js'
import { findImage, forgetRepoDigests, imageSize, setTag, tagsOf } from './image-table.js'
import { formatReference, parseReference, splitTag, withDefaultTag } from './reference.js'
import type { Store } from './store.js'

/** Gives an image a further name; another image that had it loses it. Returns the full name. */
export function tagImage(store: Store, image: string, name: string, now = Date.now()): string {
  const parsed = parseReference(name)
  if (parsed.digest !== undefined) throw new StoreError('INVALID', 'a tag has no digest')
  const reference = formatReference(withDefaultTag(parsed))
  store.db
    .transaction(() => {
      const { id, manifest } = findImage(store, image)
      setTag(store.db, { reference, image: id, manifest }, now)
    })
    .immediate()
  return reference
}

/** What has happened, in order. */
export type Removal = { readonly untagged: string } | { readonly deleted: string }

/**
 * Takes a name away, or all of them when the image is named by its id; the image goes with the last.
 * Throws CONFLICT while a container uses it (with `force` it then only loses its names), and for an
 * id with several names unless `force`.
 */
export function removeImage(store: Store, text: string, { force = false } = {}): Removal[] {
  const { db } = store
  const done: Removal[] = []
  db.transaction(() => {
    const found = findImage(store, text)
    const names = tagsOf(store, found.id).map(({ reference }) => reference)
    const going = found.reference === undefined ? names : [found.reference]
    if (found.reference === undefined && names.length > 1 && !force) {
      throw new StoreError('CONFLICT', `the image has several names: ${names.join(', ')}; -f takes them all`)
    }
    const isLast = going.length === names.length
    const users = containersOf(store, found.id)
    if (isLast && users.length > 0 && !force) {
      throw new StoreError('CONFLICT', `container ${users.join(', ')} uses it; mica rm that first, or rmi -f`)
    }
    for (const reference of going) {
      db.prepare('DELETE FROM tags WHERE reference = ?').run(reference)
      done.push({ untagged: reference })
    }
    const repositories = isLast ? repositoriesOf(store, found.id) : going.map((name) => splitTag(name)[0])
    for (const repository of repositories) {
      for (const untagged of forgetRepoDigests(db, found.id, repository)) done.push({ untagged })
    }
    if (!isLast || users.length > 0) return
    db.prepare('DELETE FROM images WHERE id = ?').run(found.id)
    done.push({ deleted: found.id })
  }).immediate()
  if (done.some((each) => 'deleted' in each)) {
    for (const { chainId } of collect(store)?.layers ?? []) done.push({ deleted: chainId })
  }
  return done
}

/** Returns the repositories that know an image by a digest. */
function repositoriesOf({ db }: Store, image: Digest): string[] {
  return db
    .prepare<[string], { repository: string }>(
      'SELECT DISTINCT repository FROM repo_digests WHERE image = ? ORDER BY repository',
    )
    .all(image)
    .map(({ repository }) => repository)
}

function containersOf({ db }: Store, image: Digest): string[] {
  return db
    .prepare<[string], { name: string }>('SELECT name FROM containers WHERE image = ? ORDER BY name')
    .all(image)
    .map(({ name }) => name)
}

export type PrunedImage = { readonly id: Digest; readonly names: readonly string[]; readonly size: number }

/** Returns the images that prune would take: without a name, or with `all` those that no container uses. */
export function prunable(store: Store, all: boolean): PrunedImage[] {
  const rows = store.db
    .prepare<[], { id: Digest }>(
      `SELECT id FROM images WHERE id NOT IN (SELECT image FROM containers)
       ${all ? '' : 'AND id NOT IN (SELECT image FROM tags) AND id NOT IN (SELECT image FROM repo_digests)'} ORDER BY id`,
    )
    .all()
  return rows.map(({ id }) => ({
    id,
    names: tagsOf(store, id).map(({ reference }) => reference),
    size: imageSize(store, id),
  }))
}

/** Removes these images with their names, those that a container has come to use excepted. */
export function pruneImages(store: Store, images: readonly PrunedImage[]): void {
  store.db
    .transaction(() => {
      for (const { id } of images) {
        if (containersOf(store, id).length > 0) continue
        store.db.prepare('DELETE FROM tags WHERE image = ?').run(id)
        store.db.prepare('DELETE FROM images WHERE id = ?').run(id)
      }
    })
    .immediate()
}
