// A small machine of its own for container engines: a mount and a PID namespace with fresh /run, /dev/shm
// and /var/lib/containers, a device /dev/fuse that all may open, and an ordinary user with subordinate
// ids. Everything in it, processes and mounts alike, ends with its first process, which ends with this
// one: nothing stays behind, however a test ends.

import { type ChildProcess, type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { packageRoot } from '../support/package-root.js'

/** The ordinary user of a world: in no other place of the machine. */
export const USER = { name: 'mica-test', uid: 5555, gid: 5555, firstSubId: 300_000, subIds: 65536 }

export const micaOverlay = join(packageRoot, 'bin/mica-overlay')

/** Returns why a world can't be made, or these programs not be run; undefined when they can. */
export function absence(...programs: readonly string[]): string | undefined {
  if (process.getuid?.() !== 0) return 'namespaces for the engines need root'
  if (!existsSync('/dev/fuse')) return 'there is no /dev/fuse'
  for (const program of ['unshare', 'nsenter', 'setpriv', ...programs]) {
    if (spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0) return `${program} is not installed`
  }
  return undefined
}

/** Returns why an ordinary user can't use mica from where it is; undefined when it can. */
export function rootlessAbsence(...programs: readonly string[]): string | undefined {
  const missing = absence('newuidmap', ...programs)
  if (missing !== undefined) return missing
  const words = [`--reuid=${USER.uid}`, `--regid=${USER.gid}`, '--clear-groups', 'test', '-r', micaOverlay]
  return spawnSync('setpriv', words).status === 0 ? undefined : `an ordinary user may not read ${packageRoot}`
}

const SETUP = `
set -e
mount -t tmpfs -o mode=755 mica-test /run
mount -t tmpfs mica-test /dev/shm
mkdir -p /var/lib/containers
mount -t tmpfs mica-test /var/lib/containers
mount -t tmpfs -o mode=755,dev mica-test "$0/dev"
mknod -m 666 "$0/dev/fuse" c 10 229
mount --bind "$0/dev/fuse" /dev/fuse
touch /etc/subuid /etc/subgid
for name in passwd group subuid subgid; do mount --bind "$0/etc/$name" "/etc/$name"; done
mkdir -p -m 700 /run/user/${USER.uid}
chown ${USER.uid}:${USER.gid} /run/user/${USER.uid}
touch "$0/ready"
read -r end || true
`

export type RunOptions = {
  readonly input?: string | Buffer
  readonly timeoutMs?: number
  readonly asRoot?: boolean
}

export class World {
  readonly folder: string
  readonly isRootless: boolean
  readonly env: NodeJS.ProcessEnv
  readonly #holder: ChildProcess
  readonly #pid: number
  readonly #pidNamespace: string

  constructor({ isRootless = false } = {}) {
    this.isRootless = isRootless
    this.folder = mkdtempSync(join(tmpdir(), 'mica-engines-'))
    chmodSync(this.folder, 0o755)
    this.#writeAccounts()
    mkdirSync(join(this.folder, 'home'))
    chownSync(join(this.folder, 'home'), ...this.owner)
    const home = join(this.folder, 'home')
    this.env = {
      PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      HOME: home,
      LC_ALL: 'C.UTF-8',
      TMPDIR: join(home, 'tmp'),
      ...(isRootless ? { XDG_RUNTIME_DIR: `/run/user/${USER.uid}`, USER: USER.name } : {}),
    }
    this.makeDir('home/tmp')
    const options = ['--mount', '--pid', '--fork', '--mount-proc', '--kill-child', '--propagation', 'private']
    this.#holder = spawn('unshare', [...options, 'sh', '-c', SETUP, this.folder], {
      stdio: ['pipe', 'ignore', 'pipe'],
    })
    this.#pid = this.#whenReady()
    this.#pidNamespace = readLinkOr(`/proc/${this.#pid}/ns/pid`)
  }

  get owner(): [uid: number, gid: number] {
    return this.isRootless ? [USER.uid, USER.gid] : [0, 0]
  }

  path(name: string): string {
    return join(this.folder, name)
  }

  /** Makes a directory of the engine's user. */
  makeDir(name: string): string {
    const path = this.path(name)
    mkdirSync(path, { recursive: true })
    chownSync(path, ...this.owner)
    return path
  }

  /** Runs a program in the world, as its user; never throws. */
  run(program: string, args: readonly string[], options: RunOptions = {}): SpawnSyncReturns<Buffer> {
    const { input = '', timeoutMs = 120_000, asRoot = false } = options
    const words = ['--target', String(this.#pid), '--mount', '--pid', '--wdns=/', '--']
    if (this.isRootless && !asRoot) {
      words.push('setpriv', `--reuid=${USER.uid}`, `--regid=${USER.gid}`, '--clear-groups')
    }
    return spawnSync('nsenter', [...words, program, ...args], {
      env: this.env,
      input,
      timeout: timeoutMs,
      maxBuffer: 1 << 28,
    })
  }

  /** Runs a program that must succeed; returns what it says. */
  mustRun(program: string, args: readonly string[], options?: RunOptions): string {
    const { status, signal, stdout, stderr, error } = this.run(program, args, options)
    if (status === 0) return stdout.toString()
    throw new Error(`${program} ${args.join(' ')}: ${status ?? signal} ${error?.message ?? ''}\n${stderr}`)
  }

  /** FUSE and overlay mounts that some process of the world sees, as lines of mountinfo. */
  mounts(): string[] {
    const lines = new Set<string>()
    for (const pid of this.#pids()) {
      for (const line of readOr(`/proc/${pid}/mountinfo`).split('\n')) {
        if (/ - (fuse\S*|overlay) /.test(line) && line.includes(this.folder)) lines.add(line)
      }
    }
    return [...lines]
  }

  /** Processes of the world, by their pids outside. */
  #pids(): number[] {
    const all = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
    return all.filter((pid) => readLinkOr(`/proc/${pid}/ns/pid`) === this.#pidNamespace).map(Number)
  }

  /** Processes of the world that serve FUSE mounts: their pids outside. */
  fuseServers(): number[] {
    const holds = (pid: number): boolean =>
      namesIn(`/proc/${pid}/fd`).some((fd) => readLinkOr(`/proc/${pid}/fd/${fd}`) === '/dev/fuse')
    return this.#pids().filter(holds)
  }

  /** Ends everything in the world and removes its folder. */
  end(): void {
    this.#holder.stdin!.end()
    process.kill(this.#pid, 'SIGKILL')
    const until = Date.now() + 5000
    while (this.#pids().length > 0 && Date.now() < until) pause(10)
    rmSync(this.folder, { recursive: true, force: true })
    removeCgroups()
  }

  /** Waits for the first process; returns its pid out here. */
  #whenReady(): number {
    const outer = this.#holder.pid ?? -1
    for (const until = Date.now() + 10_000; Date.now() < until; pause(5)) {
      if (existsSync(this.path('ready'))) {
        return Number(readOr(`/proc/${outer}/task/${outer}/children`).trim().split(' ')[0])
      }
      if (/^State:\s*Z/m.test(readOr(`/proc/${outer}/status`))) break
    }
    rmSync(this.folder, { recursive: true, force: true })
    throw new Error('the namespaces for the engines could not be made')
  }

  #writeAccounts(): void {
    for (const name of ['etc', 'dev']) mkdirSync(join(this.folder, name))
    const put = (name: string, line: string): void =>
      writeFileSync(
        join(this.folder, 'etc', name),
        `${readOr(`/etc/${name}`).replace(/\n*$/, '\n')}${line}\n`,
      )
    const { name, uid, gid, firstSubId, subIds } = USER
    put('passwd', `${name}:x:${uid}:${gid}::${join(this.folder, 'home')}:/bin/sh`)
    put('group', `${name}:x:${gid}:`)
    // For --userns=auto of root and for the user.
    const ranges = `containers:1000000:1000000\n${name}:${firstSubId}:${subIds}`
    put('subuid', ranges)
    put('subgid', ranges)
  }
}

/** What is made from then on is new, also by times of whole seconds. */
export async function nextSecond(): Promise<number> {
  const next = Math.floor(Date.now() / 1000) + 1
  while (Date.now() / 1000 < next) await new Promise((resolve) => setTimeout(resolve, 20))
  return next
}

/** Blocks this thread. */
export function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

function readOr(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

function namesIn(path: string): string[] {
  try {
    return readdirSync(path)
  } catch {
    return []
  }
}

function readLinkOr(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}

/** The cgroups that podman makes once and keeps; quietly where others use them. */
function removeCgroups(): void {
  for (const controller of existsSync('/sys/fs/cgroup') ? readdirSync('/sys/fs/cgroup') : []) {
    try {
      rmdirSync(`/sys/fs/cgroup/${controller}/libpod_parent`)
    } catch {
      // Not there, or not empty.
    }
  }
}
