// How a snapshot is mounted: what containerd is told. Nothing here touches the disk.
//
// As containerd's own overlayfs snapshotter has it: a bind mount where one directory is all there is,
// else a union. The union is `fuse3.PROGRAM`, for which containerd runs `mount.fuse3`, which runs
// PROGRAM from its PATH.

import { join } from 'node:path'
import type { Kind, Labels } from './snapshot.js'

export type Mount = {
  readonly type: string
  readonly source: string
  readonly target: string
  readonly options: readonly string[]
}

/** `direct`: containerd unpacks layers into the upper itself; `mount`: through a mount. */
export type UnpackMode = 'direct' | 'mount'

export type MountSettings = {
  readonly root: string
  /** The mount program, by its name in PATH or by its path. */
  readonly program: string
  readonly unpack: UnpackMode
  /** The program keeps and takes indexes of the lowers. */
  readonly hasIndexes: boolean
}

const UID_MAPPING = 'containerd.io/snapshot/uidmapping'
const GID_MAPPING = 'containerd.io/snapshot/gidmapping'

export function snapshotDir(root: string, id: number): string {
  return join(root, 'snapshots', String(id))
}

/** The tree of a snapshot: the upper of an active one, a lower of those above it. */
export function treeDir(root: string, id: number): string {
  return join(snapshotDir(root, id), 'fs')
}

/** An empty directory, for a union with nothing below. */
export function emptyDir(root: string): string {
  return join(root, 'empty')
}

/** Where the indexes of stacks of layers are kept. */
export function indexDir(root: string): string {
  return join(root, 'index')
}

/** Returns mica's form of a label CONTAINER:HOST:COUNT[,…]; undefined when every id is itself. */
export function mappingOf(labels: Labels, key: string): string | undefined {
  const text = Object.hasOwn(labels, key) ? labels[key]! : ''
  const ranges = text.split(',').filter((range) => /^\d+:\d+:[1-9]\d*$/.test(range))
  if (ranges.every((range) => range.split(':')[0] === range.split(':')[1])) return undefined
  return ranges.join(':')
}

/** containerd unpacks a layer under a key `extract-TIME-RANDOM CHAINID`, with the namespace before it. */
export function isUnpacking(key: string): boolean {
  return /(^|\/)extract-\S+ /.test(key)
}

function bind(source: string, access: 'ro' | 'rw'): Mount[] {
  return [{ type: 'bind', source, target: '', options: [access, 'rbind'] }]
}

/** Returns what to mount for an active snapshot or a view. `lineage`: its parents' ids, top first. */
export function mountsOf(
  { root, program, unpack, hasIndexes }: MountSettings,
  snapshot: { readonly id: number; readonly name: string; readonly kind: Kind; readonly labels: Labels },
  lineage: readonly number[],
): Mount[] {
  const { id, kind, labels } = snapshot
  const uids = mappingOf(labels, UID_MAPPING)
  const gids = mappingOf(labels, GID_MAPPING)
  const isMapped = uids !== undefined || gids !== undefined
  const isView = kind === 'view'
  if (!isMapped) {
    if (lineage.length === 0) return bind(treeDir(root, id), isView ? 'ro' : 'rw')
    if (isView && lineage.length === 1) return bind(treeDir(root, lineage[0]!), 'ro')
  }
  const lowers = lineage.map((each) => treeDir(root, each))
  if (lowers.length === 0) lowers.push(isView ? treeDir(root, id) : emptyDir(root))
  const options = isView
    ? []
    : [`workdir=${join(snapshotDir(root, id), 'work')}`, `upperdir=${treeDir(root, id)}`]
  options.push(`lowerdir=${lowers.join(':')}`)
  // Told that it is overlayfs, containerd writes a layer's files into the upper without any mount,
  // whiteouts in overlayfs's form. Should it mount this after all, the kernel makes the same tree of it.
  if (!isView && !isMapped && unpack === 'direct' && isUnpacking(snapshot.name)) {
    return [{ type: 'overlay', source: 'overlay', target: '', options }]
  }
  // Committed layers never change.
  if (hasIndexes && lineage.length > 0) options.push(`index_dir=${indexDir(root)}`)
  if (uids !== undefined) options.push(`uidmapping=${uids}`)
  if (gids !== undefined) options.push(`gidmapping=${gids}`)
  return [{ type: `fuse3.${program}`, source: 'overlay', target: '', options }]
}
