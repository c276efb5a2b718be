// `mica diff`: what a container or an image changed, or how two of them differ: A added, C changed,
// D deleted.

import type { Command } from 'commander'
import { O_DIRECTORY } from '../base/open-flags.js'
import { placeholdersOf } from '../mount/container.js'
import { close, openRoot, showName } from '../store/at.js'
import { changesOf } from '../store/changes.js'
import { openChangeRoots } from '../store/commit.js'
import { type Container, containerPaths, findContainer, lowersOf } from '../store/containers.js'
import { findImage } from '../store/image-table.js'
import { differencesOf } from '../store/stack-diff.js'
import type { Store } from '../store/store.js'
import { withTree } from './container-tree.js'
import { isNotFound, neither, storeCommand, withLayers } from './store-command.js'

type Line = { readonly kind: string; readonly path: string }

/** A side of a comparison: its trees, top first, and the container whose mount may be needed. */
type Target = { readonly trees: readonly string[]; readonly container?: Container }

function findTarget(store: Store, name: string): Target {
  const container = containerOf(store, name)
  if (container !== undefined) {
    const { upper } = containerPaths(store, container.id)
    return { trees: [upper, ...lowersOf(store, container.image)], container }
  }
  try {
    return { trees: lowersOf(store, findImage(store, name).id) }
  } catch (error) {
    throw neither(name, error)
  }
}

function containerOf(store: Store, name: string): Container | undefined {
  try {
    return findContainer(store, name)
  } catch (error) {
    if (isNotFound(error)) return undefined
    throw error
  }
}

/** What a container's upper holds. */
function ownChanges(store: Store, container: Container, merged: string | undefined): Line[] {
  const roots = openChangeRoots(store, container, merged, placeholdersOf(container))
  try {
    const found: Line[] = []
    for (const { kind, path } of changesOf(roots)) {
      // docker does not list the root, nor what an opaque directory hides.
      if (path !== '' && kind !== 'O') found.push({ kind, path })
    }
    return found
  } finally {
    roots.close()
  }
}

/** Calls `work` with the mount of each target that is a container and needs one. */
function withTrees<T>(
  store: Store,
  targets: readonly Target[],
  work: (merged: readonly (string | undefined)[]) => T | Promise<T>,
): Promise<T> {
  const [first, ...rest] = targets
  if (first === undefined) return Promise.resolve(work([]))
  const inner = (merged: string | undefined): Promise<T> =>
    withTrees(store, rest, (others) => work([merged, ...others]))
  return first.container === undefined ? inner(undefined) : withTree(store, first.container, inner)
}

/** How many trees two targets share, counted from the base. */
function sharedTrees(a: readonly string[], b: readonly string[]): number {
  let count = 0
  while (count < a.length && count < b.length && a.at(-1 - count) === b.at(-1 - count)) count++
  return count
}

function compare(now: Target, before: Target, merged: readonly (string | undefined)[]): Line[] {
  const opened: number[] = []
  const open = (path: string): number => {
    const fd = openRoot(path, O_DIRECTORY)
    opened.push(fd)
    return fd
  }
  try {
    const count = sharedTrees(now.trees, before.trees)
    const shared = now.trees.slice(now.trees.length - count).map(open)
    const [left, right] = [now, before].map(({ trees }, at) => ({
      own: trees.slice(0, trees.length - count).map(open),
      shared,
      merged: merged[at] === undefined ? -1 : open(merged[at]),
    }))
    return [...differencesOf(left!, right!)]
  } finally {
    for (const fd of opened) close(fd)
  }
}

async function linesOf(store: Store, name: string, other: string | undefined): Promise<Line[]> {
  const target = findTarget(store, name)
  const { container } = target
  if (other === undefined && container !== undefined)
    return withTree(store, container, (merged) => ownChanges(store, container, merged))
  // Alone, an image is compared with what its last layer stands on.
  const before = other === undefined ? { trees: target.trees.slice(1) } : findTarget(store, other)
  return withTrees(store, [target, before], (merged) => compare(target, before, merged))
}

async function run(
  name: string,
  other: string | undefined,
  { root, json = false }: { root?: string; json?: boolean },
): Promise<void> {
  const found = await withLayers(
    root,
    name,
    ({ store }) => linesOf(store, name, other),
    other === undefined ? [name] : [name, other],
  )
  const lines = found.map(({ kind, path }) => ({ kind, path: `/${showName(path)}` }))
  if (json) process.stdout.write(`${JSON.stringify(lines, null, 2)}\n`)
  else for (const { kind, path } of lines) process.stdout.write(`${kind} ${path}\n`)
}

/** Returns the command. */
export function diffCommand(): Command {
  return storeCommand('diff', 'show what a container or an image changed')
    .argument('<name>', 'a container (compared with its image) or an image (its last layer)')
    .argument('[other]', 'a container or an image to compare it with instead')
    .option('--json', 'for programs')
    .action(run)
}
