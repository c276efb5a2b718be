// A containerd of our own with mica as a snapshotter: root, state, sockets and configuration in one
// temporary folder. Ended and unmounted by close(), whatever the test did.

import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, delimiter, join } from 'node:path'
import { lazyUnmount, mountsBelow } from '../support/driver.js'
import { packageRoot } from '../support/package-root.js'

/** Why these tests can't run here, false when they can. */
export function noContainerd(...more: readonly string[]): string | false {
  if (process.getuid?.() !== 0) return 'containerd needs root'
  if (!existsSync('/dev/fuse')) return 'there is no /dev/fuse'
  for (const program of ['containerd', 'ctr', 'runc', 'mount.fuse3', ...more]) {
    if (spawnSync('sh', ['-c', `command -v ${program}`], { env: { PATH: SYSTEM_PATH } }).status !== 0)
      return `${program} is not installed`
  }
  return false
}

/** Another containerd than the system's is in the folder that this names. */
const OTHER = process.env.MICA_TEST_CONTAINERD
export const SYSTEM_PATH = [
  ...(OTHER === undefined ? [] : [OTHER]),
  ...['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'],
].join(delimiter)
const PATIENCE_MS = 60_000

/** Returns containerd's version, 1.6 as 106. */
export function version(): number {
  const { stdout } = spawnSync('containerd', ['--version'], { encoding: 'utf8', env: { PATH: SYSTEM_PATH } })
  const [, major = 0, minor = 0] = /\b(\d+)\.(\d+)\.\d+/.exec(stdout) ?? []
  return Number(major) * 100 + Number(minor)
}

export type Ran = { readonly status: number | null; readonly out: string; readonly err: string }

/** How often a container is run that loses its mount helper. */
const RUNS = 4
/**
 * Returns the container whose mount helper the shim of containerd 1.6 has reaped under its own wait for it, ten
 * times in a row, until it gave up: with any helper one run in a hundred on a busy machine; not from 1.7 on.
 */
function lostHelper({ err }: Ran): string | undefined {
  return /mount helper .*\/([^/]+)\/rootfs .* failed with ECHILD/s.exec(err)?.[1]
}

export async function until(what: string, isSo: () => boolean): Promise<void> {
  const end = Date.now() + PATIENCE_MS
  while (!isSo()) {
    if (Date.now() > end) throw new Error(`it took too long: ${what}`)
    await new Promise((done) => setTimeout(done, 20))
  }
}

const ended = (child: ChildProcess): Promise<void> =>
  child.exitCode !== null || child.signalCode !== null
    ? Promise.resolve()
    : new Promise((done) => void child.once('exit', () => done()))

export class Containerd {
  readonly folder = mkdtempSync(join(tmpdir(), 'mica-containerd-'))
  readonly snapshots = join(this.folder, 'snapshotter')
  readonly socket = this.#socket('mica')
  /** runc's state is not below containerd's, but by namespace. */
  readonly #namespace = basename(this.folder)
  readonly #address = join(this.folder, 'containerd.sock')
  readonly #env: NodeJS.ProcessEnv
  readonly #containers = new Set<string>()
  #containerd: ChildProcess | undefined
  readonly #snapshotters = new Map<string, ChildProcess>()

