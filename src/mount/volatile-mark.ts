// The mark of an upper that is not synced. As in the kernel's overlayfs it is a directory
// `work/incompat/volatile` in the workdir, which also keeps the kernel from mounting this upper.
//
// In it lies one file for each mount of the upper, named after its process. After a clean unmount it goes; when it is
// there and its process is not, there was a crash, and the upper's contents are not to be trusted.

import { randomUUID } from 'node:crypto'
import { mkdirSync, readdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { MountError } from './errors.js'
import { startTime } from './mount-info.js'

const DIR = 'work/incompat/volatile'

function entriesOf(path: string): string[] | undefined {
  try {
    return readdirSync(path)
  } catch {
    return undefined
  }
}

/** Throws when the workdir bears the mark of a mount that crashed. `shown` is its path for people. */
export function refuseAfterCrash(dir: string, upper: string, shown: string): void {
  const entries = entriesOf(`${dir}/${DIR}`)
  if (entries === undefined) return
  const isLeaving = (entry: string): boolean => {
    const [, pid, start] = /^mica\.(\d+)\.(\d+)\.[\w-]+$/.exec(entry) ?? []
    return pid !== undefined && startTime(Number(pid)) === start
  }
  if (entries.length > 0 && entries.every(isLeaving)) return
  throw new MountError(
    `upper ${upper} was mounted volatile and not unmounted cleanly, so it may be damaged; ` +
      `make a new one, or remove ${shown}/${DIR} to use it all the same`,
    'EINVAL',
  )
}

/** Sets the mark; returns what takes it away after a clean unmount. */
export function markVolatile(dir: string): () => void {
  const mark = `${dir}/${DIR}/mica.${process.pid}.${startTime('self')}.${randomUUID()}`
  mkdirSync(`${dir}/${DIR}`, { recursive: true, mode: 0o700 })
  writeFileSync(mark, '')
  return () => {
    rmSync(mark, { force: true })
    try {
      rmdirSync(`${dir}/${DIR}`)
      rmdirSync(`${dir}/work/incompat`)
    } catch {
      // The next mount has set its own mark already.
    }
  }
}
