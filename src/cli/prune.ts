// `mica prune`: what nothing needs goes: images without a name, layers and blobs of no image.

import type { Command } from 'commander'
import { collect, findGarbage } from '../store/gc.js'
import { familiar } from '../store/reference.js'
import { prunable, pruneImages } from '../store/remove-image.js'
import { formatBytes } from './human.js'
import { storeCommand, withLayers } from './store-command.js'

type Options = { root?: string; all?: boolean; dryRun?: boolean; force?: boolean }

async function run({ root, all = false, dryRun = false }: Options): Promise<void> {
  await withLayers(root, '', ({ store }) => {
    const images = prunable(store, all)
    const say = dryRun ? 'would delete' : 'deleted'
    for (const { id, names, size } of images) {
      const shown = names.length === 0 ? id : names.map(familiar).join(', ')
      process.stdout.write(`${say} image ${shown} (${formatBytes(size)})\n`)
    }
    if (!dryRun) pruneImages(store, images)
    const garbage = dryRun
      ? findGarbage(
          store,
          images.map(({ id }) => id),
        )
      : collect(store)
    if (garbage === undefined) {
      process.stdout.write('other mica commands are at work; what nothing needs goes with the next prune\n')
      return
    }
    for (const { chainId, bytes } of garbage.layers) {
      process.stdout.write(`${say} layer ${chainId} (${formatBytes(bytes)})\n`)
    }
    for (const { digest, bytes } of garbage.blobs) {
      process.stdout.write(`${say} blob ${digest} (${formatBytes(bytes)})\n`)
    }
    for (const { digest, bytes } of garbage.partial) {
      process.stdout.write(`${say} unfinished download ${digest} (${formatBytes(bytes)})\n`)
    }
    process.stdout.write(`Total reclaim${dryRun ? 'able' : 'ed'} space: ${formatBytes(garbage.bytes)}\n`)
  })
}

/** Returns the command. */
export function pruneCommand(): Command {
  return storeCommand('prune', 'remove images without a name, and layers of no image')
    .option('-a, --all', 'all images that no container uses')
    .option('-n, --dry-run', 'only say what would go')
    .option('-f, --force', 'accepted; nothing is asked')
    .action(run)
}
