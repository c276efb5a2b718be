// An ext4 of its own for the measurements, in a file: the same for all machines, and with a journal.

import { spawnSync } from 'node:child_process'
import { closeSync, ftruncateSync, mkdirSync, openSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { runProgram } from './probe.js'

export type Image = { readonly folder: string; readonly remove: () => void }

function places(folder: string): { file: string; mountPoint: string } {
  return { file: join(folder, 'ext4.img'), mountPoint: join(folder, 'ext4') }
}

/** Takes away what makeImage() left in `folder`, which may be nothing. */
export function removeImage(folder: string): void {
  const { file, mountPoint } = places(folder)
  const isMounted = spawnSync('mountpoint', ['-q', mountPoint]).status === 0
  if (isMounted) runProgram(['umount', mountPoint])
  rmSync(mountPoint, { recursive: true, force: true })
  rmSync(file, { force: true })
}

/** Makes a file system of `gib` GiB in `folder` and mounts it there. Takes the room that is written. */
export function makeImage(folder: string, gib: number): Image {
  removeImage(folder)
  const { file, mountPoint } = places(folder)
  mkdirSync(mountPoint, { recursive: true })
  const fd = openSync(file, 'wx', 0o600)
  ftruncateSync(fd, gib * 2 ** 30)
  closeSync(fd)
  runProgram(['mkfs.ext4', '-q', file])
  runProgram(['mount', '-o', 'loop', file, mountPoint])
  return { folder: mountPoint, remove: () => removeImage(folder) }
}
