// `mica umount`: takes mounts of ours off, dead ones too.

import { existsSync } from 'node:fs'
import { Command } from 'commander'
import { EBUSY } from '../base/errno.js'
import { whenGone } from '../index.js'
import { unmountPath } from '../mount/device.js'
import { MountError, systemError } from '../mount/errors.js'
import { FS_TYPE, isPristineMount, mountAt } from '../mount/mount-info.js'
import { encodePath, showPath } from '../mount/path-bytes.js'
import { realDirectory } from '../mount/real-path.js'
import { readRecords } from '../mount/runtime-dir.js'
import { CommandError } from './command-error.js'

async function unmountOne(path: string, isLazy: boolean): Promise<void> {
  const real = realDirectory('mount point', path)
  const entry = mountAt(real)
  if (entry?.type !== FS_TYPE) throw new MountError('not a mica mount; mica ls lists them')
  const record = readRecords().find((each) => each.device === entry.device)
  const result = unmountPath(real, isLazy)
  if (result === -EBUSY) {
    throw new MountError('something in it is still used; end that, or mica umount --lazy', 'EBUSY')
  }
  if (result < 0) throw systemError(result, 'unmount', showPath(real), 'umount2')
  // A lazy one lives as long as its users, one of an image beside a container as long as that.
  if (record !== undefined && !isLazy && !isPristineMount(entry)) await whenGone(record)
}

async function run(
  paths: readonly string[],
  { lazy = false, root }: { lazy?: boolean; root?: string },
): Promise<void> {
  for (const path of paths) {
    try {
      if (!path.includes('/') && !existsSync(encodePath(path))) {
        const { unmountByName } = await import('./mount-container.js')
        await unmountByName(path, root, lazy)
        continue
      }
      await unmountOne(path, lazy)
    } catch (error) {
      throw new CommandError(showPath(path), error)
    }
  }
}

/** Returns the command. */
export function umountCommand(): Command {
  return new Command('umount')
    .alias('unmount')
    .description('take mounts off')
    .argument('<mountpoint...>', 'or containers by name')
    .option('-l, --lazy', 'take it from the tree at once; it ends with its last user')
    .option('--root <dir>', 'the store that containers are in')
    .action(run)
}
