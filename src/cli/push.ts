// `mica push`: an image from the store to a registry.

import type { Command } from 'commander'
import { findImage } from '../store/image-table.js'
import { familiar, formatReference, parseReference, withDefaultTag } from '../store/reference.js'
import { pushImage } from '../store/registry/push.js'
import { addRegistryOptions, type RegistryOptions, withRegistry } from './registry-options.js'
import { storeCommand, withProgress, withStore } from './store-command.js'

type Options = RegistryOptions & { quiet?: boolean }

async function run(name: string, destination: string | undefined, options: Options): Promise<void> {
  const target = destination ?? name
  const { quiet = false } = options
  const { digest, full } = await withStore(options.root, target, async ({ store, signal, operate }) => {
    const image = findImage(store, name)
    const reference = withDefaultTag(parseReference(target))
    const pushed = await withRegistry(reference, options, signal, (client) =>
      withProgress(quiet, (onProgress) =>
        operate((operation) => pushImage(operation, client, reference, image), onProgress),
      ),
    )
    return { digest: pushed, full: formatReference(reference) }
  })
  process.stdout.write(`${familiar(full)}: digest: ${digest}\n`)
}

/** Returns the command. */
export function pushCommand(): Command {
  return addRegistryOptions(storeCommand('push', 'send an image to a registry'))
    .argument('<image>')
    .argument('[destination]', 'another name than its own')
    .option('-q, --quiet', 'no progress')
    .action(run)
}
