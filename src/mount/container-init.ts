// The first process in a container's pid namespace: makes the private view, runs the command, passes
// signals on, reaps what others leave behind, and ends with the command's status, which ends all the rest; and
// in the same way the process before a further command that joins that view. Told what to do by JSON on
// REQUEST_FD (InitRequest).
//
// Host files that are to be seen inside (volumes, resolv.conf) are opened before the root directory
// changes and bound after it: inside, no link of the image leads out.

import { closeSync, lstatSync, mkdirSync, openSync, readFileSync, realpathSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { EINVAL, errnoName, errnoReason } from '../base/errno.js'
import { makePath } from '../base/make-path.js'
import { O_DIRECTORY, O_PATH } from '../base/open-flags.js'
import { native } from '../sys/native.js'
import { enterRoot } from './chroot.js'
import { MountError, reasonOf, systemError } from './errors.js'
import { type ImageUser, imageUser } from './image-user.js'
import { encodePath } from './path-bytes.js'
import { endOf, type Program, startProgram } from './program.js'
import { SignalRelay, sendSignal } from './signal-relay.js'
import { type OnTerminal, runOnTerminal } from './terminal.js'

export type Volume = { readonly source: string; readonly target: string; readonly isReadOnly: boolean }

export type InitRequest = {
  readonly root: string
  readonly hostname: string
  readonly command: readonly string[]
  readonly env: readonly string[]
  readonly user: string
  readonly workingDir: string
  readonly isReadOnly: boolean
  readonly volumes: readonly Volume[]
  readonly isInteractive: boolean
  /** Whether the command gets a terminal of the container's own. */
  readonly hasTerminal: boolean
  /** The first process of a running container, as the host counts: the command joins that one. */
  readonly enter?: number
}

/** The pipe that the request comes by, and the one whose end says that signals are caught. */
export const REQUEST_FD = 3
export const READY_FD = 4
const CLONE_FS = 0x200
const CLONE_NEWNS = 0x20000
const CLONE_NEWUTS = 0x4000000
const CLONE_NEWIPC = 0x8000000
const MS_RDONLY = 1
const MS_REMOUNT = 32
const MS_BIND = 4096
const MS_REC = 16384
export const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
const HOST_FILES = ['/etc/resolv.conf', '/etc/hosts']
/** As container runtimes set it. */
const UMASK = 0o022
/** env(1)'s and docker's statuses. */
const FAILED = 125
const NOT_EXECUTABLE = 126
const NOT_FOUND = 127

type Opened = {
  readonly fd: number
  readonly target: string
  readonly isDirectory: boolean
  readonly isReadOnly: boolean
}

function openVolume({ source, target, isReadOnly }: Volume): Opened {
  const fd = native.openPath(encodePath(source), O_PATH, 0)
  if (fd < 0) throw systemError(fd, 'volume', source, 'open')
  return { fd, target, isReadOnly, isDirectory: statSync(source).isDirectory() }
}

function openHostFiles(): Opened[] {
  return HOST_FILES.flatMap((path) => {
    const fd = native.openPath(encodePath(path), O_PATH, 0)
    return fd < 0 ? [] : [{ fd, target: path, isDirectory: false, isReadOnly: false }]
  })
}

function ensureTarget({ target, isDirectory }: Opened): void {
  if (isDirectory) {
    makePath(target)
    return
  }
  makePath(dirname(target))
  if (lstatSync(target, { throwIfNoEntry: false }) === undefined) closeSync(openSync(target, 'wx', 0o644))
}

/** Binds what was opened outside to its place inside. */
function bind(opened: Opened): void {
  ensureTarget(opened)
  const { fd, isReadOnly, target } = opened
  const place = realpathSync(target)
  const result = native.mount(`/proc/self/fd/${fd}`, encodePath(place), '', MS_BIND | MS_REC, '')
  if (result < 0) throw systemError(result, 'volume', target, 'mount')
  if (isReadOnly) {
    const again = native.mount('none', encodePath(place), '', MS_REMOUNT | MS_BIND | MS_RDONLY, '')
    if (again < 0) throw systemError(again, 'read-only volume', target, 'mount')
  }
  native.close(fd)
}

function bindHostFile(opened: Opened): void {
  try {
    bind(opened)
  } catch {
    // A convenience: the image may have no place for it, or a read-only one.
  }
}

/** Needs: a mount at `root`. */
function makeReadOnly(root: string): void {
  const result = native.mount('none', encodePath(root), '', MS_REMOUNT | MS_BIND | MS_RDONLY, '')
  if (result < 0) throw systemError(result, 'read-only root', root, 'mount')
}

function environment(request: InitRequest, home: string): Record<string, string> {
  const env: Record<string, string> = { PATH, HOME: home, HOSTNAME: request.hostname }
  if (request.hasTerminal && process.env.TERM !== undefined) env.TERM = process.env.TERM
  for (const each of request.env) {
    const equals = each.indexOf('=')
    if (equals > 0) env[each.slice(0, equals)] = each.slice(equals + 1)
  }
  return env
}

/** Moves this thread into a running container. Its pid namespace is the caller's affair. */
function join(pid: number): void {
  const open = (path: string, flags: number): number => {
    const fd = native.openPath(Buffer.from(path), flags, 0)
    if (fd < 0) throw systemError(fd, 'enter', path, 'open')
    return fd
  }
  const root = open(`/proc/${pid}/root`, O_PATH | O_DIRECTORY)
  const spaces = (
    [
      ['ipc', CLONE_NEWIPC],
      ['uts', CLONE_NEWUTS],
      ['mnt', CLONE_NEWNS],
    ] as const
  ).map(([name, type]) => ({ fd: open(`/proc/${pid}/ns/${name}`, 0), type, name }))
  // The mount namespace is of threads that share no root directory with others.
  native.unshare(CLONE_FS)
  for (const { fd, type, name } of spaces) {
    const result = native.setns(fd, type)
    if (result < 0) throw systemError(result, 'enter', `${name} namespace`, 'setns')
    native.close(fd)
  }
  const entered = native.chroot(Buffer.from(`/proc/self/fd/${root}`))
  if (entered < 0) throw new MountError('the container has ended', 'ESRCH')
  process.chdir('/')
}

function enter(request: InitRequest): void {
  const { root, isReadOnly } = request
  const volumes: Opened[] = []
  let hostFiles: Opened[] = []
  const missing = enterRoot(root, {
    before() {
      volumes.push(...request.volumes.map(openVolume))
      hostFiles = openHostFiles()
      if (!isReadOnly) return
      for (const volume of volumes) tryEnsureBelow(root, volume)
      makeReadOnly(root)
    },
    inside() {
      for (const each of hostFiles) bindHostFile(each)
      for (const each of volumes) bind(each)
    },
  })
  for (const words of missing) process.stderr.write(`mica: run: ${words}\n`)
  const named = native.setHostname(request.hostname)
  if (named < 0) throw systemError(named, 'hostname', request.hostname, 'sethostname')
}

/** With a read-only root a volume's place must be there before; only plain names below the root are made. */
function tryEnsureBelow(root: string, volume: Opened): void {
  let at = root
  const parts = volume.target.split('/').filter((part) => part !== '')
  for (const [index, part] of parts.entries()) {
    at = `${at}/${part}`
    const stat = lstatSync(at, { throwIfNoEntry: false })
    if (stat !== undefined && !stat.isDirectory()) return
    if (stat !== undefined) continue
    if (index === parts.length - 1 && !volume.isDirectory) closeSync(openSync(at, 'wx', 0o644))
    else mkdirSync(at)
  }
}

function workingDirectory(path: string): string {
  const dir = path === '' ? '/' : path
  try {
    makePath(dir)
  } catch (error) {
    if (!statSync(dir, { throwIfNoEntry: false })?.isDirectory()) throw error
  }
  return dir
}

/** Says why a command can't be run, in a shell's words and with its status; undefined for other reasons. */
function commandFailure(request: InitRequest, result: number): number | undefined {
  const statuses: Record<string, number> = {
    ENOENT: NOT_FOUND,
    ENOTDIR: NOT_FOUND,
    EACCES: NOT_EXECUTABLE,
    ENOEXEC: NOT_EXECUTABLE,
  }
  const status = statuses[errnoName(result)]
  if (status === undefined) return undefined
  const words = status === NOT_FOUND ? 'command not found' : `can't be run: ${errnoReason(result)}`
  process.stderr.write(`mica: ${verbOf(request)}: ${request.command[0]}: ${words}\n`)
  return status
}

/** Runs the command; resolves with the status to end with. Needs enter() or join() before. */
function runInside(request: InitRequest, signals: SignalRelay): Promise<number> {
  const user = imageUser(request.user)
  const { command } = request
  if (command.length === 0) throw new MountError('no command given, and the image has none')
  const cwd = workingDirectory(request.workingDir)
  process.umask(UMASK)
  const program = { command, env: environment(request, user.home), cwd, user }
  const started = request.hasTerminal
    ? runOnTerminal(program, request.isInteractive)
    : runOnOurStreams(program)
  if (typeof started === 'number') {
    const status = commandFailure(request, started)
    if (status === undefined) throw startError(started, command[0]!, user)
    return Promise.resolve(status)
  }
  signals.to((signal) => {
    // The size of a terminal of its own is its own to tell.
    if (signal !== 'SIGWINCH' || !request.hasTerminal) sendSignal(started.pid, signal)
  })
  return started.ended
}

function startError(result: number, program: string, { uid, gid }: ImageUser): MountError {
  // setuid(2), setgid(2): there is no such id in this user namespace.
  if (result !== -EINVAL || (uid === 0 && gid === 0)) return systemError(result, 'run', program, 'execve')
  const reason = process.env.MICA_USERNS_REASON ?? ''
  return new MountError(
    `nobody can be user ${uid}:${gid} here${reason === '' ? '' : `: ${reason}`}`,
    'EINVAL',
  )
}

function runOnOurStreams(program: Program): OnTerminal | number {
  const pid = startProgram(program)
  return pid < 0 ? pid : { pid, ended: endOf(pid) }
}

function verbOf({ enter }: InitRequest): string {
  return enter === undefined ? 'run' : 'exec'
}

/** Tells whoever started us that signals are caught from here on. */
function tellReady(): void {
  closeSync(REQUEST_FD)
  closeSync(READY_FD)
}

async function main(): Promise<void> {
  const request = JSON.parse(readFileSync(REQUEST_FD, 'utf8')) as InitRequest
  const signals = new SignalRelay()
  tellReady()
  try {
    // Opened here, while the names of the outer terminal mean what they say.
    if (request.hasTerminal) void [process.stdin, process.stdout]
    if (request.enter === undefined) enter(request)
    else join(request.enter)
    process.exit(await runInside(request, signals))
  } catch (error) {
    process.stderr.write(`mica: ${verbOf(request)}: ${reasonOf(error)}\n`)
    process.exit(FAILED)
  }
}

if (process.env.MICA_CONTAINER_INIT === '1') {
  delete process.env.MICA_CONTAINER_INIT
  await main()
}
