// A private view for `mica chroot`: a mount namespace of this process's own in which /proc, /sys and /dev
// stand in the image, and a command that runs in it. The host's mounts are never touched, and
// everything goes with the last process in the namespace.
//
// unshare(2), pivot_root(2) and chroot(2) act on the calling thread; child processes are forked from that thread
// (by libuv, synchronously in spawn), so they live in the new place.

import { spawn } from 'node:child_process'
import {
  accessSync,
  constants,
  lstatSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { constants as osConstants } from 'node:os'
import { join } from 'node:path'
import { O_PATH } from '../base/open-flags.js'
import { native } from '../sys/native.js'
import { MountError, systemError } from './errors.js'
import { encodePath } from './path-bytes.js'

const CLONE_NEWNS = 0x20000
const MS_RDONLY = 1
const MS_NOSUID = 2
const MS_NODEV = 4
const MS_NOEXEC = 8
const MS_REMOUNT = 32
const MS_BIND = 4096
const MS_REC = 16384
const MS_PRIVATE = 1 << 18

const DEVICES = ['null', 'zero', 'full', 'random', 'urandom', 'tty']
const DEVICE_LINKS: readonly (readonly [name: string, target: string])[] = [
  ['fd', '/proc/self/fd'],
  ['stdin', '/proc/self/fd/0'],
  ['stdout', '/proc/self/fd/1'],
  ['stderr', '/proc/self/fd/2'],
  ['ptmx', 'pts/ptmx'],
]

const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** Exit statuses of env(1) and the shells for a command that can't be run. */
const NOT_EXECUTABLE = 126
const NOT_FOUND = 127

function mountOr(source: string, target: string, type: string, flags: number, data: string): number {
  return native.mount(source, encodePath(target), type, flags, data)
}

/** Tells whether a name in the image is a real directory: mounting must not follow an image's links. */
function isDirectory(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true
}

function mountDev(dev: string): number {
  // Opened first: the new /dev may cover the host's, when the image is the host itself.
  const nodes = DEVICES.map((name) => [name, native.openPath(encodePath(`/dev/${name}`), O_PATH, 0)] as const)
  const result = mountOr('mica', dev, 'tmpfs', MS_NOSUID | MS_NOEXEC, 'mode=755,size=64k')
  if (result < 0) return result
  for (const [name, fd] of nodes) {
    if (fd < 0) continue
    writeFileSync(join(dev, name), '')
    mountOr(`/proc/self/fd/${fd}`, join(dev, name), '', MS_BIND, '')
    native.close(fd)
  }
  for (const name of ['pts', 'shm']) mkdirSync(join(dev, name))
  mountOr('mica', join(dev, 'pts'), 'devpts', MS_NOSUID | MS_NOEXEC, 'newinstance,ptmxmode=0666,mode=620')
  mountOr('mica', join(dev, 'shm'), 'tmpfs', MS_NOSUID | MS_NODEV, 'mode=1777')
  for (const [name, target] of DEVICE_LINKS) symlinkSync(target, join(dev, name))
  return 0
}

function mountSys(sys: string): number {
  const flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC
  const result = mountOr('mica', sys, 'sysfs', flags, '')
  if (result === 0) return result
  // An ordinary user's namespace may have only the host's, and not less of it than there is.
  const bound = mountOr('/sys', sys, '', MS_BIND | MS_REC, '')
  if (bound === 0) mountOr('none', sys, '', MS_REMOUNT | MS_BIND | flags, '')
  return bound
}

function mountProc(proc: string): number {
  const result = mountOr('mica', proc, 'proc', MS_NOSUID | MS_NODEV | MS_NOEXEC, '')
  return result < 0 ? mountOr('/proc', proc, '', MS_BIND | MS_REC, '') : result
}

/** What enterRoot() calls on its way, with both views at hand. */
export type OnEntering = {
  /** In the new namespace, while paths are the host's. */
  readonly before?: () => void
  /** In the new root; what was opened on the host can still be bound here. */
  readonly inside?: () => void
}

/**
 * Moves this thread into a mount namespace of its own and makes `root` its root directory. Returns
 * words about what the image has no place for. Needs CAP_SYS_ADMIN and CAP_SYS_CHROOT.
 */
export function enterRoot(root: string, { before, inside }: OnEntering = {}): string[] {
  const unshared = native.unshare(CLONE_NEWNS)
  if (unshared < 0) throw systemError(unshared, 'private mounts for', root, 'unshare')
  const isolated = mountOr('none', '/', '', MS_REC | MS_PRIVATE, '')
  if (isolated < 0) throw systemError(isolated, 'private mounts for', root, 'mount')
  const isHost = root === '/'
  const bound = isHost ? 0 : mountOr(root, root, '', MS_BIND | MS_REC, '')
  if (bound < 0) throw systemError(bound, 'private mounts for', root, 'mount')
  before?.()
  const missing: string[] = []
  for (const [name, mount] of [
    ['dev', mountDev],
    ['proc', mountProc],
    ['sys', mountSys],
  ] as const) {
    const path = join(root, name)
    if (!isDirectory(path)) {
      missing.push(`the image has no directory /${name}, so it is not mounted`)
      continue
    }
    const result = mount(path)
    if (result < 0) throw systemError(result, 'mount', path, 'mount')
  }
  if (isHost) inside?.()
  else changeRoot(root, inside)
  process.chdir('/')
  return missing
}

/**
 * Makes the mount at `root` the root, and lets go of everything else of the host's: as long as a copy of one
 * of its mounts is here, unmounting it there does not end it.
 */
function changeRoot(root: string, inside: (() => void) | undefined): void {
  const moved = native.pivotRoot(encodePath(root))
  // An initramfs can't be moved away.
  const entered = moved < 0 ? native.chroot(encodePath(root)) : moved
  if (entered < 0) throw systemError(entered, 'root directory', root, 'chroot')
  inside?.()
  const left = moved < 0 ? 0 : native.leaveOldRoot()
  if (left < 0) throw systemError(left, 'mounts around', root, 'umount2')
}

/** Returns the environment of a command in an image: nothing of the host's but the terminal. */
export function imageEnvironment(env: NodeJS.ProcessEnv): Record<string, string> {
  const kept: Record<string, string> = {}
  for (const name of ['TERM', 'COLORTERM', 'NO_COLOR', 'LANG', 'LC_ALL', 'TZ']) {
    const value = env[name]
    if (value !== undefined) kept[name] = value
  }
  return {
    TERM: 'dumb',
    ...kept,
    PATH,
    HOME: homeOfRoot(),
    USER: 'root',
    LOGNAME: 'root',
    SHELL: defaultShell(),
  }
}

function homeOfRoot(): string {
  try {
    return /^root:(?:[^:\n]*:){4}([^:\n]+)/m.exec(readFileSync('/etc/passwd', 'utf8'))?.[1] ?? '/root'
  } catch {
    return '/root'
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** Returns the image's shell. Needs enterRoot() before. */
export function defaultShell(): string {
  return isExecutable('/bin/bash') ? '/bin/bash' : '/bin/sh'
}

/**
 * Runs a command in the root that this thread is in, on our terminal. Resolves with its exit status:
 * 128 + N when signal N ended it, 127 when there is no such command, 126 when it can't be run.
 */
export function runCommand(command: readonly string[], env: Record<string, string>): Promise<number> {
  const [program, ...args] = command
  if (program === undefined) throw new MountError('no command given')
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: 'inherit', env, cwd: '/' })
    // The terminal sends these to the whole group: the command decides, we report.
    for (const signal of ['SIGINT', 'SIGQUIT'] as const) process.on(signal, () => {})
    for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal))
    child.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') {
        process.stderr.write(`mica: chroot: ${program}: command not found\n`)
        resolve(NOT_FOUND)
      } else if (error.code === 'EACCES' || error.code === 'ENOEXEC') {
        process.stderr.write(`mica: chroot: ${program}: can't be run\n`)
        resolve(NOT_EXECUTABLE)
      } else reject(error)
    })
    child.on('exit', (code, signal) => {
      resolve(signal === null ? (code ?? 1) : 128 + osConstants.signals[signal])
    })
  })
}
