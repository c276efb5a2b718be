// What containerd asks of a snapshotter, with its rules (containerd's documentation of `snapshots`):
// active snapshots and views are made on committed ones, only active ones are committed, and what has
// children stays. Each change is one transaction; the order of its steps is explained in snapshotter.ts.

import { execFile } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, type Stats, statSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { SnapshotError } from './errors.js'
import { parseFilters } from './filter.js'
import { isUnpacking, type Mount, mountsOf, snapshotDir, treeDir } from './mounts.js'
import type { Kind, Labels, Snapshot, Usage } from './snapshot.js'
import { discardOrphans, type Snapshotter } from './snapshotter.js'
import { diskUsage } from './usage.js'

const LABEL_BYTES_MAX = 4096
const PAGE = 100

function checkName(what: string, name: string): void {
  if (name === '') throw new SnapshotError('INVALID_ARGUMENT', `the ${what} is empty`)
}

function checkLabels(labels: Labels): void {
  for (const [key, value] of Object.entries(labels)) {
    if (Buffer.byteLength(key) + Buffer.byteLength(value) <= LABEL_BYTES_MAX) continue
    const shown = JSON.stringify(key.slice(0, 64))
    throw new SnapshotError(
      'INVALID_ARGUMENT',
      `label ${shown} and its value have more than ${LABEL_BYTES_MAX} bytes`,
    )
  }
}

function get({ metadata }: Snapshotter, name: string): Snapshot {
  checkName('key', name)
  const snapshot = metadata.find(name)
  if (snapshot === undefined) throw new SnapshotError('NOT_FOUND', `snapshot ${name}`)
  return snapshot
}

/** Returns what is known of the tree; throws when it was taken away under our hands. */
function statTree({ settings: { root } }: Snapshotter, id: number, name: string): Stats {
  const stat = statSync(treeDir(root, id), { throwIfNoEntry: false })
  if (stat === undefined) {
    throw new SnapshotError('NOT_FOUND', `snapshot ${name}: its directory ${treeDir(root, id)}`)
  }
  return stat
}

/** Makes an active snapshot or a view and returns its mounts. */
export function create(
  snapshotter: Snapshotter,
  kind: Exclude<Kind, 'committed'>,
  key: string,
  parent: string,
  labels: Labels,
): Mount[] {
  const { metadata, settings, indexes, onStep, trash } = snapshotter
  checkName('key', key)
  checkLabels(labels)
  let id = 0
  try {
    metadata.transaction(() => {
      const below = parent === '' ? undefined : getParent(snapshotter, parent)
      if (metadata.find(key) !== undefined) throw new SnapshotError('ALREADY_EXISTS', `snapshot ${key}`)
      const model = below && statTree(snapshotter, below.id, parent)
      id = metadata.insert(key, below?.id ?? null, kind, labels)
      if (below !== undefined && isUnpacking(key)) indexes?.goOn(below.id)
      onStep('create: row')
      makeDirectories(snapshotter, id, kind, model)
      onStep('create: directories')
    })
  } catch (error) {
    if (id !== 0) trash.put(snapshotDir(settings.root, id), String(id))
    throw error
  }
  onStep('create: committed')
  return mounts(snapshotter, key)
}

function getParent({ metadata }: Snapshotter, name: string): Snapshot {
  const parent = metadata.find(name)
  if (parent === undefined) throw new SnapshotError('NOT_FOUND', `parent snapshot ${name}`)
  if (parent.kind !== 'committed') {
    throw new SnapshotError('INVALID_ARGUMENT', `parent ${name} is not a committed snapshot`)
  }
  return parent
}

/** `model`: the parent's root directory, whose owner and mode the new one shows. */
function makeDirectories(
  { settings: { root }, trash }: Snapshotter,
  id: number,
  kind: Kind,
  model: Stats | undefined,
): void {
  const dir = snapshotDir(root, id)
  // Left of a transaction that came to nothing.
  trash.put(dir, String(id))
  mkdirSync(dir, { mode: 0o700 })
  const tree = treeDir(root, id)
  mkdirSync(tree)
  if (model !== undefined) chownSync(tree, model.uid, model.gid)
  chmodSync(tree, (model?.mode ?? 0o755) & 0o7777)
  if (kind === 'active') mkdirSync(join(dir, 'work'), { mode: 0o711 })
}

/** Returns how an active snapshot or a view is mounted. */
export function mounts(snapshotter: Snapshotter, key: string): Mount[] {
  const { metadata, settings } = snapshotter
  const snapshot = get(snapshotter, key)
  if (snapshot.kind === 'committed') {
    throw new SnapshotError('FAILED_PRECONDITION', `snapshot ${key} is committed, neither active nor a view`)
  }
  const lineage = metadata.lineage(snapshot.id)
  for (const id of [snapshot.id, ...lineage]) statTree(snapshotter, id, key)
  return mountsOf(settings, snapshot, lineage)
}

