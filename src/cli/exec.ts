// `mica exec`: a further command in a running container.

import type { Command } from 'commander'
import { holderOf, isRunning } from '../mount/container.js'
import { execIn } from '../mount/container-run.js'
import { MountError } from '../mount/errors.js'
import { needUserNamespace, userNamespace } from '../mount/user-namespace.js'
import { findContainer } from '../store/containers.js'
import { readConfig } from '../store/image-table.js'
import { openStore } from '../store/store.js'
import { CommandError } from './command-error.js'
import { addRunOptions, type RunOptions, requestOf } from './run-options.js'
import { storeCommand } from './store-command.js'

const OWN_FAILURE = 125

async function run(name: string, given: readonly string[], options: RunOptions): Promise<void> {
  try {
    const store = openStore(options.root)
    const container = findContainer(store, name)
    if (!isRunning(container))
      throw new MountError('it does not run; mica mount and mica chroot enter it', 'ESRCH')
    if (userNamespace() === undefined) {
      const target = holderOf(store, [name])
      if (target === undefined) throw new MountError('its mount has ended', 'ESRCH')
      needUserNamespace(target)
    }
    const config = readConfig(store, container.image).run
    const id = container.id.slice(0, 12)
    const request = requestOf(id, { ...config, Entrypoint: [], Cmd: [] }, given, options)
    store.close()
    process.exitCode = await execIn(container.pid, { ...request, root: '/' })
  } catch (error) {
    throw new CommandError(name, error, undefined, OWN_FAILURE)
  }
}

/** Returns the command. */
export function execCommand(): Command {
  return addRunOptions(storeCommand('exec', 'run a further command in a running container'))
    .argument('<container>')
    .argument('<command...>')
    .passThroughOptions()
    .action(run)
}
