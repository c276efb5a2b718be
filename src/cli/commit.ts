// `mica commit`: an image of a container as it is.

import type { Command } from 'commander'
import { commitContainer } from '../store/commit.js'
import { findContainer } from '../store/containers.js'
import { withOperation } from '../store/store.js'
import { withTree } from './container-tree.js'
import { collect } from './run-options.js'
import { storeCommand, withStore } from './store-command.js'

type Options = {
  root?: string
  message?: string
  author?: string
  change?: readonly string[]
}

async function run(name: string, reference: string | undefined, options: Options): Promise<void> {
  const { message, author, change = [] } = options
  const { id } = await withStore(options.root, name, ({ store, signal }) => {
    const container = findContainer(store, name)
    const createdBy = container.settings.command.join(' ') || 'mica commit'
    return withTree(store, container, (merged) =>
      withOperation(store, { signal }, (operation) =>
        commitContainer(operation, container, merged, reference, {
          message,
          author,
          changes: change,
          createdBy,
        }),
      ),
    )
  })
  process.stdout.write(`${id}\n`)
}

/** Returns the command. */
export function commitCommand(): Command {
  return storeCommand('commit', 'make an image of a container')
    .argument('<container>')
    .argument('[name]', 'of the image')
    .option('-m, --message <text>', 'a comment')
    .option('-a, --author <name>', 'who made it')
    .option('-c, --change <instruction>', "like 'CMD [\"/bin/sh\"]' or 'ENV A=b'", collect)
    .action(run)
}