/** The active snapshot `key` becomes the committed one `name`, with these labels alone. */
export async function commit(
  snapshotter: Snapshotter,
  name: string,
  key: string,
  labels: Labels,
): Promise<void> {
  const { metadata, settings, indexes, onStep, sync } = snapshotter
  checkName('name', name)
  checkLabels(labels)
  const check = (): Snapshot => {
    if (metadata.find(name) !== undefined)
      throw new SnapshotError('ALREADY_EXISTS', `committed snapshot ${name}`)
    const snapshot = get(snapshotter, key)
    if (snapshot.kind === 'active') return snapshot
    throw new SnapshotError('FAILED_PRECONDITION', `snapshot ${key} is not active`)
  }
  const { id } = check()
  statTree(snapshotter, id, key)
  const tree = treeDir(settings.root, id)
  if (sync) await promisify(execFile)('sync', ['-f', tree])
  const usage = await diskUsage(tree)
  onStep('commit: measured')
  metadata.transaction(() => {
    // Somebody may have been here meanwhile.
    if (check().id !== id) throw new SnapshotError('NOT_FOUND', `snapshot ${key}`)
    metadata.commit(id, name, usage, labels)
    onStep('commit: row')
  })
  onStep('commit: committed')
  indexes?.add(id)
}

/** Forgets a snapshot that has no children; its directory is deleted in the background. */
export function remove(snapshotter: Snapshotter, key: string): void {
  const { metadata, settings, trash, onStep, say } = snapshotter
  const { id } = metadata.transaction(() => {
    const snapshot = get(snapshotter, key)
    if (metadata.hasChild(snapshot.id)) {
      throw new SnapshotError('FAILED_PRECONDITION', `cannot remove snapshot ${key} with child`)
    }
    metadata.remove(snapshot.id)
    onStep('remove: row')
    return snapshot
  })
  onStep('remove: committed')
  try {
    trash.put(snapshotDir(settings.root, id), String(id))
  } catch (error) {
    // It is forgotten all the same; the next cleanup tries again.
    say(`${snapshotDir(settings.root, id)} can't be moved away: ${(error as Error).message}`)
  }
  onStep('remove: renamed')
}

export function stat(snapshotter: Snapshotter, key: string): Snapshot {
  return get(snapshotter, key)
}

/** Sets labels: all of them without `paths`, else those that `labels` or `labels.KEY` name. */
export function update(
  snapshotter: Snapshotter,
  key: string,
  labels: Labels,
  paths: readonly string[],
): Snapshot {
  const { metadata, onStep } = snapshotter
  const updated = metadata.transaction(() => {
    const snapshot = get(snapshotter, key)
    let wanted: Record<string, string> = paths.length === 0 ? { ...labels } : { ...snapshot.labels }
    for (const path of paths) {
      if (path === 'labels') wanted = { ...labels }
      else if (path.startsWith('labels.')) {
        const label = path.slice('labels.'.length)
        wanted[label] = Object.hasOwn(labels, label) ? labels[label]! : ''
      } else {
        throw new SnapshotError('INVALID_ARGUMENT', `cannot update field "${path}" of snapshot ${key}`)
      }
    }
    checkLabels(wanted)
    metadata.replaceLabels(snapshot.id, wanted)
    onStep('update: row')
    return get(snapshotter, key)
  })
  onStep('update: committed')
  return updated
}

/** Gives the snapshots that one of the filters lets through, some at a time. */
export function* list(snapshotter: Snapshotter, filters: readonly string[]): Generator<Snapshot[]> {
  const matches = parseFilters(filters)
  for (let after = 0; ; ) {
    const page = snapshotter.metadata.list(after, PAGE)
    if (page.length === 0) return
    const found = page.filter(matches)
    if (found.length > 0) yield found
    after = page.at(-1)!.id
  }
}

/** Returns what a snapshot itself takes on disk, without its parents: measured as it is while it is active. */
export async function usage(snapshotter: Snapshotter, key: string): Promise<Usage> {
  const { metadata, settings } = snapshotter
  const { id, kind } = get(snapshotter, key)
  if (kind !== 'active') return metadata.usage(id)
  statTree(snapshotter, id, key)
  return diskUsage(treeDir(settings.root, id))
}

/** Ends when all that was removed is deleted. */
export async function cleanup(snapshotter: Snapshotter): Promise<void> {
  discardOrphans(snapshotter)
  snapshotter.indexes?.sweep()
  await snapshotter.trash.empty()
}
