// `mica stats`: a mount's requests, memory and tables.

import { Command } from 'commander'
import pc from 'picocolors'
import { fetchStats, type MountStats } from '../mount/control.js'
import { MountError } from '../mount/errors.js'
import { showPath } from '../mount/path-bytes.js'
import { realDirectory } from '../mount/real-path.js'
import { recordAt } from '../mount/runtime-dir.js'
import { CommandError } from './command-error.js'
import { formatTable } from './table.js'

function show(stats: MountStats): string {
  const mib = (bytes: number): string => `${(bytes / (1 << 20)).toFixed(1)} MiB`
  const facts = [
    ['process', String(stats.pid)],
    ['transport', `${stats.transport}, ${stats.workers} worker${stats.workers === 1 ? '' : 's'}`],
    ['passthrough', stats.hasPassthrough ? 'yes' : 'no'],
    ['index', stats.index === 'used' ? 'yes' : stats.index === 'none' ? 'no' : 'damaged, not used'],
    ['inodes', String(stats.inodes)],
    ['names', String(stats.dentries)],
    ['memory', mib(stats.residentBytes)],
    ['CPU time', `${(stats.cpuMs / 1000).toFixed(2)} s`],
  ]
  const rows = Object.entries(stats.requests)
    .sort(([, a], [, b]) => b.requests - a.requests)
    .map(([name, { requests, errors, parked }]) => [name, String(requests), String(errors), String(parked)])
  const [head, ...lines] = formatTable(['REQUEST', 'COUNT', 'ERRORS', 'PARKED'], rows)
  return [
    pc.bold(showPath(stats.mountpoint)),
    ...facts.map(([name, value]) => `  ${name!.padEnd(12)}${value}`),
    pc.bold(head!),
    ...lines,
  ].join('\n')
}

async function run(path: string, { json = false }: { json?: boolean }): Promise<void> {
  try {
    const record = recordAt(realDirectory('mount point', path))
    if (record === undefined) throw new MountError('not a live mica mount; mica ls lists them')
    const stats = await fetchStats(record)
    process.stdout.write(`${json ? JSON.stringify(stats, null, 2) : show(stats)}\n`)
  } catch (error) {
    throw new CommandError(showPath(path), error)
  }
}

/** Returns the command. */
export function statsCommand(): Command {
  return new Command('stats')
    .description('show a mount’s requests, memory and tables')
    .argument('<mountpoint>')
    .option('--json', 'for programs')
    .action(run)
}
