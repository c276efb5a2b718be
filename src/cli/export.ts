// `mica export`: a container's whole tree as one tar archive.

import type { Command } from 'commander'
import { close, openRoot } from '../store/at.js'
import { sourceDateEpoch } from '../store/commit.js'
import { findContainer } from '../store/containers.js'
import { packTree } from '../store/pack.js'
import { withMounted } from './container-tree.js'
import { writeTo } from './output.js'
import { storeCommand, withLayers } from './store-command.js'

async function run(name: string, { root, output }: { root?: string; output?: string }): Promise<void> {
  await withLayers(
    root,
    name,
    ({ store }) =>
      withMounted(store, findContainer(store, name), async (path) => {
        const fd = openRoot(path)
        try {
          await writeTo(output, (write) => packTree(fd, write, { clampTime: sourceDateEpoch() }))
        } finally {
          close(fd)
        }
      }),
    [name],
  )
}

/** Returns the command. */
export function exportCommand(): Command {
  return storeCommand('export', "write a container's files as a tar archive")
    .argument('<container>')
    .option('-o, --output <file>', 'instead of standard output')
    .action(run)
}
