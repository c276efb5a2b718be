// Who uses an upper: a record in its workdir, found by everyone who would mount that upper, whatever
// their runtime directory or mount namespace.
//
// A claim holds while its process runs AND its mount is in that process's mount tree. So the upper is
// free the moment umount returns, although the daemon may still be on its way out, and after a
// kill -9 of the daemon. No lock is held that would outlive the mount.

import { randomUUID } from 'node:crypto'
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { MountError } from './errors.js'
import { startTime } from './mount-info.js'
import { isLive } from './runtime-dir.js'

/** Beside the driver's scratch files, where the kernel's overlayfs sweeps it if it ever gets this workdir. */
const DIR = 'work'
const NAME = 'mica%'

type ClaimRecord = {
  pid: number
  startTime: string
  device: string
  source: string
  mountpoint: string
  /** Tells the claims of one process apart. */
  token: string
}

/** The device of a claim whose mount is not made yet: its process alone decides. */
const NOT_YET = ''

export type Claim = {
  /** Records which mount the claim is for, once that exists. */
  settle(device: string, source: string): void
  /** Gives the upper back, unless another mount has taken it over already. */
  release(): void
}

function read(path: string): ClaimRecord | undefined {
  try {
    const value = JSON.parse(readFileSync(path, 'utf8')) as ClaimRecord
    return typeof value?.pid === 'number' && typeof value.device === 'string' ? value : undefined
  } catch {
    return undefined
  }
}

function holds(record: ClaimRecord): boolean {
  if (record.device === NOT_YET) return record.startTime !== '' && startTime(record.pid) === record.startTime
  return isLive(record)
}

/**
 * Takes the workdir (given as a path to it that will not change, e.g. /proc/self/fd/N) for a mount by
 * this process. Throws EBUSY with the mount point when a live mount has it.
 */
export function claimWorkdir(dir: string, shown: string, mountpoint: string): Claim {
  mkdirSync(`${dir}/${DIR}`, { recursive: true, mode: 0o700 })
  const path = `${dir}/${DIR}/${NAME}`
  const token = randomUUID()
  const draft = `${path}.${token}`
  const record: ClaimRecord = {
    pid: process.pid,
    startTime: startTime('self'),
    device: NOT_YET,
    source: '',
    mountpoint,
    token,
  }
  const write = (): void => writeFileSync(draft, `${JSON.stringify(record)}\n`, { mode: 0o644 })
  write()
  try {
    for (let attempt = 0; ; attempt++) {
      try {
        linkSync(draft, path)
        break
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || attempt === 8) throw error
      }
      evict(path, shown, token)
    }
  } finally {
    rmSync(draft, { force: true })
  }
  return {
    settle(device, source) {
      record.device = device
      record.source = source
      write()
      renameSync(draft, path)
    },
    release() {
      if (read(path)?.token === token) rmSync(path, { force: true })
    },
  }
}

/** Removes a claim that no longer holds; throws when it does. */
function evict(path: string, shown: string, token: string): void {
  const other = read(path)
  if (other !== undefined && holds(other)) throw inUse(shown, other)
  // Two mounts may evict at once: what was moved away is looked at again, and put back if it holds.
  const aside = `${path}.${token}~`
  try {
    renameSync(path, aside)
  } catch {
    return
  }
  const moved = read(aside)
  if (moved !== undefined && holds(moved)) {
    renameSync(aside, path)
    throw inUse(shown, moved)
  }
  rmSync(aside, { force: true })
}

function inUse(shown: string, by: ClaimRecord): MountError {
  const where = by.mountpoint === '' ? `process ${by.pid}` : by.mountpoint
  return new MountError(`upper ${shown} is in use by the mount at ${where}; mica umount it first`, 'EBUSY')
}
