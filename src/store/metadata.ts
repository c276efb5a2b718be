// The database: its schema and how it is opened. Queries are where they are used (image-table.ts,
// container-table.ts, gc.ts). SQLite with a write-ahead log: several processes at once, and a
// transaction is there after kill -9 and after power loss, or it never was.

import Database from 'better-sqlite3'
import { StoreError } from './errors.js'

export type Db = Database.Database

const SCHEMA_VERSION = 1
/** How long a writer waits for another process's transaction; they are all short. */
const BUSY_MS = 15_000

// Images are known by their config's digest, as docker's are. `manifests` are the documents that
// give an image; two registries may compress its layers differently.
const SCHEMA = `
CREATE TABLE images (
  id TEXT PRIMARY KEY,
  created TEXT NOT NULL,
  os TEXT NOT NULL, architecture TEXT NOT NULL, variant TEXT NOT NULL,
  added_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE image_layers (
  image TEXT NOT NULL REFERENCES images ON DELETE CASCADE,
  position INTEGER NOT NULL, -- 0 is the base
  chain_id TEXT NOT NULL,
  PRIMARY KEY (image, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX image_layers_by_chain ON image_layers (chain_id);
CREATE TABLE manifests (
  digest TEXT PRIMARY KEY,
  image TEXT NOT NULL REFERENCES images ON DELETE CASCADE,
  media_type TEXT NOT NULL,
  added_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE manifest_layers (
  manifest TEXT NOT NULL REFERENCES manifests ON DELETE CASCADE,
  position INTEGER NOT NULL, -- 0 is the base
  blob TEXT NOT NULL,
  size INTEGER NOT NULL,
  media_type TEXT NOT NULL,
  PRIMARY KEY (manifest, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE tags (
  reference TEXT PRIMARY KEY, -- docker.io/library/alpine:latest
  image TEXT NOT NULL REFERENCES images,
  manifest TEXT NOT NULL REFERENCES manifests,
  updated_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE repo_digests (
  repository TEXT NOT NULL,
  digest TEXT NOT NULL, -- of the manifest or the index that was pulled or pushed
  image TEXT NOT NULL REFERENCES images ON DELETE CASCADE,
  PRIMARY KEY (repository, digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE layers (
  chain_id TEXT PRIMARY KEY,
  diff_id TEXT NOT NULL,
  parent TEXT NOT NULL, -- chain id, '' for a base
  size INTEGER NOT NULL, -- bytes of its files
  entries INTEGER NOT NULL,
  added_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE containers (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  image TEXT NOT NULL REFERENCES images,
  image_name TEXT NOT NULL,
  settings TEXT NOT NULL, -- JSON: what run was told
  created_ms INTEGER NOT NULL,
  pid INTEGER NOT NULL, -- 0 when it does not run
  start_time TEXT NOT NULL, -- of that pid, as /proc tells it
  exit_status INTEGER, -- of the last run; NULL before the first
  ended_ms INTEGER
) STRICT;
`

/** Opens the database, making it if need be. Throws when a newer mica made it. */
export function openDatabase(path: string): Db {
  const db = new Database(path, { timeout: BUSY_MS })
  try {
    useWriteAheadLog(db)
    db.pragma('synchronous = FULL')
    db.pragma('foreign_keys = ON')
    if (schemaVersion(db) === 0) {
      // Another process may be doing the same.
      db.transaction(() => {
        if (schemaVersion(db) !== 0) return
        db.exec(SCHEMA)
        db.pragma(`user_version = ${SCHEMA_VERSION}`)
      }).immediate()
    }
    const version = schemaVersion(db)
    if (version !== SCHEMA_VERSION) {
      throw new StoreError(
        'UNSUPPORTED',
        `${path} has format ${version}, made by a newer mica; this one knows ${SCHEMA_VERSION}`,
      )
    }
    return db
  } catch (error) {
    db.close()
    throw error
  }
}

const RETRY_MS = 5

/** For this change SQLite itself does not wait for another process that makes the database just now. */
function useWriteAheadLog(db: Db): void {
  for (const until = Date.now() + BUSY_MS; ; ) {
    try {
      db.pragma('journal_mode = WAL')
      return
    } catch (error) {
      const isBusy = String((error as { code?: unknown }).code).startsWith('SQLITE_BUSY')
      if (!isBusy || Date.now() >= until) throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS)
    }
  }
}

function schemaVersion(db: Db): number {
  return db.pragma('user_version', { simple: true }) as number
}
