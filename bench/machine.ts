// What the figures were measured on.

import { readFileSync } from 'node:fs'
import { arch, cpus, loadavg, release, totalmem } from 'node:os'
import { runProgram } from './probe.js'

export type Machine = {
  readonly cpu: string
  readonly cpus: number
  readonly memoryBytes: number
  readonly isVirtual: boolean
  readonly kernel: string
  readonly node: string
  /** Type of the file system that layers and uppers are on. */
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

/** Returns what this machine is; `folder` is where the layers are. */
export function describeMachine(folder: string): Machine {
  return {
    cpu: cpus()[0]?.model ?? arch(),
    cpus: cpus().length,
    memoryBytes: totalmem(),
    isVirtual: /^flags\s*:.*\bhypervisor\b/m.test(read('/proc/cpuinfo')),
    kernel: /^[\d.]+/.exec(release())?.[0] ?? release(),
    node: process.version,
    fileSystem: runProgram(['findmnt', '-n', '-o', 'FSTYPE', '-T', folder]).trim().replace(/\s+/, ' '),
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
