// `mica tag`: a further name for an image.

import type { Command } from 'commander'
import { tagImage } from '../store/remove-image.js'
import { storeCommand, withStore } from './store-command.js'

async function run(image: string, name: string, { root }: { root?: string }): Promise<void> {
  await withStore(root, image, ({ store }) => void tagImage(store, image, name))
}

/** Returns the command. */
export function tagCommand(): Command {
  return storeCommand('tag', 'give an image a further name')
    .argument('<image>')
    .argument('<name>')
    .action(run)
}
