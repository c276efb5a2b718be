// `mica df`: what the store takes on disk.

import type { Command } from 'commander'
import { type DiskLine, diskReport } from '../store/disk-report.js'
import { formatBytes } from './human.js'
import { storeCommand, withLayers } from './store-command.js'
import { formatTable } from './table.js'

function row({ type, count, active, bytes, reclaimable }: DiskLine): string[] {
  const percent = bytes === 0 ? 0 : Math.round((reclaimable / bytes) * 100)
  return [
    type,
    String(count),
    String(active),
    formatBytes(bytes),
    `${formatBytes(reclaimable)} (${percent}%)`,
  ]
}

async function run({ root, json = false }: { root?: string; json?: boolean }): Promise<void> {
  const lines = await withLayers(root, '', ({ store }) => diskReport(store))
  if (json) {
    process.stdout.write(`${JSON.stringify(lines, null, 2)}\n`)
    return
  }
  for (const line of formatTable(['TYPE', 'TOTAL', 'ACTIVE', 'SIZE', 'RECLAIMABLE'], lines.map(row))) {
    process.stdout.write(`${line}\n`)
  }
}

/** Returns the command. */
export function dfCommand(): Command {
  return storeCommand('df', 'show what the store takes on disk').option('--json', 'for programs').action(run)
}
