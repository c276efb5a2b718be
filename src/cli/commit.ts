// `mica commit`: an image of a container as it is.

import { type Command, InvalidArgumentError } from 'commander'
import { isRunning, placeholdersOf } from '../mount/container.js'
import { pauseContainer } from '../mount/pause.js'
import { commitContainer } from '../store/commit.js'
import { type Container, findContainer } from '../store/containers.js'
import { withTree } from './container-tree.js'
import { collect } from './run-options.js'
import { storeCommand, withLayers } from './store-command.js'

type Options = {
  root?: string
  message?: string
  author?: string
  change?: readonly string[]
  pause: boolean
}

/** Runs `work` while the container's processes stand still, if it runs and that is wanted. */
async function withPause<T>(container: Container, isWanted: boolean, work: () => Promise<T>): Promise<T> {
  if (!isWanted || !isRunning(container)) return work()
  const letGo = await pauseContainer(container.pid)
  try {
    return await work()
  } finally {
    await letGo()
  }
}

function parseBoolean(text: string): boolean {
  if (text === 'true') return true
  if (text === 'false') return false
  throw new InvalidArgumentError('it is true or false.')
}

async function run(name: string, reference: string | undefined, options: Options): Promise<void> {
  const { message, author, change = [] } = options
  const { id } = await withLayers(
    options.root,
    name,
    ({ store, operate }) => {
      const container = findContainer(store, name)
      const createdBy = container.settings.command.join(' ') || 'mica commit'
      const placeholders = placeholdersOf(container)
      const made = { message, author, changes: change, createdBy, placeholders }
      return withTree(store, container, (merged) =>
        operate((operation) =>
          withPause(container, options.pause, () =>
            commitContainer(operation, container, merged, reference, made),
          ),
        ),
      )
    },
    [name],
  )
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
    .option('-p, --pause [boolean]', 'stop its processes meanwhile', parseBoolean, true)
    .action(run)
}
