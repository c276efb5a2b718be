// `mica load`: images from an archive or a layout into the store.

import type { Command } from 'commander'
import { load } from '../store/load.js'
import { parsePlatform } from '../store/platform.js'
import { familiar } from '../store/reference.js'
import { withOperation } from '../store/store.js'
import { storeCommand, withProgress, withStore } from './store-command.js'

type Options = { root?: string; input?: string; quiet?: boolean; platform?: string }

async function run(file: string | undefined, options: Options): Promise<void> {
  const path = file ?? options.input ?? '-'
  const { quiet = false, platform } = options
  const added = await withStore(options.root, path, ({ store, signal }) =>
    withProgress(quiet, (onProgress) =>
      withOperation(store, { signal, onProgress }, (operation) =>
        load(
          operation,
          path === '-' ? { stream: process.stdin } : { path },
          platform === undefined ? undefined : parsePlatform(platform),
        ),
      ),
    ),
  )
  for (const { id, names } of added) {
    for (const name of names) process.stdout.write(`Loaded image: ${familiar(name)}\n`)
    if (names.length === 0) process.stdout.write(`Loaded image ID: ${id}\n`)
  }
}

/** Returns the command. */
export function loadCommand(): Command {
  return storeCommand('load', 'load images: docker-archive, OCI archive or layout, compressed or not')
    .argument('[file]', 'an archive, a directory with an OCI layout, or - for standard input')
    .option('-i, --input <file>', 'as docker has it')
    .option('--platform <os/arch>', 'which image of several, e.g. linux/arm64')
    .option('-q, --quiet', 'no progress')
    .action(run)
}
