// `mica rm`: containers go, with what was written in them.

import type { Command } from 'commander'
import { removeContainer } from '../mount/container.js'
import { findContainer } from '../store/containers.js'
import { forEachObject, isNotFound, storeCommand, withStore } from './store-command.js'

async function run(
  names: readonly string[],
  { root, force = false }: { root?: string; force?: boolean },
): Promise<void> {
  await withStore(root, names[0]!, async ({ store }) => {
    await forEachObject(names, async (name) => {
      try {
        await removeContainer(store, findContainer(store, name), force)
        process.stdout.write(`${name}\n`)
      } catch (error) {
        if (!(force && isNotFound(error))) throw error
      }
    })
  })
}

/** Returns the command. */
export function rmCommand(): Command {
  return storeCommand('rm', 'remove containers')
    .argument('<container...>')
    .option('-f, --force', 'also while it runs or is mounted: it is ended first')
    .action(run)
}
