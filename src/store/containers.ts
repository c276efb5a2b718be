// Containers: a writable layer on an image, with a name and what it was told to run. Here are their
// rows and directories; mounting and running are the mount side's.

import { randomBytes, randomInt } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { storedXattrName } from '../format/whiteout.js'
import { close, imageXattrs, openRoot, setMode, setOwner, setTime, statAt, trySetXattr } from './at.js'
import type { Digest } from './digest.js'
import { StoreError } from './errors.js'
import { discard } from './gc.js'
import { type FoundImage, readConfig } from './image-table.js'
import { layerTree } from './layout.js'
import { nearest } from './nearest.js'
import { familiar } from './reference.js'
import { removeContent, type Store } from './store.js'

/** What a container was told when it was made; kept so that `diff`, `commit` and `ps` know it. */
export type ContainerSettings = {
  readonly command: readonly string[]
}

export type Container = {
  readonly id: string
  readonly name: string
  readonly image: Digest
  /** As people named it. */
  readonly imageName: string
  readonly settings: ContainerSettings
  readonly createdMs: number
  /** 0 when it does not run; else see `startTime`, as pids are used again. */
  readonly pid: number
  readonly startTime: string
  /** Of its last run; null before the first. */
  readonly exitStatus: number | null
  readonly endedMs: number | null
}

type Row = {
  id: string
  name: string
  image: Digest
  image_name: string
  settings: string
  created_ms: number
  pid: number
  start_time: string
  exit_status: number | null
  ended_ms: number | null
}

function fromRow(row: Row): Container {
  return {
    id: row.id,
    name: row.name,
    image: row.image,
    imageName: row.image_name,
    settings: JSON.parse(row.settings) as ContainerSettings,
    createdMs: row.created_ms,
    pid: row.pid,
    startTime: row.start_time,
    exitStatus: row.exit_status,
    endedMs: row.ended_ms,
  }
}

const ADJECTIVES =
  'amber,brave,calm,deep,eager,fair,glad,keen,light,mild,neat,proud,quick,rare,still,tidy,vivid,warm'
const NOUNS =
  'basalt,biotite,feldspar,garnet,gneiss,granite,gypsum,lepidolite,marble,muscovite,opal,pyrite,quartz,schist,slate,talc'
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/
const ID_BYTES = 32
const TRIES = 100

function pick(words: string): string {
  const list = words.split(',')
  return list[randomInt(list.length)]!
}

/** Makes a container on an image. Throws CONFLICT when the name is taken. */
export function createContainer(
  store: Store,
  image: FoundImage,
  name: string | undefined,
  settings: ContainerSettings,
  now = Date.now(),
): Container {
  if (name !== undefined && !NAME.test(name)) {
    throw new StoreError(
      'INVALID',
      `${JSON.stringify(name)} is no container name: letters, digits, _ . - are allowed`,
    )
  }
  const id = randomBytes(ID_BYTES).toString('hex')
  const imageName = image.reference === undefined ? image.id.slice(7, 19) : familiar(image.reference)
  const isTaken = store.db.prepare('SELECT 1 FROM containers WHERE name = ?').pluck()
  const chosen = store.db
    .transaction(() => {
      let free = name ?? `${pick(ADJECTIVES)}_${pick(NOUNS)}`
      for (let at = 0; isTaken.get(free) !== undefined; at++) {
        if (name !== undefined)
          throw new StoreError('CONFLICT', `the name ${name} is taken; mica rm ${name} frees it`)
        free = `${pick(ADJECTIVES)}_${pick(NOUNS)}${at < TRIES ? '' : at}`
      }
      // The directories before the row: a row always has them, and without one they are swept.
      makeDirectories(store, id, image.id)
      store.db
        .prepare('INSERT INTO containers VALUES (?, ?, ?, ?, ?, ?, 0, ?, NULL, NULL)')
        .run(id, free, image.id, imageName, JSON.stringify(settings), now, '')
      return free
    })
    .immediate()
  return findContainer(store, chosen)
}

