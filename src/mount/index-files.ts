// The index of a mount's lowers, when one was asked for: opened, or made by the first mount that needs it.

import type { OpenIndex } from '../index/files.js'
import { INDEX_OVERRIDE_STAT } from '../index/format.js'
import { stampOf } from '../index/stamp.js'
import { native } from '../sys/native.js'
import type { Layers } from './layers.js'
import type { Log } from './log.js'
import type { MountOptions } from './options.js'
import { showPath } from './path-bytes.js'

/** Returns undefined where there is to be none, or none can be had; the layers are looked into then. */
export async function openIndex(
  options: MountOptions,
  { layers, isWritable }: Layers,
  log: Log,
): Promise<OpenIndex | undefined> {
  if (options.indexDir === null) return undefined
  if (options.upper !== null && !isWritable) {
    log('no index for a read-only mount with an upper')
    return undefined
  }
  const { openStack } = await import('../index/files.js')
  const lowers = layers
    .slice(isWritable ? 1 : 0)
    .map(({ fd, path, stat }) => ({ fd, path, stamp: stampOf(stat) }))
  const dir = options.indexDir
  if (/[\udc80-\udcff]/u.test(dir)) {
    log(`index ${showPath(dir)}: its name is not UTF-8; going on without`)
    return undefined
  }
  const index = await openStack(dir, lowers, log)
  if (index === undefined) return undefined
  // Owners and modes in attributes are read by the union itself.
  if (options.xattrPermissions === 0 && (index.view.flags & INDEX_OVERRIDE_STAT) === 0) return index
  native.close(index.fd)
  return undefined
}
