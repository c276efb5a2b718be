// `mica inspect`: all that is known about images and containers, as JSON.

import type { Command } from 'commander'
import { isMounted, isRunning } from '../mount/container.js'
import { containerPaths, findContainer } from '../store/containers.js'
import { findImage } from '../store/image-table.js'
import { inspectImage } from '../store/inspect.js'
import type { Store } from '../store/store.js'
import { forEachObject, isNotFound, neither, storeCommand, withStore } from './store-command.js'

function inspectContainer(store: Store, name: string): Record<string, unknown> {
  const container = findContainer(store, name)
  const { id, image, imageName, settings, createdMs, pid, exitStatus, endedMs } = container
  const running = isRunning(container)
  return {
    Id: id,
    Name: container.name,
    Image: image,
    ImageName: imageName,
    Created: new Date(createdMs).toISOString(),
    Command: settings.command,
    State: {
      Running: running,
      Mounted: isMounted(store, id),
      Pid: running ? pid : 0,
      ExitCode: exitStatus,
      FinishedAt: endedMs === null ? null : new Date(endedMs).toISOString(),
    },
    Paths: containerPaths(store, id),
  }
}

function inspectOne(store: Store, name: string): Record<string, unknown> {
  try {
    return inspectContainer(store, name)
  } catch (error) {
    if (!isNotFound(error)) throw error
  }
  try {
    return inspectImage(store, findImage(store, name))
  } catch (error) {
    throw neither(name, error)
  }
}

async function run(names: readonly string[], { root }: { root?: string }): Promise<void> {
  await withStore(root, names[0]!, async ({ store }) => {
    const found: Record<string, unknown>[] = []
    try {
      await forEachObject(names, (name) => void found.push(inspectOne(store, name)))
    } finally {
      process.stdout.write(`${JSON.stringify(found, null, 2)}\n`)
    }
  })
}

/** Returns the command. */
export function inspectCommand(): Command {
  return storeCommand('inspect', 'show all that is known about images and containers')
    .argument('<name...>')
    .action(run)
}
