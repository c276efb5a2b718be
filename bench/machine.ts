// What the figures were measured on.

import { readdirSync, readFileSync } from 'node:fs'
import { arch, cpus, loadavg, release, totalmem } from 'node:os'
import { runProgram } from './probe.js'

export type Machine = {
  readonly cpu: string
  readonly cpus: number
  readonly memoryBytes: number
  readonly isVirtual: boolean
  readonly kernel: string
  readonly node: string
  /** The file system that layers and uppers are on. */
  readonly fileSystem: string
  readonly fuseUring: string
  readonly loadAtStart: number
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return ''
  }
}

function fileSystemOf(folder: string): string {
  const [type, source] = runProgram(['findmnt', '-n', '-o', 'FSTYPE,SOURCE', '-T', folder])
    .trim()
    .split(/\s+/)
  if (type !== 'ext4' || source === undefined) return type ?? 'unknown'
  const device = source.slice(source.lastIndexOf('/') + 1)
  let journals: string[] = []
  try {
    journals = readdirSync('/proc/fs/jbd2')
  } catch {
    // No file system has one.
  }
  // fs/ext4/ialloc.c:recently_deleted(): it passes over what was freed in the last minute, at a cost per file.
  const hasJournal = journals.some((name) => name.startsWith(`${device}-`))
  const place = device.startsWith('loop') ? ' in a file' : ''
  return `ext4${place} ${hasJournal ? 'with' : 'WITHOUT'} a journal${hasJournal ? '' : ' (files are dear to make for all)'}`
}

/** Returns what this machine is; `folder` is where the layers are. */
export function describeMachine(folder: string): Machine {
  return {
    cpu: cpus()[0]?.model ?? arch(),
    cpus: cpus().length,
    memoryBytes: totalmem(),
    isVirtual: /^flags\s*:.*\bhypervisor\b/m.test(read('/proc/cpuinfo')),
    kernel: /^[\d.]+/.exec(release())?.[0] ?? release(),
    node: process.version,
    fileSystem: fileSystemOf(folder),
    fuseUring: read('/sys/module/fuse/parameters/enable_uring') || 'not there',
    loadAtStart: loadavg()[0] ?? 0,
  }
}

/** Returns the machine in a few lines of text. */
export function machineLines(machine: Machine): string[] {
  const gib = (machine.memoryBytes / 2 ** 30).toFixed(0)
  return [
    `${machine.cpus} x ${machine.cpu}${machine.isVirtual ? ' (virtual)' : ''}, ${gib} GiB of memory`,
    `Linux ${machine.kernel}, Node ${machine.node}, ${machine.fileSystem}`,
    `fuse enable_uring: ${machine.fuseUring}; load average at the start: ${machine.loadAtStart.toFixed(2)}`,
  ]
}
