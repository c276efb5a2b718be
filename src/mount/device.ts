// Puts a FUSE file system on a mount point and takes it off again: by mount(2) as root (of the machine
// or of a user namespace), through the set-user-id helper fusermount3 otherwise. Opens the
// mount point before, so that it is the same directory whatever happens to its name.

import { randomUUID } from 'node:crypto'
import { readFileSync, statfsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { EACCES, EBUSY, EINVAL, ENODEV, ENOENT, ENXIO, EPERM, errnoName, errnoReason } from '../base/errno.js'
import { native } from '../sys/native.js'
import { MountError, systemError } from './errors.js'
import { FS_TYPE, mountAt } from './mount-info.js'
import type { MountOptions } from './options.js'
import { encodePath, showPath } from './path-bytes.js'
import { isLive, readRecords } from './runtime-dir.js'

const MS_RDONLY = 1
const MS_NOSUID = 2
const MS_NODEV = 4
const MS_NOEXEC = 8
export const MNT_DETACH = 2

/** A mounted device. */
export type MountedDevice = {
  readonly fd: number
  /** The mount's source as mountinfo shows it: no two live mounts of one process tree share it. */
  readonly source: string
  /** `major:minor` of the new file system. */
  readonly device: string
  /** Detaches the file system from its mount point; quietly when it is off already. */
  detach(): void
}

/**
 * Returns the real path of a mount point; `given` may be any path that leads to it. Throws when it is
 * no directory, or is a live mount of ours already. A dead mount of ours (its daemon was killed) is
 * taken off when `canCover` is false.
 */
export function checkMountpoint(real: string, given: string): void {
  const top = mountAt(real)
  if (top?.type !== FS_TYPE) return
  const record = readRecords().find((each) => each.device === top.device)
  if (record !== undefined && isLive(record)) {
    throw new MountError(`already a mica mount; mica umount ${showPath(given)} first`, 'EBUSY')
  }
  if (!isDead(real))
    throw new MountError(`already a mica mount; mica umount ${showPath(given)} first`, 'EBUSY')
  detachPath(real)
}

/** Tells whether a FUSE mount has lost its server: any use of it then ends in ENOTCONN at once. */
export function isDead(path: string): boolean {
  try {
    // Attributes may come from the kernel's cache; this question always goes to the server.
    statfsSync(encodePath(path))
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOTCONN'
  }
}

function deviceError(result: number): MountError {
  if (result === -ENOENT || result === -ENODEV || result === -ENXIO) {
    return new MountError('there is no /dev/fuse; load the fuse module (modprobe fuse)', errnoName(result))
  }
  return systemError(result, 'open', '/dev/fuse', 'open')
}

/** Returns a source. Device numbers are used again at once, while the daemon of the mount before still ends; this name is not. */
export function newSource(): string {
  // A process may mount in several threads.
  return `mica-${process.pid}.${randomUUID().slice(0, 8)}`
}

/** Mounts on the real path `target`. Throws MountError with the way out; then nothing is mounted. */
export function mountDevice(
  target: string,
  options: MountOptions,
  isReadOnly: boolean,
  given: ReadonlySet<string>,
): MountedDevice {
  const fd = native.openDevice()
  // The helper may open the device where we may not.
  if (fd === -EACCES || fd === -EPERM) return mountByHelper(target, options, isReadOnly, given)
  if (fd < 0) throw deviceError(fd)
  const flags =
    (isReadOnly ? MS_RDONLY : 0) |
    (options.suid ? 0 : MS_NOSUID) |
    (options.dev ? 0 : MS_NODEV) |
    (options.exec ? 0 : MS_NOEXEC)
  const data = [
    `fd=${fd}`,
    'rootmode=40000',
    `user_id=${process.geteuid!()}`,
    `group_id=${process.getegid!()}`,
    'default_permissions',
    ...(options.allowOther ? ['allow_other'] : []),
  ]
  const source = newSource()
  const result = native.mount(source, encodePath(target), FS_TYPE, flags, data.join(','))
  if (result === 0) return mounted(fd, target, source)
  native.close(fd)
  if (result === -EPERM) return mountByHelper(target, options, isReadOnly, given)
  if (result === -ENODEV)
    throw new MountError('this kernel has no FUSE; load the fuse module (modprobe fuse)', 'ENODEV')
  throw new MountError(`the kernel refused the mount: ${errnoReason(result)}`, errnoName(result), {
    syscall: 'mount',
    path: target,
  })
}

/** Mounts through fusermount3, as ordinary users may. Throws MountError with the way out; then nothing is mounted. */
export function mountByHelper(
  target: string,
  options: MountOptions,
  isReadOnly: boolean,
  given: ReadonlySet<string>,
): MountedDevice {
  const canAllowOther = options.allowOther && (given.has('allowOther') || isAllowOtherPermitted())
  const source = newSource()
  const words = [
    `fsname=${source}`,
    'subtype=mica',
    'default_permissions',
    ...(canAllowOther ? ['allow_other'] : []),
    ...(isReadOnly ? ['ro'] : []),
    ...(options.exec ? [] : ['noexec']),
  ]
  let fd = -ENOENT
  for (const program of ['fusermount3', 'fusermount']) {
    fd = native.fusermount(program, words.join(','), encodePath(target))
    if (fd !== -ENOENT) break
  }
  if (fd >= 0) return mounted(fd, target, source)
  const said = native
    .lastMessage()
    .trim()
    .replace(/\s*\n\s*/g, '; ')
  if (fd === -ENOENT && said === '') {
    throw new MountError(
      'no permission to mount or to open /dev/fuse, and no fusermount3; run as root or install fuse3',
      'EPERM',
    )
  }
  throw new MountError(said === '' ? `fusermount3: ${errnoReason(fd)}` : said, errnoName(fd))
}

/** Tells whether fuse.conf lets ordinary users open their mounts to others. */
export function isAllowOtherPermitted(): boolean {
  try {
    return /^\s*user_allow_other\b/m.test(readFileSync('/etc/fuse.conf', 'utf8'))
  } catch {
    return false
  }
}

function mounted(fd: number, target: string, source: string): MountedDevice {
  const entry = mountAt(target)
  const device = entry?.type === FS_TYPE ? entry.device : ''
  return {
    fd,
    source,
    device,
    detach() {
      // Only what is ours: another file system may have been mounted over it since.
      if (mountAt(target)?.source === source) detachPath(target)
    },
  }
}

/** Detaches what is mounted at a real path, through fusermount3 when it takes privileges. */
export function detachPath(target: string): number {
  const result = native.umount(encodePath(target), MNT_DETACH)
  return result === -EPERM ? unmountByHelper(target, true) : result
}

/** Whoever looks at all mounts (df, an engine) is in each for a moment: it is tried again after these. */
const BUSY_PAUSES_MS = [5, 20, 80]

/** Unmounts a real path. Returns 0, or -errno (-EBUSY: something in it is still used). Blocks for 105 ms at most where it is. */
export function unmountPath(target: string, isLazy: boolean): number {
  let result = tryUnmount(target, isLazy)
  for (const ms of BUSY_PAUSES_MS) {
    if (result !== -EBUSY) break
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
    result = tryUnmount(target, isLazy)
  }
  return result
}

function tryUnmount(target: string, isLazy: boolean): number {
  const result = native.umount(encodePath(target), isLazy ? MNT_DETACH : 0)
  return result === -EPERM ? unmountByHelper(target, isLazy) : result
}

function unmountByHelper(target: string, isLazy: boolean): number {
  // Loaded here only: it is needed by ordinary users alone, and costs time at start.
  const { spawnSync } = createRequire(import.meta.url)(
    'node:child_process',
  ) as typeof import('node:child_process')
  for (const program of ['fusermount3', 'fusermount']) {
    const done = spawnSync(program, ['-u', ...(isLazy ? ['-z'] : []), '--', target], { encoding: 'utf8' })
    if (done.error !== undefined) continue
    if (done.status === 0) return 0
    return /busy/i.test(done.stderr)
      ? -EBUSY
      : /not found|not mounted|entry/i.test(done.stderr)
        ? -EINVAL
        : -EPERM
  }
  return -EPERM
}
