// `df`: what the store takes on disk, and what of it nothing needs. Layer sizes are those taken when
// they were unpacked, so no tree is walked but those of containers.

import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { diskUsage } from './disk-usage.js'
import { filesIn } from './gc.js'
import type { Store } from './store.js'

export type DiskLine = {
  readonly type: 'Images' | 'Containers' | 'Blobs'
  readonly count: number
  /** How many are in use. */
  readonly active: number
  readonly bytes: number
  readonly reclaimable: number
}

export function diskReport(store: Store): DiskLine[] {
  return [images(store), containers(store), blobs(store)]
}

function number({ db }: Store, sql: string): number {
  return db.prepare(sql).pluck().get() as number
}

function images(store: Store): DiskLine {
  const used = 'SELECT chain_id FROM image_layers WHERE image IN (SELECT image FROM containers)'
  return {
    type: 'Images',
    count: number(store, 'SELECT count(*) FROM images'),
    active: number(store, 'SELECT count(DISTINCT image) FROM containers'),
    bytes: number(store, 'SELECT coalesce(sum(size), 0) FROM layers'),
    reclaimable: number(store, `SELECT coalesce(sum(size), 0) FROM layers WHERE chain_id NOT IN (${used})`),
  }
}

function containers(store: Store): DiskLine {
  const rows = store.db.prepare<[], { id: string; pid: number }>('SELECT id, pid FROM containers').all()
  let bytes = 0
  let reclaimable = 0
  for (const { id, pid } of rows) {
    const size = diskUsage(join(store.layout.containers, id, 'upper'))
    bytes += size
    if (pid === 0) reclaimable += size
  }
  return {
    type: 'Containers',
    count: rows.length,
    active: rows.filter(({ pid }) => pid !== 0).length,
    bytes,
    reclaimable,
  }
}

function blobs({ layout, db }: Store): DiskLine {
  const used = new Set(
    db
      .prepare<[], { digest: string }>(
        'SELECT id AS digest FROM images UNION SELECT digest FROM manifests UNION SELECT blob FROM manifest_layers',
      )
      .all()
      .map(({ digest }) => digest.slice('sha256:'.length)),
  )
  const names = readdirSync(layout.blobs)
  const line = { type: 'Blobs' as const, count: names.length, active: 0, bytes: 0, reclaimable: 0 }
  for (const name of names) {
    const { blocks } = statSync(join(layout.blobs, name))
    line.bytes += blocks * 512
    if (used.has(name)) line.active++
    else line.reclaimable += blocks * 512
  }
  for (const { bytes } of filesIn(layout.partial)) {
    line.bytes += bytes
    line.reclaimable += bytes
  }
  return line
}
