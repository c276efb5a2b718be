// `mica import`: a root file system becomes an image.

import type { Command } from 'commander'
import { UsageError } from '../mount/errors.js'
import { importImage } from '../store/import.js'
import { parsePlatform } from '../store/platform.js'
import { CommandError } from './command-error.js'
import { collect } from './run-options.js'
import { storeCommand, withLayers } from './store-command.js'

type Options = { root?: string; message?: string; change?: readonly string[]; platform?: string }

async function run(source: string, reference: string | undefined, options: Options): Promise<void> {
  const { message, change = [], platform } = options
  if (source === '-' && process.stdin.isTTY)
    throw new CommandError('', new UsageError('a terminal is no archive; give a file, or pipe one in'))
  const { id } = await withLayers(options.root, source, ({ operate }) =>
    operate((operation) =>
      importImage(
        operation,
        source === '-' ? process.stdin : source,
        reference,
        { message: message ?? `Imported from ${source}`, changes: change, createdBy: 'mica import' },
        platform === undefined ? undefined : parsePlatform(platform),
      ),
    ),
  )
  process.stdout.write(`${id}\n`)
}

/** Returns the command. */
export function importCommand(): Command {
  return storeCommand('import', 'make an image of a root file system')
    .argument('<source>', 'a tar archive (compressed or not), a directory, a URL, or - for standard input')
    .argument('[name]', 'of the image')
    .option('-m, --message <text>', 'a comment')
    .option('-c, --change <instruction>', "like 'CMD [\"/bin/sh\"]' or 'ENV A=b'", collect)
    .option('--platform <os/arch>', "instead of this machine's")
    .action(run)
}
