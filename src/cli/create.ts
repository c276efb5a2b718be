// `mica create`: a container that nothing runs in yet.

import type { Command } from 'commander'
import { createContainer } from '../store/containers.js'
import { findImage } from '../store/image-table.js'
import { storeCommand, withLayers } from './store-command.js'

async function run(
  image: string,
  name: string | undefined,
  options: { root?: string; name?: string },
): Promise<void> {
  const { id } = await withLayers(options.root, image, ({ store }) =>
    createContainer(store, findImage(store, image), name ?? options.name, { command: [] }),
  )
  process.stdout.write(`${id}\n`)
}

/** Returns the command. */
export function createCommand(): Command {
  return storeCommand('create', 'make a container: a writable layer on an image')
    .argument('<image>')
    .argument('[name]')
    .option('--name <name>', 'as docker has it')
    .action(run)
}
