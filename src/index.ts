// The library: `import { mount } from 'micafs'`. The file system runs in a process of its own, as with the
// command; the object returned is a hold on it, and lasts no longer than the program that has it.

import { formatArguments } from './mount/arguments.js'
import { fetchStats, type MountStats } from './mount/control.js'
import { unmountPath } from './mount/device.js'
import { MountError, systemError, UsageError } from './mount/errors.js'
import { launch } from './mount/launch.js'
import { startTime } from './mount/mount-info.js'
import type { IdRange, MountOptions } from './mount/options.js'
import { realDirectory } from './mount/real-path.js'
import { hasRecord, type MountRecord, readRecords } from './mount/runtime-dir.js'
import { VERSION } from './mount/version.js'

export { type IdRange, MountError, type MountOptions, type MountRecord, type MountStats, UsageError, VERSION }

/** What mount() takes: any mount option, and the lowers at least, top first. */
export type MountSettings = Partial<Omit<MountOptions, 'foreground' | 'debug' | 'lower'>> & {
  readonly lower: readonly string[]
}

/** A live mount. */
export type Mount = {
  /** The real path of the mount point. */
  readonly mountpoint: string
  /** The process that serves it. */
  readonly pid: number
  readonly record: MountRecord
  /** Requests, memory and tables of the mount. */
  stats(): Promise<MountStats>
  /**
   * Takes the mount off; resolves when its process has ended. Rejects with EBUSY while something in it is
   * used, unless `lazy`: then it goes from the tree at once and ends with its last user.
   */
  unmount(options?: { lazy?: boolean }): Promise<void>
}

/** Mounts layers at a directory. Resolves when the mount is live; rejects with nothing mounted. */
export async function mount(mountpoint: string, settings: MountSettings): Promise<Mount> {
  const pid = await launch({ args: formatArguments(mountpoint, settings) })
  const record = readRecords().find((each) => each.pid === pid)
  if (record === undefined) throw new MountError(`mount ${mountpoint} is gone already`, 'ENOENT')
  return holdOf(record)
}

/** Returns the live mounts that this user may know of, oldest first. */
export function mounts(): Mount[] {
  return readRecords().map(holdOf)
}

function holdOf(record: MountRecord): Mount {
  return {
    mountpoint: record.mountpoint,
    pid: record.pid,
    record,
    stats: () => fetchStats(record),
    async unmount({ lazy = false } = {}) {
      const real = realDirectory('mount point', record.mountpoint)
      const result = unmountPath(real, lazy)
      if (result < 0) throw systemError(result, 'unmount', real, 'umount2')
      if (!lazy) await whenGone(record)
    },
  }
}

const POLL_MS = 5
const GONE_MS = 5000

/** Resolves when a mount is gone with all that belonged to it, or after five seconds. */
export async function whenGone(record: MountRecord): Promise<void> {
  const isThere = (): boolean =>
    startTime(record.pid) === record.startTime && (!record.isShared || hasRecord(record))
  const until = Date.now() + GONE_MS
  while (Date.now() < until && isThere()) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
}
