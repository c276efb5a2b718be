// `mica load`: images from an archive or a layout into the store.

import { resolve } from 'node:path'
import type { Command } from 'commander'
import { UsageError } from '../mount/errors.js'
import type { AddedImage } from '../store/add-image.js'
import { load, loadFromLayout } from '../store/load.js'
import { type Platform, parsePlatform } from '../store/platform.js'
import { familiar } from '../store/reference.js'
import type { Operation } from '../store/store.js'
import { CommandError } from './command-error.js'
import { parseLayout } from './mount-image.js'
import { storeCommand, withLayers, withProgress } from './store-command.js'

type Options = { root?: string; input?: string; quiet?: boolean; platform?: string }

function loadFrom(operation: Operation, path: string, platform: Platform | undefined): Promise<AddedImage[]> {
  const named = parseLayout(path)
  if (named !== undefined) return loadFromLayout(operation, resolve(named.layout), named.tag, platform)
  return load(operation, path === '-' ? { stream: process.stdin } : { path }, platform)
}

async function run(file: string | undefined, options: Options): Promise<void> {
  const path = file ?? options.input ?? '-'
  const { quiet = false, platform } = options
  if (path === '-' && process.stdin.isTTY)
    throw new CommandError('', new UsageError('a terminal is no archive; give a file, or pipe one in'))
  const added = await withLayers(options.root, path, ({ operate }) => {
    const wanted = platform === undefined ? undefined : parsePlatform(platform)
    return withProgress(quiet, (onProgress) =>
      operate((operation) => loadFrom(operation, path, wanted), onProgress),
    )
  })
  for (const { id, names } of added) {
    for (const name of names) process.stdout.write(`Loaded image: ${familiar(name)}\n`)
    if (names.length === 0) process.stdout.write(`Loaded image ID: ${id}\n`)
  }
}

/** Returns the command. */
export function loadCommand(): Command {
  return storeCommand('load', 'load images: docker-archive, OCI archive or layout, compressed or not')
    .argument('[file]', 'an archive, a directory with an OCI layout, oci:DIR:TAG, or - for standard input')
    .option('-i, --input <file>', 'as docker has it')
    .option('--platform <os/arch>', 'which image of several, e.g. linux/arm64')
    .option('-q, --quiet', 'no progress')
    .action(run)
}
