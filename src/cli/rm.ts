// `mica rm`: containers go, with what was written in them.

import type { Command } from 'commander'
import { isMounted, removeContainer, unmountContainer } from '../mount/container.js'
import { userNamespace } from '../mount/user-namespace.js'
import { findContainer, listContainers } from '../store/containers.js'
import type { Store } from '../store/store.js'
import { forEachObject, isNotFound, storeCommand, withLayers, withStore } from './store-command.js'

async function run(
  names: readonly string[],
  { root, force = false }: { root?: string; force?: boolean },
): Promise<void> {
  if (userNamespace() === undefined)
    await withStore(root, names[0]!, ({ store }) => takeOff(store, names, force))
  await withLayers(
    root,
    names[0]!,
    async ({ store }) => {
      await forEachObject(names, async (name) => {
        try {
          await removeContainer(store, findContainer(store, name), force)
          process.stdout.write(`${name}\n`)
        } catch (error) {
          if (!(force && isNotFound(error))) throw error
        }
      })
    },
    names,
  )
}

/** A mount that an ordinary user has out here can't be taken off from a namespace. */
async function takeOff(store: Store, names: readonly string[], force: boolean): Promise<void> {
  for (const container of listContainers(store)) {
    const isMeant = names.some((name) => container.name === name || container.id.startsWith(name))
    if (isMeant && isMounted(store, container.id) && force) await unmountContainer(store, container, true)
  }
}

/** Returns the command. */
export function rmCommand(): Command {
  return storeCommand('rm', 'remove containers')
    .argument('<container...>')
    .option('-f, --force', 'also while it runs or is mounted: it is ended first')
    .action(run)
}
