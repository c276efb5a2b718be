// `mica fsck`: proves the store, and mends what can be mended.

import type { Command } from 'commander'
import { isMounted, isRunning } from '../mount/container.js'
import { MountError } from '../mount/errors.js'
import { listContainers } from '../store/containers.js'
import { checkStore } from '../store/fsck.js'
import { storeCommand, withLayers, withProgress } from './store-command.js'

type Options = { root?: string; repair?: boolean; quiet?: boolean; json?: boolean }

async function run({ root, repair = false, quiet = false, json = false }: Options): Promise<void> {
  const report = await withLayers(root, '', ({ store, operate }) => {
    const users = listContainers(store).filter((each) => isRunning(each) || isMounted(store, each.id))
    if (repair && users.length > 0) {
      throw new MountError(
        `container ${users.map(({ name }) => name).join(', ')} is mounted; a repair needs all off`,
        'EBUSY',
      )
    }
    return withProgress(quiet || json, (onProgress) =>
      operate((operation) => checkStore(operation, repair), onProgress),
    )
  })
  const { problems, blobs, layers, images, unproven } = report
  if (json) process.stdout.write(`${JSON.stringify(report, null, 2)}\n`)
  else {
    for (const { kind, object, words, isRepaired } of problems) {
      process.stdout.write(`${kind} ${object}: ${words}${isRepaired ? ' (repaired)' : ''}\n`)
    }
    const open = unproven === 0 ? '' : `, ${unproven} without a blob to prove them by`
    process.stdout.write(`${images} images, ${layers} layers${open}, ${blobs} blobs: `)
    process.stdout.write(problems.length === 0 ? 'all is well\n' : `${problems.length} problems\n`)
  }
  if (problems.some(({ isRepaired }) => !isRepaired)) process.exitCode = 1
}

/** Returns the command. */
export function fsckCommand(): Command {
  return storeCommand('fsck', 'prove each blob and layer of the store')
    .option('--repair', 'unpack layers that differ anew, from their blob')
    .option('-q, --quiet', 'no progress')
    .option('--json', 'for programs')
    .action(run)
}
