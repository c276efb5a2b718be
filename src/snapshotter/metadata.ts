// What is known of snapshots, in a database beside them: schema and queries. A transaction is there
// after kill -9 and after power loss, or it never was. Which changes are allowed is in snapshots.ts.

import Database from 'better-sqlite3'
import type { Kind, Labels, Snapshot, Usage } from './snapshot.js'

const SCHEMA_VERSION = 1

// AUTOINCREMENT: an id is never given twice, so what is left of a removed snapshot's directory can't
// be taken for another's.
const SCHEMA = `
CREATE TABLE snapshots (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  parent INTEGER REFERENCES snapshots,
  kind TEXT NOT NULL CHECK (kind IN ('view', 'active', 'committed')),
  created_ms INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL,
  size INTEGER NOT NULL DEFAULT 0,
  inodes INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX snapshots_by_parent ON snapshots (parent);
CREATE TABLE labels (
  snapshot INTEGER NOT NULL REFERENCES snapshots ON DELETE CASCADE,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (snapshot, key)
) STRICT, WITHOUT ROWID;
`

const COLUMNS = `
SELECT s.id, s.name, coalesce(p.name, '') AS parent, s.kind, s.created_ms, s.updated_ms,
  (SELECT json_group_object(key, value) FROM labels WHERE snapshot = s.id) AS labels
FROM snapshots s LEFT JOIN snapshots p ON p.id = s.parent`

type Row = {
  id: number
  name: string
  parent: string
  kind: Kind
  created_ms: number
  updated_ms: number
  labels: string
}

function fromRow({ id, name, parent, kind, created_ms, updated_ms, labels }: Row): Snapshot {
  const parsed = JSON.parse(labels) as Record<string, string>
  return { id, name, parent, kind, createdMs: created_ms, updatedMs: updated_ms, labels: parsed }
}

export class Metadata {
  readonly #db: Database.Database
  readonly #find
  readonly #list
  readonly #lineage
  readonly #hasChild
  readonly #insert
  readonly #commit
  readonly #touch
  readonly #remove
  readonly #usage
  readonly #setLabel
  readonly #clearLabels
  readonly #ids

  /** Opens the database, making it if need be. Throws when a newer mica made it. */
  constructor(path: string) {
    const db = new Database(path)
    this.#db = db
    try {
      db.pragma('journal_mode = WAL')
      db.pragma('synchronous = FULL')
      db.pragma('foreign_keys = ON')
      prepareSchema(db, path)
    } catch (error) {
      db.close()
      throw error
    }
    this.#find = db.prepare<[string], Row>(`${COLUMNS} WHERE s.name = ?`)
    this.#list = db.prepare<[number, number], Row>(`${COLUMNS} WHERE s.id > ? ORDER BY s.id LIMIT ?`)
    this.#lineage = db
      .prepare<[number], number>(`
        WITH RECURSIVE up (id, parent, depth) AS (
          SELECT id, parent, 0 FROM snapshots WHERE id = ?
          UNION ALL SELECT s.id, s.parent, depth + 1 FROM snapshots s JOIN up ON s.id = up.parent
        ) SELECT id FROM up WHERE depth > 0 ORDER BY depth`)
      .pluck()
    this.#hasChild = db.prepare<[number]>('SELECT 1 FROM snapshots WHERE parent = ? LIMIT 1')
    this.#insert = db.prepare<[string, number | null, Kind, number, number]>(
      'INSERT INTO snapshots (name, parent, kind, created_ms, updated_ms) VALUES (?, ?, ?, ?, ?)',
    )
    this.#commit = db.prepare<[string, number, number, number, number, number]>(
      `UPDATE snapshots SET name = ?, kind = 'committed', created_ms = ?, updated_ms = ?, size = ?, inodes = ? WHERE id = ?`,
    )
    this.#touch = db.prepare<[number, number]>('UPDATE snapshots SET updated_ms = ? WHERE id = ?')
    this.#remove = db.prepare<[number]>('DELETE FROM snapshots WHERE id = ?')
    this.#usage = db.prepare<[number], Usage>('SELECT size, inodes FROM snapshots WHERE id = ?')
    this.#setLabel = db.prepare<[number, string, string]>('INSERT INTO labels VALUES (?, ?, ?)')
    this.#clearLabels = db.prepare<[number]>('DELETE FROM labels WHERE snapshot = ?')
    this.#ids = db.prepare<[], number>('SELECT id FROM snapshots').pluck()
  }

  /** Runs `work` whole or not at all. It must not wait for anything. */
  transaction<T>(work: () => T): T {
    return this.#db.transaction(work).immediate()
  }

  find(name: string): Snapshot | undefined {
    const row = this.#find.get(name)
    return row && fromRow(row)
  }

  /** Up to `limit` snapshots with ids above `after`, in order of their ids. */
  list(after: number, limit: number): Snapshot[] {
    return this.#list.all(after, limit).map(fromRow)
  }

  /** The ids of parent, grandparent and so on: top first. */
  lineage(id: number): number[] {
    return this.#lineage.all(id)
  }

  ids(): Set<number> {
    return new Set(this.#ids.all())
  }

  hasChild(id: number): boolean {
    return this.#hasChild.get(id) !== undefined
  }

  /** Returns the new snapshot's id. */
  insert(name: string, parent: number | null, kind: Kind, labels: Labels): number {
    const now = Date.now()
    const id = Number(this.#insert.run(name, parent, kind, now, now).lastInsertRowid)
    this.#putLabels(id, labels)
    return id
  }

  /** The active snapshot becomes a committed one with these labels alone. */
  commit(id: number, name: string, { size, inodes }: Usage, labels: Labels): void {
    const now = Date.now()
    this.#commit.run(name, now, now, size, inodes, id)
    this.#putLabels(id, labels)
  }

  replaceLabels(id: number, labels: Labels): void {
    this.#touch.run(Date.now(), id)
    this.#putLabels(id, labels)
  }

  #putLabels(id: number, labels: Labels): void {
    this.#clearLabels.run(id)
    // An empty value stands for no label, as in containerd's own stores.
    for (const [key, value] of Object.entries(labels)) if (value !== '') this.#setLabel.run(id, key, value)
  }

  remove(id: number): void {
    this.#remove.run(id)
  }

  /** What was found when it was committed. */
  usage(id: number): Usage {
    return this.#usage.get(id) ?? { size: 0, inodes: 0 }
  }

  close(): void {
    this.#db.close()
  }
}

function prepareSchema(db: Database.Database, path: string): void {
  const version = db.pragma('user_version', { simple: true }) as number
  if (version === 0) {
    db.transaction(() => {
      db.exec(SCHEMA)
      db.pragma(`user_version = ${SCHEMA_VERSION}`)
    }).immediate()
  } else if (version !== SCHEMA_VERSION) {
    throw new Error(`${path} has format ${version}, made by a newer mica; this one knows ${SCHEMA_VERSION}`)
  }
}
