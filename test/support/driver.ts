// What can mount a union, behind one interface: mica by its command, the kernel's overlayfs (the
// oracle that the tests themselves are checked with) and fuse-overlayfs. No test logic here.
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fuseNativeGaps, fuseNativeSkips } from './fuse-native-gaps.js'
import { packageRoot } from './package-root.js'

export type Family = 'mica' | 'kernel' | 'fuse-overlayfs'
/** A family, or mica where the kernel reads and writes the real files itself. */
export type Behaviour = Family | 'mica passthrough'

/** `kernel` is what goes behind -o there; `mica` are further arguments of the command. */
export type MountOptions = { readOnly?: boolean; kernel?: string[]; mica?: string[] }

/** Lowers are top first. Without an upper the mount is read-only. */
export type MountSpec = {
  lowers: string[]
  upper?: string
  work?: string
  path: string
  options?: MountOptions
}

export interface Mounted {
  readonly path: string
  unmount(): void
  /** Ends the serving process by SIGKILL and takes the dead mount away. */
  killDaemon?(): void
}

export interface Driver {
  readonly name: string
  readonly family: Family
  readonly behaviour: Behaviour
  /** Why cases are known to fail, by title, beside what they say themselves. */
  readonly gaps?: ReadonlyMap<string, string>
  /** Why cases are not run, by title. */
  readonly skips?: ReadonlyMap<string, string>
  /** Throws a MountError with what the program said when the mount does not come up. */
  mount(spec: MountSpec): Mounted
}

export class MountError extends Error {
  readonly status: number | null
  readonly stderr: string
  constructor(program: string, status: number | null, stderr: string) {
    super(`${program} ended with ${status}: ${stderr.trim()}`)
    this.status = status
    this.stderr = stderr
  }
}

function run(program: string, args: string[]): void {
  const result = spawnSync(program, args, { encoding: 'utf8', timeout: 20_000 })
  if (result.error) throw new MountError(program, null, result.error.message)
  if (result.status !== 0) throw new MountError(program, result.status, result.stderr)
}

/** The mount points at or below a path, deepest first. */
export function mountsBelow(path: string): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((point) => point === path || point.startsWith(`${path}/`))
    .reverse()
}

export function lazyUnmount(path: string): void {
  spawnSync('umount', ['-l', path])
}

/** The mount that shows at a path: the number of its FUSE connection, and its source. */
function mountAt(path: string): { connection?: string | undefined; source?: string | undefined } {
  const line = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .findLast((l) => l.split(' ')[4] === path)
  const [own, shared] = line?.split(' - ') ?? []
  return { connection: own?.split(' ')[2]?.split(':')[1], source: shared?.split(' ')[1] }
}

/** Names in a directory of /proc; none when its process has gone. */
function entriesOf(path: string): string[] {
  try {
    return readdirSync(path)
  } catch {
    return []
  }
}

/** A file of /proc; '' when its process or fd has gone. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/**
 * The processes that serve a mount: they hold a connection of its number, and a mica mount names its own, others
 * know its path. Neither is enough alone: who has not yet closed a connection that is gone has one of a number
 * that is another mount's meanwhile, and the number of a process that has ended is given to others, too.
 */
export function daemonsOf(path: string): number[] {
  const { connection, source } = mountAt(path)
  const named = /^mica-(\d+)\./.exec(source ?? '')?.[1]
  const knowsPath = (pid: string) => textOf(`/proc/${pid}/cmdline`).split('\0').includes(path)
  const pids =
    named !== undefined ? [named] : entriesOf('/proc').filter((name) => /^\d+$/.test(name) && knowsPath(name))
  const isHeld = new RegExp(`^fuse_connection:\\s*${connection}$`, 'm')
  const holds = (pid: string) =>
    entriesOf(`/proc/${pid}/fdinfo`).some((fd) => isHeld.test(textOf(`/proc/${pid}/fdinfo/${fd}`)))
  return pids.filter(holds).map(Number)
}

function killDaemon(path: string): void {
  const pids = daemonsOf(path)
  if (pids.length === 0) throw new Error(`no process serves ${path}`)
  for (const pid of pids) process.kill(pid, 'SIGKILL')
  const deadline = Date.now() + 5000
  while (pids.some((pid) => isRunning(pid)) && Date.now() < deadline) pause(2)
  lazyUnmount(path)
}

