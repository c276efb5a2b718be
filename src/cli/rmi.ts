// `mica rmi`: names of images, and images with their last name.

import type { Command } from 'commander'
import { familiar } from '../store/reference.js'
import { removeImage } from '../store/remove-image.js'
import { forEachObject, isNotFound, storeCommand, withLayers } from './store-command.js'

type Options = { root?: string; force?: boolean }

async function run(images: readonly string[], { root, force = false }: Options): Promise<void> {
  await withLayers(root, images[0]!, async ({ store }) => {
    await forEachObject(images, (image) => {
      try {
        for (const each of removeImage(store, image, { force })) {
          process.stdout.write(
            'untagged' in each ? `Untagged: ${familiar(each.untagged)}\n` : `Deleted: ${each.deleted}\n`,
          )
        }
      } catch (error) {
        // docker's -f does not mind what is gone already.
        if (!(force && isNotFound(error))) throw error
      }
    })
  })
}

/** Returns the command. */
export function rmiCommand(): Command {
  return storeCommand('rmi', 'remove images')
    .argument('<image...>')
    .option('-f, --force', 'all names of an id; also while a container uses it (then only the names go)')
    .action(run)
}
