// An open snapshotter: its root, its lock, and its state in order after a crash.
//
//   metadata.db        what is known (metadata.ts)
//   snapshots/ID/fs    a snapshot's tree: the upper of an active one; /work its workdir
//   trash/             removed snapshots, until they are deleted
//   index/             indexes of stacks of layers; a layer's own is snapshots/ID/index (indexes.ts)
//   empty/             an empty directory
//   lock, pid          who serves this root
//
// Order of every change, so that a kill between any two steps leaves the old state or the new one:
// directories are made before the transaction that names them commits, and go after the one that
// forgets them. A directory without a row is nobody's and is thrown away at the next start.

import { chmodSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { makePath } from '../base/make-path.js'
import { O_DIRECTORY } from '../base/open-flags.js'
import { OPAQUE_XATTRS } from '../format/whiteout.js'
import {
  close,
  openRoot,
  removeDirectory,
  statAt,
  tryMkdir,
  trySetXattr,
  tryUnlink,
  tryWhiteout,
} from '../store/at.js'
import { type Lock, tryLock } from '../store/lock.js'
import type { Say } from './background.js'
import { Indexes } from './indexes.js'
import { Metadata } from './metadata.js'
import { emptyDir, type MountSettings, snapshotDir, type UnpackMode } from './mounts.js'
import { Trash } from './trash.js'

export type Options = {
  readonly root: string
  /** The mount program's name in containerd's PATH, or its path. */
  readonly program?: string
  /** `auto`: direct where the file system can hold overlayfs's marks. */
  readonly unpack?: UnpackMode | 'auto'
  /** Write a layer to disk before it counts as committed. */
  readonly sync?: boolean
  /** For lines about what went wrong without anyone asking. */
  readonly say?: Say
  /** Indexes of layers and stacks, for mount programs that are mica. */
  readonly indexes?: boolean
  /** Tests end the process here. */
  readonly onStep?: (step: string) => void
}

export type Snapshotter = {
  readonly settings: MountSettings
  readonly metadata: Metadata
  readonly trash: Trash
  readonly sync: boolean
  readonly say: Say
  readonly indexes: Indexes | undefined
  readonly onStep: (step: string) => void
  /** Lets go of everything. What is mounted stays mounted. */
  close(): Promise<void>
}

/** Opens a root, making it if need be. Throws when it is served already. */
export function openSnapshotter(options: Options): Snapshotter {
  const root = prepareRoot(options.root)
  const lock = tryLock(root, 'lock', 'exclusive')
  if (lock === undefined) throw new Error(`another snapshotter${pidWords(root)} serves this root`)
  try {
    return openLocked(root, lock, options)
  } catch (error) {
    lock.release()
    throw error
  }
}

function openLocked(root: string, lock: Lock, options: Options): Snapshotter {
  const { program = 'mica-overlay', unpack = 'auto', sync = false, indexes: hasIndexes = false } = options
  const { say = () => {}, onStep = () => {} } = options
  writeFileSync(join(root, 'pid'), `${process.pid}\n`)
  const metadata = new Metadata(join(root, 'metadata.db'))
  try {
    const trash = new Trash(join(root, 'trash'), say)
    const indexes = hasIndexes ? new Indexes(root, metadata, say) : undefined
    const isDirect = unpack === 'auto' ? canHoldMarks(root) : unpack === 'direct'
    const snapshotter: Snapshotter = {
      settings: { root, program, unpack: isDirect ? 'direct' : 'mount', hasIndexes },
      metadata,
      trash,
      sync,
      say,
      indexes,
      onStep,
      async close() {
        await indexes?.close()
        await trash.close()
        metadata.close()
        rmSync(join(root, 'pid'), { force: true })
        lock.release()
      },
    }
    discardOrphans(snapshotter)
    reportLosses(snapshotter)
    indexes?.sweep()
    return snapshotter
  } catch (error) {
    metadata.close()
    throw error
  }
}

function prepareRoot(given: string): string {
  const path = resolve(given)
  // These mean something in mount options, and containerd takes the paths out of them unescaped.
  if (/[,:"\\\s]/.test(path))
    throw new Error('commas, colons, quotes, backslashes and blanks are no good in its path')
  makePath(path, 0o700)
  const root = realpathSync(path)
  for (const dir of ['snapshots', 'trash']) makePath(join(root, dir), 0o700)
  makePath(emptyDir(root))
  chmodSync(emptyDir(root), 0o755)
  return root
}

function pidWords(root: string): string {
  try {
    return ` (pid ${readFileSync(join(root, 'pid'), 'utf8').trim()})`
  } catch {
    return ''
  }
}

/** Throws away directories that no snapshot has: a crash came between two steps. */
export function discardOrphans({ settings: { root }, metadata, trash, say }: Snapshotter): void {
  const known = metadata.ids()
  for (const name of readdirSync(join(root, 'snapshots'))) {
    if (known.has(Number(name))) continue
    try {
      trash.put(join(root, 'snapshots', name), name)
    } catch (error) {
      say(
        `${join(root, 'snapshots', name)} is no snapshot and can't be moved away: ${(error as Error).message}`,
      )
    }
  }
}

function reportLosses({ settings: { root }, metadata, say }: Snapshotter): void {
  const present = new Set(readdirSync(join(root, 'snapshots')))
  for (const id of metadata.ids()) {
    if (!present.has(String(id))) say(`${snapshotDir(root, id)} is gone; its snapshot can only be removed`)
  }
}

/** Tells whether whiteouts and opaque marks of overlayfs can be made here: not in user namespaces. */
function canHoldMarks(root: string): boolean {
  const fd = openRoot(root, O_DIRECTORY)
  const name = `probe-${process.pid}`
  try {
    if (process.geteuid!() !== 0 || tryMkdir(fd, name) < 0) return false
    const isMade = tryWhiteout(fd, `${name}-w`) >= 0
    if (isMade) tryUnlink(fd, `${name}-w`)
    return isMade && trySetXattr(fd, name, OPAQUE_XATTRS[0], Buffer.from('y')) >= 0
  } finally {
    if (statAt(fd, name) !== undefined) removeDirectory(fd, name)
    close(fd)
  }
}