function isRunning(pid: number): boolean {
  try {
    return !/^State:\s*Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

/** Blocks the calling thread. */
export function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

function overlayOptions(spec: MountSpec): string {
  const options = [`lowerdir=${spec.lowers.join(':')}`]
  if (spec.upper) options.push(`upperdir=${spec.upper}`, `workdir=${spec.work}`)
  if (spec.options?.readOnly) options.push('ro')
  return options.join(',')
}

/** The kernel with the features on that its defaults lack: the nearest to plain POSIX it can do. */
export const kernelDriver: Driver = {
  name: 'kernel overlayfs',
  family: 'kernel',
  behaviour: 'kernel',
  mount(spec) {
    const features = spec.options?.kernel ?? (spec.upper ? ['redirect_dir=on', 'index=on'] : [])
    const options = [overlayOptions(spec), ...features].join(',')
    run('mount', ['-t', 'overlay', 'mica-test', '-o', options, spec.path])
    return { path: spec.path, unmount: () => run('umount', [spec.path]) }
  },
}

export const fuseOverlayfsDriver: Driver = {
  name: 'fuse-overlayfs',
  family: 'fuse-overlayfs',
  behaviour: 'fuse-overlayfs',
  mount(spec) {
    run('fuse-overlayfs', ['-o', `${overlayOptions(spec)},allow_other,dev,suid`, spec.path])
    return fuseMount(spec.path, () => run('umount', [spec.path]))
  },
}

function fuseMount(path: string, unmount: () => void): Mounted {
  return { path, unmount, killDaemon: () => killDaemon(path) }
}

/** mica by its command line, MICA_TEST_PROGRAM or this package's; `flags` are added to each mount. */
export function micaDriver(...flags: string[]): Driver {
  const program = process.env.MICA_TEST_PROGRAM ?? join(packageRoot, 'bin/mica')
  const isFuseNative = flags.includes('fuse-native')
  return {
    name: ['mica', ...flags].join(' '),
    family: 'mica',
    behaviour: flags.includes('--data') || isFuseNative ? 'mica' : 'mica passthrough',
    ...(isFuseNative ? { gaps: fuseNativeGaps, skips: fuseNativeSkips } : {}),
    mount(spec) {
      const args = ['mount', ...spec.lowers.flatMap((lower) => ['--lower', lower]), ...flags]
      if (spec.upper) args.push('--upper', spec.upper, '--work', spec.work!)
      if (spec.options?.readOnly) args.push('--read-only')
      args.push(...(spec.options?.mica ?? []), spec.path)
      run(program, args)
      return fuseMount(spec.path, () => run(program, ['umount', spec.path]))
    },
  }
}

/** The drivers to test, and why there are none if so. MICA_TEST_DRIVER: kernel, fuse-overlayfs or mica's flags. */
export function chosenDrivers(isData: boolean): { drivers: Driver[]; reason: string } {
  if (process.getuid?.() !== 0) return { drivers: [], reason: 'mounting these layers needs root' }
  const wish = process.env.MICA_TEST_DRIVER ?? ''
  if (wish === 'kernel') return { drivers: [kernelDriver], reason: '' }
  if (!existsSync('/dev/fuse')) return { drivers: [], reason: 'there is no /dev/fuse' }
  if (wish === 'fuse-overlayfs') return { drivers: [fuseOverlayfsDriver], reason: '' }
  if (wish !== '') return { drivers: [micaDriver(...wish.split(' '))], reason: '' }
  const drivers = [micaDriver('--workers', '1'), micaDriver('--workers', '2')]
  if (isData) drivers.push(micaDriver('--workers', '1', '--data', 'cache'))
  return { drivers, reason: '' }
}

/** Mounts a scratch file system for layers that need one of their own. Loop devices detach by themselves. */
export function mountVolume(path: string, kind: Volume): void {
  if ('tmpfs' in kind) {
    run('mount', ['-t', 'tmpfs', '-o', kind.tmpfs, 'mica-test', path])
    return
  }
  const image = `${path}.img`
  execFileSync('truncate', ['-s', `${kind.sizeMb}M`, image])
  run('mkfs.ext4', ['-q', ...kind.ext4, image])
  run('mount', ['-o', 'loop', image, path])
}

/** A scratch file system: tmpfs with options, or ext4 on a loop device with mkfs arguments. */
export type Volume = { tmpfs: string } | { ext4: string[]; sizeMb: number }
