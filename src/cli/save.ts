// `mica save`: images out of the store, for other tools.

import { type Command, Option } from 'commander'
import { UsageError } from '../mount/errors.js'
import { type FoundImage, findImage } from '../store/image-table.js'
import {
  SAVE_FORMATS,
  type SaveFormat,
  saveDockerArchive,
  savedImages,
  saveOciArchive,
  saveOciDirectory,
} from '../store/save.js'
import type { Store } from '../store/store.js'
import { CommandError } from './command-error.js'
import { writeTo } from './output.js'
import { storeCommand, withStore } from './store-command.js'

type Options = { root?: string; output?: string; format: SaveFormat }

function found(store: Store, name: string): FoundImage {
  try {
    return findImage(store, name)
  } catch (error) {
    throw new CommandError(name, error)
  }
}

async function run(names: readonly string[], { root, output, format }: Options): Promise<void> {
  await withStore(root, names.join(' '), async ({ store, operate }) => {
    const images = savedImages(
      store,
      names.map((name) => found(store, name)),
    )
    await operate(async (operation) => {
      if (format === 'oci-dir') {
        if (output === undefined) throw new UsageError('oci-dir needs a directory: -o DIR')
        await saveOciDirectory(operation, images, output)
        return
      }
      const save = format === 'oci-archive' ? saveOciArchive : saveDockerArchive
      await writeTo(output, (write) => save(operation, images, write))
    })
  })
}

/** Returns the command. */
export function saveCommand(): Command {
  return storeCommand('save', 'write images to an archive or a layout')
    .argument('<image...>')
    .option('-o, --output <file>', 'instead of standard output')
    .addOption(
      new Option('--format <format>', 'what to write').choices([...SAVE_FORMATS]).default('docker-archive'),
    )
    .action(run)
}
