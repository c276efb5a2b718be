// `mica pull`: an image from a registry into the store.

import type { Command } from 'commander'
import { addFromSource } from '../store/add-image.js'
import { parsePlatform } from '../store/platform.js'
import { familiar, formatReference, parseReference, withDefaultTag } from '../store/reference.js'
import { pullSource } from '../store/registry/pull.js'
import { addRegistryOptions, type RegistryOptions, withRegistry } from './registry-options.js'
import { storeCommand, withLayers, withProgress } from './store-command.js'

type Options = RegistryOptions & { platform?: string; quiet?: boolean }

async function run(name: string, options: Options): Promise<void> {
  const { quiet = false, platform } = options
  const { digest, reference } = await withLayers(options.root, name, async ({ signal, operate }) => {
    const wanted = platform === undefined ? undefined : parsePlatform(platform)
    const full = withDefaultTag(parseReference(name))
    return withRegistry(full, options, signal, async (client) => {
      const found = await pullSource(client, full, wanted)
      await withProgress(quiet, (onProgress) =>
        operate((operation) => addFromSource(operation, [found.source]), onProgress),
      )
      return { digest: found.digest, reference: full }
    })
  })
  if (!quiet) process.stderr.write(`Digest: ${digest}\n`)
  process.stdout.write(`${familiar(formatReference(reference))}\n`)
}

/** Returns the command. */
export function pullCommand(): Command {
  return addRegistryOptions(storeCommand('pull', 'get an image from a registry'))
    .argument('<name>', 'like alpine, alpine:3.20, host:5000/team/app@sha256:…')
    .option('--platform <os/arch>', 'which image of several, e.g. linux/arm64')
    .option('-q, --quiet', 'no progress')
    .action(run)
}
