// `mica diff`: what a container changed: A added, C changed, D deleted.

import type { Command } from 'commander'
import { showName } from '../store/at.js'
import { changesOf } from '../store/changes.js'
import { openChangeRoots } from '../store/commit.js'
import { findContainer } from '../store/containers.js'
import { withTree } from './container-tree.js'
import { storeCommand, withStore } from './store-command.js'

async function run(name: string, { root, json = false }: { root?: string; json?: boolean }): Promise<void> {
  const lines = await withStore(root, name, ({ store }) => {
    const container = findContainer(store, name)
    return withTree(store, container, (merged) => {
      const roots = openChangeRoots(store, container, merged)
      try {
        const found: { kind: string; path: string }[] = []
        for (const { kind, path } of changesOf(roots)) {
          // docker does not list the root, nor what an opaque directory hides.
          if (path !== '' && kind !== 'O') found.push({ kind, path: `/${showName(path)}` })
        }
        return found
      } finally {
        roots.close()
      }
    })
  })
  if (json) process.stdout.write(`${JSON.stringify(lines, null, 2)}\n`)
  else for (const { kind, path } of lines) process.stdout.write(`${kind} ${path}\n`)
}

/** Returns the command. */
export function diffCommand(): Command {
  return storeCommand('diff', 'show what a container changed')
    .argument('<container>')
    .option('--json', 'for programs')
    .action(run)
}
