// `mica ls`: what is mounted. Live mounts come from their records, dead ones (the daemon was killed)
// from the kernel's list.

import { Command } from 'commander'
import pc from 'picocolors'
import { isDead } from '../mount/device.js'
import { showPath } from '../mount/path-bytes.js'
import { kernelMounts, readRecords } from '../mount/runtime-dir.js'
import { formatTable } from './table.js'

/** One line of the list. */
export type Listed = {
  readonly mountpoint: string
  readonly lowers: readonly string[]
  readonly upper: string | null
  readonly work: string | null
  readonly pid: number | null
  readonly since: string | null
  /** dead: its daemon is gone. unknown: somebody else's, with records that can't be seen. */
  readonly state: 'live' | 'dead' | 'unknown'
  readonly options: Readonly<Record<string, unknown>>
}

/** Returns what is mounted, oldest first, dead ones last. */
export function listMounts(): Listed[] {
  const records = readRecords()
  const known = new Set(records.map((record) => record.device))
  const live = records.map(({ mountpoint, lowers, upper, work, pid, since, options }): Listed => {
    return { mountpoint, lowers, upper, work, pid, since, state: 'live', options }
  })
  const others = kernelMounts().filter((mount) => !known.has(mount.device))
  const seen = new Set<string>()
  for (const { mountpoint, device } of others) {
    // Bind mounts of one mount are one line.
    if (seen.has(device)) continue
    seen.add(device)
    const state = isDead(mountpoint) ? 'dead' : 'unknown'
    live.push({ mountpoint, lowers: [], upper: null, work: null, pid: null, since: null, state, options: {} })
  }
  return live
}

function age(since: string | null): string {
  if (since === null) return '-'
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(since)) / 1000))
  if (seconds < 120) return `${seconds} s`
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} d`
}

function row(each: Listed): string[] {
  return [
    showPath(each.mountpoint),
    each.state === 'live' ? String(each.lowers.length) : '-',
    each.upper === null ? (each.state === 'live' ? 'read-only' : '-') : showPath(each.upper),
    each.pid === null ? '-' : String(each.pid),
    age(each.since),
    each.state === 'live' ? pc.green('live') : each.state === 'dead' ? pc.red('dead') : pc.yellow('unknown'),
  ]
}

function run({ json = false, layers = false }: { json?: boolean; layers?: boolean }): void {
  const list = listMounts()
  if (json) {
    process.stdout.write(`${JSON.stringify(list, null, 2)}\n`)
    return
  }
  const lines = formatTable(['MOUNTPOINT', 'LOWERS', 'UPPER', 'PID', 'SINCE', 'STATE'], list.map(row))
  for (const [at, line] of lines.entries()) {
    process.stdout.write(`${at === 0 ? pc.bold(line) : line}\n`)
    const lowers = at === 0 || !layers ? [] : list[at - 1]!.lowers
    for (const lower of lowers) process.stdout.write(`  ${pc.dim(showPath(lower))}\n`)
  }
}

/** Returns the command. */
export function lsCommand(): Command {
  return new Command('ls')
    .description('show what is mounted: layers, upper, process, since when')
    .option('--layers', 'list the lowers too, top first')
    .option('--json', 'for programs')
    .action(run)
}
