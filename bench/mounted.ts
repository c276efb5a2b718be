// One driver's tree while it is measured: mounting, its processes, and taking it away without a trace.

import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fetchStats, type MountStats } from '../src/mount/control.js'
import { realDirectory } from '../src/mount/real-path.js'
import { recordAt } from '../src/mount/runtime-dir.js'
import type { Driver, MountSpec } from './drivers.js'
import type { Tree } from './fixtures.js'
import { type Probe, type Reading, runProgram } from './probe.js'

const END_MS = 10_000

export type Mounted = {
  readonly path: string
  readonly driver: Driver
  /** The processes that serve it. */
  readonly pids: readonly number[]
  /** How long the mount took, where it was asked for. */
  readonly mountTime?: Reading
}

export type MountPlace = { readonly folder: string; readonly keep: string; readonly isVolatile: boolean }

/** Blocks the calling thread. */
export function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

/** The processes with this path among their arguments: a mount point is in its daemon's command line. */
function processesOf(path: string): number[] {
  const found: number[] = []
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue
    try {
      if (readFileSync(`/proc/${name}/cmdline`, 'utf8').includes(path)) found.push(Number(name))
    } catch {
      // Gone meanwhile.
    }
  }
  return found
}

/** Returns the CPU time that processes have used, in nanoseconds. */
export function cpuTime(pids: readonly number[]): number {
  let sum = 0
  for (const pid of pids) {
    try {
      for (const task of readdirSync(`/proc/${pid}/task`)) {
        sum += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0])
      }
    } catch {
      // Gone, or a kernel without schedstat: no figure.
    }
  }
  return sum
}

/** Returns the resident memory of processes, in bytes. */
export function residentBytes(pids: readonly number[]): number {
  let sum = 0
  for (const pid of pids) {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    sum += Number(/^VmRSS:\s*(\d+)/m.exec(status)?.[1] ?? 0) * 1024
  }
  return sum
}

/** Returns what a mica mount says of itself, undefined for others. */
export async function statsOf({ driver, path }: Mounted): Promise<MountStats | undefined> {
  if (driver.claim === undefined) return undefined
  const record = recordAt(realDirectory('mount point', path))
  return record === undefined ? undefined : await fetchStats(record)
}

/**
 * Shows a tree through a driver at `place.folder`/mnt, with a fresh upper. With `measure`, says in
 * `mountTime` how long it took until that path (relative) answered.
 */
export function mountTree(
  driver: Driver,
  tree: Tree,
  place: MountPlace,
  isChanging: boolean,
  measure?: { probe: Probe; check: string },
): Mounted {
  const { folder, keep, isVolatile } = place
  mkdirSync(folder, { recursive: true })
  if (driver.mount === undefined) {
    if (!isChanging) return { path: tree.merged(), driver, pids: [] }
    const path = join(folder, 'copy')
    runProgram(['cp', '-a', tree.merged(), path])
    return { path, driver, pids: [] }
  }
  const names = ['upper', 'work', 'mnt'].map((name) => join(folder, name))
  for (const name of names) mkdirSync(name)
  const [upper, work, path] = names as [string, string, string]
  const spec: MountSpec = { lowers: tree.lowers, folder: tree.folder, upper, work, path, isVolatile, keep }
  const { argv, cwd } = driver.mount(spec)
  let mountTime: Reading | undefined
  if (measure === undefined) runProgram(argv, cwd)
  else mountTime = measure.probe.measure(['spawn', cwd ?? '/', 1, join(path, measure.check), ...argv])
  const pids = driver.serves === 'process' ? processesOf(path) : []
  return { path, driver, pids, ...(mountTime === undefined ? {} : { mountTime }) }
}

/** Takes away what mountTree made, the mount first; waits for its processes to end. */
export function unmountTree(folder: string): void {
  const path = join(folder, 'mnt')
  const isMounted = () =>
    readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .some((line) => line.split(' ')[4] === path)
  const pids = processesOf(path)
  if (isMounted() && spawnSync('umount', [path]).status !== 0) spawnSync('umount', ['-l', path])
  const deadline = Date.now() + END_MS
  while (pids.some((pid) => processesOf(path).includes(pid)) && Date.now() < deadline) pause(5)
  for (const pid of processesOf(path)) process.kill(pid, 'SIGKILL')
  if (!isMounted()) rmSync(folder, { recursive: true, force: true })
}