function makeDirectories(store: Store, id: string, image: Digest): void {
  const { upper, work, merged, empty } = containerPaths(store, id)
  for (const dir of [upper, work, merged]) mkdirSync(dir, { recursive: true, mode: 0o700 })
  const [top] = lowersOf(store, image)
  if (top === undefined) {
    mkdirSync(empty, { mode: 0o755 })
    chmodSync(upper, 0o755)
    return
  }
  // What a merged root shows is the upper's own root.
  const [from, to] = [openRoot(top), openRoot(upper)]
  const stat = statAt(from, '')!
  setOwner(to, '', stat.uid, stat.gid)
  setMode(to, '', stat.mode & 0o7777)
  for (const [name, value] of imageXattrs(from, '') ?? [])
    trySetXattr(to, '', storedXattrName(name) ?? name, value)
  setTime(to, '', stat.mtime, stat.mtimeNs)
  close(from)
  close(to)
}

export type ContainerPaths = {
  readonly upper: string
  readonly work: string
  readonly merged: string
  /** Stands below the upper when the image has no layers; not there otherwise. */
  readonly empty: string
}

export function containerPaths({ layout }: Store, id: string): ContainerPaths {
  const dir = join(layout.containers, id)
  return {
    upper: join(dir, 'upper'),
    work: join(dir, 'work'),
    merged: join(dir, 'merged'),
    empty: join(dir, 'empty'),
  }
}

/** Returns the trees of an image's layers, top first, as lowers are given. */
export function lowersOf(store: Store, image: Digest): string[] {
  const trees = readConfig(store, image).chainIds.map((chainId) => layerTree(store.layout, chainId))
  for (const tree of trees) {
    if (!existsSync(tree))
      throw new StoreError('NOT_FOUND', `layer ${tree} is missing; see mica fsck --repair`)
  }
  return trees.reverse()
}

export function listContainers({ db }: Store): Container[] {
  return db.prepare<[], Row>('SELECT * FROM containers ORDER BY created_ms DESC').all().map(fromRow)
}

/** Returns the container of a name, an id, or the beginning of one. Throws NOT_FOUND. */
export function findContainer(store: Store, text: string): Container {
  const all = listContainers(store)
  const byName = all.find(({ name, id }) => name === text || id === text)
  if (byName !== undefined) return byName
  const byId = /^[0-9a-f]+$/.test(text) ? all.filter(({ id }) => id.startsWith(text)) : []
  if (byId.length > 1) throw new StoreError('INVALID', `${text} is the beginning of several container ids`)
  if (byId.length === 1) return byId[0]!
  const near = nearest(
    text,
    all.map(({ name }) => name),
  )
  throw new StoreError(
    'NOT_FOUND',
    `no such container${near.length === 0 ? '' : `; there is ${near.join(', ')}`}`,
  )
}

/** Notes that it runs as this process. */
export function noteStarted({ db }: Store, id: string, pid: number, startTime: string): void {
  db.prepare('UPDATE containers SET pid = ?, start_time = ? WHERE id = ?').run(pid, startTime, id)
}

/** Notes that it has ended. */
export function noteEnded({ db }: Store, id: string, exitStatus: number, now = Date.now()): void {
  db.prepare(
    "UPDATE containers SET pid = 0, start_time = '', exit_status = ?, ended_ms = ? WHERE id = ?",
  ).run(exitStatus, now, id)
}

/** Removes a container, which must be neither running nor mounted. */
export function deleteContainer(store: Store, id: string): void {
  const dir = join(store.layout.containers, id)
  try {
    deleteRow(store, id)
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'SQLITE_FULL') throw error
    // What was written in it may be what fills the disk.
    removeContent(join(dir, 'upper'))
    deleteRow(store, id)
  }
  discard(store, dir)
}

function deleteRow({ db }: Store, id: string): void {
  db.prepare('DELETE FROM containers WHERE id = ?').run(id)
}

/** Removes directories that have no row; for a time when nothing is being made. */
export function sweepContainers(store: Store): void {
  const known = new Set(listContainers(store).map(({ id }) => id))
  for (const id of readdirSync(store.layout.containers)) {
    if (!known.has(id)) discard(store, join(store.layout.containers, id))
  }
}
