// The transport over the npm package fuse-native: libfuse 2 mounts, takes requests on threads of its
// own and hands each to this thread as an operation on a path; path-calls.ts makes requests of it again.
//
// What the package cannot say is lost on the way: who asks, nanoseconds, flags of rename, 64-bit inos,
// bytes that are no UTF-8. Nothing tells when the mount has ended, so its device is looked at.

import { readdirSync, readlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import { EIO } from '../base/errno.js'
import type { Arena } from '../vfs/arena.js'
import { fuse_kstatfs } from './abi.js'
import { type DirEntry, PathCalls } from './path-calls.js'
import type { Session } from './session.js'
import type { End, Transport } from './transport.js'

/** How soon the end of the mount is noticed. */
const LOOK_MS = 50
const STAT_WORDS = 18
const STATFS_WORDS = 11
const WORD = 2 ** 32
const MODE_SHIFT = 12
/** Times come as 64 bits without sign. */
const SIGN = 2 ** 63

type Signal = (result: number, ...more: unknown[]) => void

/** What is used of the package; operations are taken by overriding its `_op_…` methods. */
interface Fuse {
  mount(done: (error: Error | null) => void): void
}
type FuseConstructor = new (
  mountpoint: string,
  operations: Readonly<Record<string, unknown>>,
  options: { readonly timeout: false; readonly fsname: string; readonly subtype: string },
) => Fuse

export type FuseNativeOptions = {
  readonly mountpoint: string
  /** The mount's source, as mountinfo is to show it. */
  readonly source: string
  /** Options for libfuse: words and name=value pairs. */
  readonly words: readonly string[]
  readonly log: (line: string) => void
}

/** Returns the package's class. Throws what Node says when it, or its native part, is not there. */
export function loadFuseNative(): FuseConstructor {
  return createRequire(import.meta.url)('fuse-native') as FuseConstructor
}

/** The operations that libfuse is to hand over. INIT comes always; for the others there is no need. */
const OPERATIONS: Readonly<Record<string, true>> = Object.fromEntries(
  [
    ...['statfs', 'getattr', 'readdir', 'readlink', 'open', 'create', 'read', 'write', 'release'],
    ...['fsync', 'fsyncdir', 'truncate', 'utimens', 'chown', 'chmod', 'mknod', 'mkdir', 'symlink', 'link'],
    ...['unlink', 'rmdir', 'rename', 'setxattr', 'getxattr', 'listxattr', 'removexattr'],
  ].map((name) => [name, true]),
)

function join64(low: number, high: number): number {
  return low + high * WORD
}

function signed(ms: number): number {
  return ms >= SIGN ? ms - 2 * SIGN : ms
}

/** Returns the package's class with its operations answered by `calls`. An exception becomes EIO. */
function bridge(base: FuseConstructor, calls: PathCalls, log: (line: string) => void): FuseConstructor {
  const guard = (call: () => number): number => {
    try {
      return call()
    } catch (error) {
      log(`fuse-native: ${error instanceof Error ? error.stack : error}`)
      return -EIO
    }
  }
  const simple =
    (call: (...args: never[]) => number) =>
    (signal: Signal, ...args: never[]) =>
      signal(guard(() => call(...args)))
  const handlers = {
    _op_getattr(signal: Signal, path: string) {
      const stat = new Uint32Array(STAT_WORDS)
      signal(
        guard(() => calls.getattr(path, stat)),
        stat,
      )
    },
    _op_statfs(signal: Signal) {
      const out = new Uint32Array(STATFS_WORDS)
      const result = guard(() => {
        const from = calls.statfs()
        if (typeof from === 'number') return from
        fillStatfs(out, from)
        return 0
      })
      signal(result, out)
    },
    _op_readlink(signal: Signal, path: string) {
      let target: string | number = -EIO
      guard(() => {
        target = calls.readlink(path)
        return 0
      })
      if (typeof target === 'number') signal(target, '')
      else signal(0, target)
    },
    _op_readdir(signal: Signal, path: string) {
      const entries: DirEntry[] = []
      const result = guard(() => calls.readdir(path, entries))
      if (result < 0) signal(result, [], [])
      else signal(0, ...listing(entries))
    },
    _op_open(signal: Signal, path: string, flags: number) {
      signalHandle(
        signal,
        guard(() => calls.open(path, flags)),
      )
    },
    _op_create(signal: Signal, path: string, mode: number) {
      signalHandle(
        signal,
        guard(() => calls.create(path, mode)),
      )
    },
    _op_read(signal: Signal, _p: string, fh: number, to: Buffer, size: number, low: number, high: number) {
      signal(
        guard(() => calls.read(fh, to, size, join64(low, high))),
        0,
        to.buffer,
      )
    },
    _op_write(signal: Signal, _p: string, fh: number, from: Buffer, size: number, low: number, high: number) {
      signal(
        guard(() => calls.write(fh, from, size, join64(low, high))),
        0,
        from.buffer,
      )
    },
    _op_getxattr(signal: Signal, path: string, name: string, to: Buffer) {
      signal(
        guard(() => calls.getxattr(path, name, to)),
        to.buffer,
      )
    },
    _op_listxattr(signal: Signal, path: string, to: Buffer) {
      signal(
        guard(() => calls.listxattr(path, to)),
        to.buffer,
      )
    },
    _op_setxattr(signal: Signal, path: string, name: string, value: Buffer, _pos: number, flags: number) {
      signal(
        guard(() => calls.setxattr(path, name, value, flags)),
        value.buffer,
      )
    },
    _op_removexattr: simple((path: string, name: string) => calls.removexattr(path, name)),
    _op_release: simple((_path: string, fh: number) => calls.release(fh)),
    _op_fsync: simple((_path: string, isDataOnly: number, fh: number) => calls.fsync(fh, isDataOnly !== 0)),
    _op_fsyncdir: simple((path: string, isDataOnly: number) => calls.fsyncdir(path, isDataOnly !== 0)),
    _op_truncate: simple((path: string, low: number, high: number) =>
      calls.truncate(path, join64(low, high)),
    ),
    _op_utimens: simple((path: string, atimeLow: number, atimeHigh: number, low: number, high: number) =>
      calls.utimens(path, signed(join64(atimeLow, atimeHigh)), signed(join64(low, high))),
    ),
    _op_chown: simple((path: string, uid: number, gid: number) => calls.chown(path, uid, gid)),
    _op_chmod: simple((path: string, mode: number) => calls.chmod(path, mode)),
    _op_mknod: simple((path: string, mode: number, rdev: number) => calls.mknod(path, mode, rdev)),
    _op_mkdir: simple((path: string, mode: number) => calls.mkdir(path, mode)),
    _op_symlink: simple((target: string, path: string) => calls.symlink(target, path)),
    _op_link: simple((path: string, newPath: string) => calls.link(path, newPath)),
    _op_unlink: simple((path: string) => calls.unlink(path)),
    _op_rmdir: simple((path: string) => calls.rmdir(path)),
    _op_rename: simple((path: string, newPath: string) => calls.rename(path, newPath)),
  }
  class Bridge extends base {}
  Object.assign(Bridge.prototype, handlers)
  return Bridge
}

function signalHandle(signal: Signal, result: number): void {
  if (result < 0) signal(result, 0)
  else signal(0, result)
}

/** Returns names, and for each a stat of which libfuse takes type and ino. */
function listing(entries: readonly DirEntry[]): [names: string[], stats: Uint32Array[]] {
  const stats = entries.map(({ type, ino }) => {
    const stat = new Uint32Array(STAT_WORDS)
    stat[0] = type << MODE_SHIFT
    stat[7] = ino
    return stat
  })
  return [entries.map(({ name }) => name), stats]
}

/** Counts are cut to 32 bits on their way: what is more is shown as the most. */
function fillStatfs(out: Uint32Array, from: Uint32Array): void {
  const count = (field: number): number => (from[(field >> 2) + 1] === 0 ? from[field >> 2]! : WORD - 1)
  out[0] = from[fuse_kstatfs.bsize >> 2]!
  out[1] = from[fuse_kstatfs.frsize >> 2]!
  out[2] = count(fuse_kstatfs.blocks)
  out[3] = count(fuse_kstatfs.bfree)
  out[4] = count(fuse_kstatfs.bavail)
  out[5] = count(fuse_kstatfs.files)
  out[6] = count(fuse_kstatfs.ffree)
  out[7] = count(fuse_kstatfs.ffree)
  out[10] = from[fuse_kstatfs.namelen >> 2]!
}

/** Returns this process's fds of FUSE devices. */
function fuseDevices(): string[] {
  return readdirSync('/proc/self/fd').filter((fd) => isDevice(fd))
}

function isDevice(fd: string): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`) === '/dev/fuse'
  } catch {
    return false
  }
}

export class FuseNativeTransport implements Transport {
  readonly name = 'fuse-native'
  readonly whenEnded: Promise<End>
  readonly #arena: Arena
  readonly #options: FuseNativeOptions
  #resolve!: (end: End) => void
  #session: Session | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(arena: Arena, options: FuseNativeOptions) {
    this.#arena = arena
    this.#options = options
    this.whenEnded = new Promise((resolve) => {
      this.#resolve = resolve
    })
  }

  /** Mounts as well; INIT, and so the session's onInit, comes when that is done. */
  start(session: Session): void {
    const { mountpoint, source, words, log } = this.#options
    this.#session = session
    const calls = new PathCalls(session, this.#arena)
    const Bridge = bridge(loadFuseNative(), calls, log)
    const before = fuseDevices()
    // The package knows few of libfuse's options: the others go behind one that it knows.
    const fuse = new Bridge(mountpoint, OPERATIONS, {
      timeout: false,
      fsname: source,
      subtype: ['mica', ...words].join(','),
    })
    fuse.mount((error) => {
      if (error) {
        log(`fuse-native: ${error.message}`)
        this.#end({ reason: 'failed', errno: EIO })
        return
      }
      if (calls.init() < 0) return
      const device = fuseDevices().find((fd) => !before.includes(fd))
      this.#timer = setInterval(() => {
        if (device === undefined || !isDevice(device)) this.#end({ reason: 'unmounted' })
      }, LOOK_MS)
    })
  }

  /** libfuse itself ends with the mount, which is for the caller to take off. */
  stop(): void {
    this.#end({ reason: 'stopped' })
  }

  #end(end: End): void {
    const session = this.#session
    if (session === undefined) return
    this.#session = undefined
    clearInterval(this.#timer)
    session.end()
    this.#resolve(end)
  }
}