  /** `mountProgram` false: mica-overlay is nowhere in containerd's PATH. `names`: of snapshotters. */
  constructor({
    mountProgram = true,
    names = ['mica'],
  }: { mountProgram?: boolean; names?: readonly string[] } = {}) {
    // Root of a user namespace passes through as anybody.
    chmodSync(this.folder, 0o711)
    const bin = join(this.folder, 'bin')
    mkdirSync(bin)
    if (mountProgram) symlinkSync(join(packageRoot, 'bin/mica-overlay'), join(bin, 'mica-overlay'))
    this.#env = {
      PATH: `${bin}${delimiter}${SYSTEM_PATH}`,
      HOME: this.folder,
      TMPDIR: this.folder,
      MICA_RUNTIME_DIR: join(this.folder, 'run'),
      // Seconds: a server outlives its folder no longer.
      MICA_SERVER_IDLE: '3',
      CONTAINERD_ADDRESS: this.#address,
      CONTAINERD_NAMESPACE: this.#namespace,
    }
    writeFileSync(
      join(this.folder, 'config.toml'),
      `version = 2
root = ${JSON.stringify(join(this.folder, 'root'))}
state = ${JSON.stringify(join(this.folder, 'state'))}
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = ${JSON.stringify(this.#address)}
${names.map((name) => this.#plugin(name)).join('')}${version() < 200 ? '' : this.#unpacking(names)}`,
    )
  }

  #socket(name: string): string {
    return join(this.folder, `${name}.sock`)
  }

  #plugin(name: string): string {
    return `[proxy_plugins.${name}]
  type = "snapshot"
  capabilities = ["remap-ids"]
  address = ${JSON.stringify(this.#socket(name))}
`
  }

  /** What containerd 2.x needs to unpack for others than its default. */
  #unpacking(names: readonly string[]): string {
    const one = (name: string): string =>
      `[[plugins."io.containerd.transfer.v1.local".unpack_config]]
  platform = "linux"
  snapshotter = ${JSON.stringify(name)}
`
    return ['overlayfs', ...names].map(one).join('')
  }

  #log(name: string): number {
    return openSync(join(this.folder, `${name}.log`), 'a')
  }

  log(name: 'containerd' | 'snapshotter'): string {
    return readFileSync(join(this.folder, `${name}.log`), 'utf8')
  }

  /** Starts the snapshotter and waits until it serves. */
  startSnapshotter(...more: readonly string[]): Promise<void> {
    return this.startNamed('mica', this.snapshots, more)
  }

  async startNamed(name: string, root: string, more: readonly string[]): Promise<void> {
    const before = existsSync(join(this.folder, 'snapshotter.log')) ? this.log('snapshotter').length : 0
    const log = this.#log('snapshotter')
    const args = ['snapshotter', '--root', root, '--address', this.#socket(name), ...more]
    const child = spawn(process.execPath, [join(packageRoot, 'dist/src/cli/main.js'), ...args], {
      stdio: ['ignore', log, log],
      env: { ...process.env, ...this.#env },
    })
    this.#snapshotters.set(name, child)
    await until('the snapshotter serves', () => {
      assert.equal(child.exitCode, null, this.log('snapshotter'))
      return this.log('snapshotter').slice(before).includes('serving')
    })
  }

  async stopSnapshotter(signal: NodeJS.Signals = 'SIGTERM', name = 'mica'): Promise<void> {
    const child = this.#snapshotters.get(name)!
    child.kill(signal)
    await ended(child)
  }

  async start(): Promise<void> {
    const log = this.#log('containerd')
    this.#containerd = spawn('containerd', ['--config', join(this.folder, 'config.toml')], {
      stdio: ['ignore', log, log],
      env: this.#env,
    })
    await until('containerd serves', () => this.ctr('version').status === 0)
  }

  /** Runs ctr to its end. */
  ctr(...args: readonly string[]): Ran {
    for (let i = 1; ; i++) {
      const ran = this.#ctrOnce(args)
      const name = lostHelper(ran)
      if (name === undefined || i === RUNS) return ran
      this.#ctrOnce(['containers', 'rm', name])
    }
  }

  #ctrOnce(args: readonly string[]): Ran {
    const { status, stdout, stderr } = spawnSync('ctr', args, {
      encoding: 'utf8',
      env: this.#env,
      timeout: PATIENCE_MS,
    })
    return { status, out: stdout, err: stderr }
  }

  /** Runs ctr, which must succeed, and returns what it printed. */
  ok(...args: readonly string[]): string {
    const { status, out, err } = this.ctr(...args)
    assert.equal(status, 0, `ctr ${args.join(' ')}: ${err}${out}`)
    return out
  }

  /** Mounts a snapshot on a committed one as containerd would, runs `work` on it, and takes it away. */
  withMount<T>(driver: string, parent: string, work: (path: string) => T): T {
    const path = join(this.folder, `mount-${driver}`)
    mkdirSync(path)
    const snapshots = ['snapshots', '--snapshotter', driver]
    // Unlike a view of ctr's, it is none of the garbage collector's.
    this.ok(...snapshots, 'prepare', path, parent)
    const command = this.ok(...snapshots, 'mounts', path, path)
    // See mountWithHelper() and compactLowerdirOption() in containerd's mount_linux.go.
    const dir = /lowerdir=(.*?\/snapshots\/)/.exec(command)![1]!
    const isKernel = command.startsWith('mount -t overlay ')
    this.shell(
      isKernel
        ? `cd ${dir} && ${command.replaceAll(dir, '')}`
        : command.replace(/^mount -t fuse3\.(\S+) (.*)/, 'mount.fuse3 $2 -t $1'),
    )
    try {
      assert.deepEqual(mountsBelow(path), [path])
      return work(path)
    } finally {
      this.shell(`umount ${path}`)
      this.ok(...snapshots, 'rm', path)
      rmSync(path, { recursive: true })
    }
  }

  /** Runs a script with containerd's PATH, which must succeed, and returns what it printed. */
  shell(script: string): string {
    const { status, stdout, stderr } = spawnSync('sh', ['-euc', script], { encoding: 'utf8', env: this.#env })
    assert.equal(status, 0, `${script}: ${stderr}`)
    return stdout
  }

  /** ctr without waiting. */
  async later(...args: readonly string[]): Promise<Ran> {
    const ran = await this.#laterOnce(args)
    // Not at once any more; of many few are.
    return lostHelper(ran) === undefined ? ran : this.ctr(...args)
  }

  async #laterOnce(args: readonly string[]): Promise<Ran> {
    const child = spawn('ctr', args, {
      env: this.#env,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const texts: [string, string] = ['', '']
    child.stdout.on('data', (chunk: Buffer) => (texts[0] += chunk))
    child.stderr.on('data', (chunk: Buffer) => (texts[1] += chunk))
    const status = await new Promise<number | null>((done) => void child.once('close', done))
    return { status, out: texts[0], err: texts[1] }
  }

  /** Arguments that run a container to its end, with runc and nothing of the host's limits and cgroups. */
  runArgs(snapshotter: string, image: string, name: string, ...command: readonly string[]): string[] {
    this.#containers.add(name)
    return ['run', '--rm', '--snapshotter', snapshotter, image, name, ...command]
  }

  run(snapshotter: string, image: string, name: string, ...command: readonly string[]): Ran {
    return this.ctr(...this.runArgs(snapshotter, image, name, ...command))
  }

  #removeTask(name: string): void {
    if (this.ctr('containers', 'info', name).status !== 0) return
    this.ctr('tasks', 'kill', '--signal', 'SIGKILL', name)
    this.ctr('tasks', 'rm', '--force', name)
    this.ctr('containers', 'rm', name)
  }

  /** Ends all, and returns what was still mounted after containerd's own clean-up. */
  async close(): Promise<string[]> {
    for (const name of this.#containers) this.#removeTask(name)
    this.#containerd?.kill('SIGTERM')
    if (this.#containerd) await ended(this.#containerd)
    for (const name of this.#snapshotters.keys()) await this.stopSnapshotter('SIGTERM', name)
    const left = mountsBelow(this.folder)
    for (const path of left) lazyUnmount(path)
    rmSync(this.folder, { recursive: true, force: true })
    rmSync(join('/run/containerd/runc', this.#namespace), { recursive: true, force: true })
    for (const dir of ['.', ...readdirSync('/sys/fs/cgroup')]) {
      try {
        rmdirSync(join('/sys/fs/cgroup', dir, this.#namespace))
      } catch {
        // Not a hierarchy that runc made its groups in.
      }
    }
    return left
  }
}
