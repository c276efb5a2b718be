// What the kernel says about mounts: /proc/PID/mountinfo, proc(5). Nothing here touches a mounted
// file system, so a daemon that hangs or died can't hold us up.

import { readFileSync } from 'node:fs'
import { decodePath } from './path-bytes.js'

/** The file system type of our mounts as mountinfo shows it. */
export const FS_TYPE = 'fuse.mica'

/** How the roots of pristine trees (pristine-mount.ts) are called in the mount that has them. */
export const PRISTINE_PREFIX = '.mica-pristine-'

export type MountEntry = {
  readonly id: number
  readonly parentId: number
  /** `major:minor`: unique among live file systems, and what st_dev says inside. */
  readonly device: string
  readonly root: string
  readonly mountpoint: string
  readonly options: string
  readonly type: string
  readonly source: string
}

/** Returns a field with its \ooo escapes undone. */
function unescapeField(field: string): string {
  return field.includes('\\')
    ? field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
    : field
}

/** Returns the mounts that a text in mountinfo's format lists, in its order (later ones cover). */
export function parseMountInfo(text: string): MountEntry[] {
  const entries: MountEntry[] = []
  for (const line of text.split('\n')) {
    const fields = line.split(' ')
    const dash = fields.indexOf('-', 6)
    if (dash < 0) continue
    entries.push({
      id: Number(fields[0]),
      parentId: Number(fields[1]),
      device: fields[2]!,
      root: unescapeField(fields[3]!),
      mountpoint: decodePath(Buffer.from(unescapeField(fields[4]!), 'latin1')),
      options: fields[5]!,
      type: fields[dash + 1]!,
      source: unescapeField(fields[dash + 2] ?? ''),
    })
  }
  return entries
}

/** Returns the mounts that a process sees; none when it is gone or not ours to look at. */
export function readMounts(pid: number | 'self' = 'self'): MountEntry[] {
  try {
    // latin1 keeps every byte of the paths until they are decoded one by one.
    return parseMountInfo(readFileSync(`/proc/${pid}/mountinfo`, 'latin1'))
  } catch {
    return []
  }
}

/** Tells whether a mount shows a pristine tree, which keeps nobody from its union's upper. */
export function isPristineMount({ root }: MountEntry): boolean {
  return root.startsWith(`/${PRISTINE_PREFIX}`)
}

/** Returns a st_dev as mountinfo shows it. */
export function deviceNumber(dev: bigint): string {
  // new_encode_dev() of the kernel, as glibc's makedev() has it.
  const major = Number(((dev >> 8n) & 0xfffn) | ((dev >> 32n) & 0xfffff000n))
  const minor = Number((dev & 0xffn) | ((dev >> 12n) & 0xffffff00n))
  return `${major}:${minor}`
}

/** Returns the topmost mount at exactly this (real) path. */
export function mountAt(path: string, mounts = readMounts()): MountEntry | undefined {
  return mounts.findLast((mount) => mount.mountpoint === path)
}

/** Returns field 22 of /proc/PID/stat, which together with the pid names one process for ever; '' when gone. */
export function startTime(pid: number | 'self'): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    // A zombie holds no file: its mount is dead already.
    return fields[0] === 'Z' || fields[0] === 'X' ? '' : fields[19]!
  } catch {
    return ''
  }
}
