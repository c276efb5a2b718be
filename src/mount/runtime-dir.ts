// The runtime directory: one JSON record for each live mount, and its control socket. Records tell
// people and tools what is mounted; nothing depends on them. A record is believed only while
// its process and its mount are there, so what a crash leaves behind is harmless, and is swept.

import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { makePath } from '../base/make-path.js'
import { FS_TYPE, isPristineMount, type MountEntry, readMounts, startTime } from './mount-info.js'

export type MountRecord = {
  readonly mountpoint: string
  /** Lowers as given, top first. */
  readonly lowers: readonly string[]
  readonly upper: string | null
  readonly work: string | null
  readonly pid: number
  readonly startTime: string
  /** Its process may serve further mounts, and so outlive this one. */
  readonly isShared: boolean
  /** ISO 8601. */
  readonly since: string
  /** `major:minor` as in mountinfo. */
  readonly device: string
  /** The mount's source, which no other mount has. */
  readonly source: string
  /** What differs from the defaults. */
  readonly options: Readonly<Record<string, unknown>>
  readonly version: string
}

/** Returns the runtime directory's path; it may not exist. */
export function runtimeDir(env: NodeJS.ProcessEnv = process.env): string {
  // Root of a user namespace of ours (user-namespace.ts) is a user.
  const uid = Number(env.MICA_USERNS_UID ?? process.geteuid?.() ?? 0)
  const forced = env.MICA_RUNTIME_DIR
  if (forced !== undefined && forced !== '') return forced
  if (uid === 0 && env.XDG_RUNTIME_DIR === undefined) return '/run/mica'
  if (uid === 0 && isInitialUserNamespace()) return '/run/mica'
  if (env.XDG_RUNTIME_DIR !== undefined && env.XDG_RUNTIME_DIR !== '')
    return join(env.XDG_RUNTIME_DIR, 'mica')
  return `/tmp/mica-${uid}`
}

/** Tells whether uid 0 here is uid 0 of the machine: /run may belong to somebody else otherwise. */
export function isInitialUserNamespace(): boolean {
  try {
    return /^\s*0\s+0\s+4294967295\s*$/.test(readFileSync('/proc/self/uid_map', 'latin1'))
  } catch {
    return true
  }
}

/** What names a mount's files here. */
type Named = Pick<MountRecord, 'device' | 'source'>

/** Returns a record's path without its ending. A process may have several mounts, and again use a number. */
function stem({ device, source }: Named, dir: string): string {
  return join(dir, `${device.replace(':', '-')}.${source.replace(/^mica-/, '').replaceAll('/', '-')}`)
}

/** Returns the path of a mount's control socket. */
export function socketPath(record: Named, dir = runtimeDir()): string {
  return `${stem(record, dir)}.sock`
}

/** Returns the path of the file that a daemon logs to; it is there only after the first line. */
export function logPath(record: Named, dir = runtimeDir()): string {
  return `${stem(record, dir)}.log`
}

/** Tells whether a mount's record is still there; it goes when everything else of the mount is gone. */
export function hasRecord(record: Named, dir = runtimeDir()): boolean {
  return existsSync(`${stem(record, dir)}.json`)
}

/** Writes a record so that readers see all of it or nothing. Throws when the directory can't be made. */
export function writeRecord(record: MountRecord, dir = runtimeDir()): void {
  makePath(dir, 0o755)
  const path = `${stem(record, dir)}.json`
  const draft = `${path}.${record.pid}~`
  writeFileSync(draft, `${JSON.stringify(record)}\n`, { mode: 0o644 })
  renameSync(draft, path)
}

/** Removes a record and its socket; quietly when they are gone. */
export function removeRecord(record: Named, dir = runtimeDir()): void {
  for (const ending of ['sock', 'json']) rmSync(`${stem(record, dir)}.${ending}`, { force: true })
}

/** Tells whether a record's daemon runs and its mount is in the tree that the daemon sees. */
export function isLive(record: Pick<MountRecord, 'pid' | 'startTime' | 'device' | 'source'>): boolean {
  if (startTime(record.pid) !== record.startTime || record.startTime === '') return false
  return readMounts(record.pid).some(
    (mount) => mount.device === record.device && mount.source === record.source && !isPristineMount(mount),
  )
}

function isRecord(value: unknown): value is MountRecord {
  const record = value as MountRecord | null
  return (
    typeof record === 'object' &&
    record !== null &&
    typeof record.mountpoint === 'string' &&
    typeof record.pid === 'number' &&
    typeof record.device === 'string' &&
    typeof record.source === 'string' &&
    typeof record.startTime === 'string' &&
    typeof record.since === 'string' &&
    Array.isArray(record.lowers)
  )
}

/** Returns the records of live mounts, oldest first, and sweeps those of mounts that are gone. */
export function readRecords(dir = runtimeDir()): MountRecord[] {
  let names: string[]
  try {
    names = readdirSync(dir)
  } catch {
    return []
  }
  const records: MountRecord[] = []
  for (const name of names.filter((each) => each.endsWith('.json'))) {
    const record = readRecord(join(dir, name))
    if (record !== undefined && isLive(record)) records.push(record)
    else sweep(dir, name.slice(0, -'.json'.length))
  }
  return records.sort((a, b) => (a.since < b.since ? -1 : 1))
}

function readRecord(path: string): MountRecord | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'))
    return isRecord(value) ? value : undefined
  } catch {
    return undefined
  }
}

function sweep(dir: string, name: string): void {
  try {
    for (const ending of ['json', 'sock']) rmSync(join(dir, `${name}.${ending}`), { force: true })
  } catch {
    // Not ours to remove; it is ignored anyway.
  }
}

/** Returns the live record of the mount at a real path. */
export function recordAt(mountpoint: string, dir = runtimeDir()): MountRecord | undefined {
  return readRecords(dir).findLast((record) => record.mountpoint === mountpoint)
}

/** Returns our mounts that the kernel lists here, whether their daemon lives or not. */
export function kernelMounts(mounts: readonly MountEntry[] = readMounts()): MountEntry[] {
  return mounts.filter((mount) => mount.type === FS_TYPE)
}
