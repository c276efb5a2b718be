// `mica run`: a command in a new container.

import { constants as osConstants } from 'node:os'
import type { Command } from 'commander'
import { isRunning, mountContainer, removeContainer, unmountContainer } from '../mount/container.js'
import type { InitRequest } from '../mount/container-init.js'
import { startContainer } from '../mount/container-run.js'
import { reasonOf, UsageError } from '../mount/errors.js'
import { startTime } from '../mount/mount-info.js'
import { makePlaceholders } from '../mount/placeholders.js'
import { SignalRelay } from '../mount/signal-relay.js'
import { needUserNamespace } from '../mount/user-namespace.js'
import {
  type Container,
  createContainer,
  findContainer,
  noteEnded,
  noteStarted,
} from '../store/containers.js'
import { findImage, readConfig } from '../store/image-table.js'
import { formatPlatform, hostPlatform, matches } from '../store/platform.js'
import { openStore, type Store } from '../store/store.js'
import { CommandError } from './command-error.js'
import { addRunOptions, collect, commandOf, type RunOptions, requestOf } from './run-options.js'
import { storeCommand } from './store-command.js'

type Options = RunOptions & { rm?: boolean; name?: string }

/** docker's status for failures of its own. */
const OWN_FAILURE = 125

/** Thrown when we were told to end before there was a command to tell it to. */
class Interrupted extends CommandError {
  constructor(image: string, signal: NodeJS.Signals) {
    super(image, undefined, 'interrupted', 128 + osConstants.signals[signal])
  }
}

async function runContainer(
  store: Store,
  container: Container,
  request: Omit<InitRequest, 'root'>,
  signals: SignalRelay,
): Promise<number> {
  const { path, isNew } = await mountContainer(store, container)
  const takeAway = makePlaceholders(path)
  try {
    if (signals.ending !== undefined) throw new Interrupted(container.imageName, signals.ending)
    const { pid, ended } = await startContainer({ ...request, root: path }, signals)
    noteStarted(store, container.id, pid, startTime(pid))
    const status = await ended
    try {
      noteEnded(store, container.id, status)
    } catch (error) {
      // The command may have filled the disk: its status counts all the same.
      process.stderr.write(`mica: run ${container.imageName}: its end is not noted: ${reasonOf(error)}\n`)
    }
    return status
  } finally {
    takeAway()
    if (isNew) await unmountContainer(store, container).catch(() => unmountContainer(store, container, true))
  }
}

async function run(image: string, given: readonly string[], options: Options): Promise<void> {
  let store: Store | undefined
  try {
    needUserNamespace()
    const signals = new SignalRelay()
    store = openStore(options.root)
    const found = findImage(store, image)
    const { run: config, platform } = readConfig(store, found.id)
    // Where the kernel has an emulator for it, it runs all the same.
    if (!matches(platform, hostPlatform()))
      process.stderr.write(
        `mica: run ${image}: the image is for ${formatPlatform(platform)}, this machine is ${formatPlatform(hostPlatform())}\n`,
      )
    const command = commandOf(config, given, options.entrypoint)
    if (command.length === 0) throw new UsageError('no command given, and the image has none')
    const container = createContainer(store, found, options.name, { command })
    try {
      const request = requestOf(container.id.slice(0, 12), config, given, options)
      process.exitCode = await runContainer(store, container, request, signals)
    } finally {
      if (options.rm === true && !isRunning(findContainer(store, container.id))) {
        await removeContainer(store, container, true)
      }
    }
  } catch (error) {
    throw error instanceof Interrupted ? error : new CommandError(image, error, undefined, OWN_FAILURE)
  } finally {
    store?.close()
  }
}

/** Returns the command. */
export function runCommand(): Command {
  return addRunOptions(storeCommand('run', 'run a command in a new container of an image'))
    .argument('<image>')
    .argument('[command...]')
    .option('--rm', 'remove the container when the command has ended')
    .option('--name <name>', 'of the container')
    .option('-v, --volume <source:place[:ro]>', 'show a file or directory of the host inside', collect)
    .option('--read-only', 'nothing can be written but in volumes')
    .option('--entrypoint <program>', "instead of the image's; '' for none")
    .option('-h, --hostname <name>', 'inside')
    .helpOption('--help', 'display help for command')
    .passThroughOptions()
    .action(run)
}
