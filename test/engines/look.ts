// What the engines' tests compare: the tree of a container or an image, and the layers of an image.

import { join } from 'node:path'
import { packageRoot } from '../support/package-root.js'
import type { Engine } from './engine.js'

const TREE = join(packageRoot, 'test/engines/tree.py')
const LAYERS = join(packageRoot, 'test/engines/layers.py')

/** A line for each path. */
export type Tree = Record<string, string>

const MOUNTED = `
set -e
if [ "$1" = image ]; then at=$(podman image mount "$2"); else at=$(podman mount "$2"); fi
python3 "$0" "$at" "$3"
if [ "$1" = image ]; then podman image unmount "$2"; else podman umount "$2"; fi >/dev/null
`

/** Returns the tree of a container or an image as podman mounts it; times from `before` on are "new". */
export function containerTree(
  engine: Engine,
  kind: 'container' | 'image',
  name: string,
  before: number,
): Tree {
  return JSON.parse(engine.inside('sh', ['-c', MOUNTED, TREE, kind, name, String(before)]).toString()) as Tree
}

/** Returns what is in each layer of an image, the base first. */
export function layersOf(engine: Engine, image: string, before: number): Tree[] {
  const archive = join(engine.world.makeDir('home/save'), 'image.tar')
  engine.world.mustRun('rm', ['-f', archive])
  engine.podman('save', '-q', '-o', archive, image)
  return JSON.parse(engine.world.mustRun('python3', [LAYERS, archive, String(before)])) as Tree[]
}

/** Returns mounts of containers, images and layers that are left. */
export function mountedBy(engine: Engine): string[] {
  return engine.world.mounts().map((line) => line.split(' ')[4]!)
}

/**
 * Returns what `podman diff` lists, sorted. A changed directory counts only without changes below: the engine's
 * drivers differ in which directories they list for their children's sake.
 */
export function diffOf(engine: Engine, container: string): string[] {
  const lines = engine
    .podman('diff', container)
    .split('\n')
    .filter((line) => line !== '')
    .sort()
  return lines.filter((line) => {
    const below = `${line.slice(2)}/`
    return !line.startsWith('C ') || !lines.some((other) => other.slice(2).startsWith(below))
  })
}

/** Returns the members of an archive, without times. */
export function listing(engine: Engine, path: string): string[] {
  const script = `tar tvf "$0" | sed 's/ 20[0-9-]* [0-9:]* / /' | LC_ALL=C sort`
  return engine.world.mustRun('sh', ['-c', script, path]).trim().split('\n')
}
