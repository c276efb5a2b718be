// `mica tree`: an image's layers, top first, with their sizes and who shares them.

import type { Command } from 'commander'
import { shortId } from '../store/digest.js'
import { findImage, imageSize, layersOf, listImages, tagsOf } from '../store/image-table.js'
import { familiar } from '../store/reference.js'
import type { Store } from '../store/store.js'
import { formatBytes } from './human.js'
import { storeCommand, withStore } from './store-command.js'
import { formatTable } from './table.js'

function nameOf(store: Store, image: Parameters<typeof tagsOf>[1]): string {
  return tagsOf(store, image).map(({ reference }) => familiar(reference))[0] ?? shortId(image)
}

async function run(image: string, { root, json = false }: { root?: string; json?: boolean }): Promise<void> {
  await withStore(root, image, ({ store }) => {
    const { id, reference } = findImage(store, image)
    const users = new Map<string, string[]>()
    for (const other of listImages(store)) {
      if (other.id === id) continue
      for (const { chain_id } of layersOf(store, other.id)) {
        users.set(chain_id, [...(users.get(chain_id) ?? []), nameOf(store, other.id)])
      }
    }
    const layers = layersOf(store, id)
      .reverse()
      .map((layer) => ({ ...layer, sharedWith: users.get(layer.chain_id) ?? [] }))
    if (json) {
      process.stdout.write(`${JSON.stringify(layers, null, 2)}\n`)
      return
    }
    process.stdout.write(
      `${reference === undefined ? nameOf(store, id) : familiar(reference)} ${shortId(id)} ${formatBytes(imageSize(store, id))}\n`,
    )
    const rows = layers.map(({ chain_id, size, entries, sharedWith }, at) => [
      `${at === layers.length - 1 ? '└─' : '├─'} ${shortId(chain_id)}`,
      formatBytes(size),
      `${entries} entries`,
      sharedWith.length === 0 ? '' : `shared with ${sharedWith.join(', ')}`,
    ])
    for (const line of formatTable(['', '', '', ''], rows).slice(1)) process.stdout.write(`${line}\n`)
  })
}

/** Returns the command. */
export function treeCommand(): Command {
  return storeCommand('tree', "show an image's layers, and which images share them")
    .argument('<image>')
    .option('--json', 'for programs')
    .action(run)
}
