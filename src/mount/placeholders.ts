// What has to be there for the host's files to be shown inside: made when a container starts, gone when
// it ends, so that they are no change of the container's. Only plain names; no link is followed.

import { O_DIRECTORY, O_PATH } from '../base/open-flags.js'
import {
  close,
  openRoot,
  S_IFDIR,
  S_IFMT,
  type Stat,
  setMode,
  setTime,
  statAt,
  tryCreate,
  tryMkdir,
  tryOpen,
  tryRmdir,
  tryUnlink,
} from '../store/at.js'

const PLACES: readonly (readonly [dir: string, name: string, isDirectory: boolean])[] = [
  ['etc', 'resolv.conf', false],
  ['etc', 'hosts', false],
  ['', 'proc', true],
  ['', 'dev', true],
  ['', 'sys', true],
]

/** Paths that are no change of a container's while it runs, as long as they are empty. */
export const PLACEHOLDERS: ReadonlySet<string> = new Set(
  PLACES.map(([dir, name]) => (dir === '' ? name : `${dir}/${name}`)),
)

/** Calls `use` with a directory below the root; not when there is none, or it is a link. */
function inDirectory(rootFd: number, dir: string, use: (fd: number) => void): void {
  const fd = tryOpen(rootFd, dir, O_PATH | O_DIRECTORY)
  if (fd < 0) return
  try {
    use(fd)
  } finally {
    close(fd)
  }
}

type Missing = { readonly dir: string; readonly name: string; readonly around: Stat }

/**
 * Makes what is missing in a mounted tree; returns what takes it away again if it is still empty. The
 * times of the directories around it become what they were, unless something else changed them since.
 */
export function makePlaceholders(root: string): () => void {
  const rootFd = openRoot(root)
  const made: Missing[] = []
  for (const [dir, name, isDirectory] of PLACES) {
    inDirectory(rootFd, dir, (fd) => {
      const around = statAt(fd, '')!
      const result = isDirectory ? tryMkdir(fd, name) : tryCreate(fd, name, { mode: 0o644, uid: 0, gid: 0 })
      if (result < 0) return
      if (isDirectory) setMode(fd, name, 0o755)
      else close(result)
      setTime(fd, '', around.mtime, around.mtimeNs)
      made.push({ dir, name, around })
    })
  }
  return () => {
    for (const each of made.reverse()) inDirectory(rootFd, each.dir, (fd) => takeAway(fd, each))
    close(rootFd)
  }
}

function takeAway(fd: number, { name, around }: Missing): void {
  const stat = statAt(fd, name)
  if (stat === undefined || ((stat.mode & S_IFMT) !== S_IFDIR && stat.size > 0)) return
  const now = statAt(fd, '')!
  const result = (stat.mode & S_IFMT) === S_IFDIR ? tryRmdir(fd, name) : tryUnlink(fd, name)
  const isUnchanged = now.mtime === around.mtime && now.mtimeNs === around.mtimeNs
  if (result === 0 && isUnchanged) setTime(fd, '', around.mtime, around.mtimeNs)
}
