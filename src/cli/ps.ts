// `mica ps`: containers, their state and size.

import type { Command } from 'commander'
import { isMounted, isRunning } from '../mount/container.js'
import { type Container, containerPaths, listContainers } from '../store/containers.js'
import { diskUsage } from '../store/disk-usage.js'
import type { Store } from '../store/store.js'
import { formatAge, formatBytes } from './human.js'
import { storeCommand, withLayers, withStore } from './store-command.js'
import { formatRows } from './template.js'

type Options = {
  root?: string
  all?: boolean
  quiet?: boolean
  size?: boolean
  trunc: boolean
  json?: boolean
  format?: string
}

const HEADS = {
  ID: 'CONTAINER ID',
  Image: 'IMAGE',
  Command: 'COMMAND',
  RunningFor: 'CREATED',
  CreatedAt: 'CREATED AT',
  Status: 'STATUS',
  Names: 'NAMES',
  Size: 'SIZE',
}
const COLUMNS = ['ID', 'Image', 'Command', 'RunningFor', 'Status', 'Names']
const COMMAND_MAX = 20

function status(store: Store, container: Container): string {
  if (isRunning(container)) return 'Up'
  const mounted = isMounted(store, container.id) ? ' (mounted)' : ''
  // A process that was killed with its machine left no status.
  if (container.pid !== 0) return `Dead${mounted}`
  if (container.exitStatus === null) return `Created${mounted}`
  return `Exited (${container.exitStatus}) ${formatAge(container.endedMs ?? 0)}${mounted}`
}

function fields(
  store: Store,
  container: Container,
  { trunc, size = false }: Options,
): Record<string, string> {
  const { id, imageName, settings, createdMs, name } = container
  const command = JSON.stringify(settings.command.join(' '))
  return {
    ID: trunc ? id.slice(0, 12) : id,
    Image: imageName,
    Command: trunc && command.length > COMMAND_MAX ? `${command.slice(0, COMMAND_MAX - 2)}…"` : command,
    RunningFor: formatAge(createdMs),
    CreatedAt: new Date(createdMs).toISOString(),
    Status: status(store, container),
    Names: name,
    ...(size && { Size: formatBytes(diskUsage(containerPaths(store, id).upper)) }),
  }
}

async function run(options: Options): Promise<void> {
  // Only a size takes a look into what belongs to others.
  const withWhat = options.size === true ? withLayers : withStore
  await withWhat(options.root, '', ({ store }) => {
    const shown = listContainers(store).filter(
      (each) => options.all === true || isRunning(each) || isMounted(store, each.id),
    )
    const rows = shown.map((each) => fields(store, each, options))
    if (options.json === true) process.stdout.write(`${JSON.stringify(shown, null, 2)}\n`)
    else if (options.quiet === true) for (const { ID } of rows) process.stdout.write(`${ID}\n`)
    else {
      const columns = options.size === true ? [...COLUMNS, 'Size'] : COLUMNS
      const template = options.format ?? `table ${columns.map((field) => `{{.${field}}}`).join('\t')}`
      for (const line of formatRows(template, rows, HEADS)) process.stdout.write(`${line}\n`)
    }
  })
}

/** Returns the command. */
export function psCommand(): Command {
  return storeCommand('ps', 'list containers that run or are mounted')
    .option('-a, --all', 'all of them')
    .option('-q, --quiet', 'ids only')
    .option('-s, --size', 'with the size of what was written')
    .option('--no-trunc', 'whole ids and commands')
    .option('--format <template>', "like '{{.Names}}'")
    .option('--json', 'for programs')
    .action(run)
}
