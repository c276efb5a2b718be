// Lower files opened, changed by a byte and closed, which copies them up. With syncs by those that sync
// by default, and without any (volatile) by all: no driver is fast here by promising less.

import type { Driver } from '../drivers.js'
import { type Case, type Question, stepCase } from '../question.js'
import { FILES } from '../sizes.js'

const BYTES = 1024

/** Why a driver can't be asked to copy up with syncs, undefined when it can. */
export function unsynced(driver: Driver): string | undefined {
  return driver.hasUnsyncedCopyUp ? 'it does not sync what it copies up' : undefined
}

function excuse(isVolatile: boolean): (driver: Driver) => string | undefined {
  return (driver) => {
    if (driver.serves === 'directory') return 'nothing to copy up'
    return isVolatile ? undefined : unsynced(driver)
  }
}

export const copyUp: Question = {
  id: 'copy-up',
  title: 'Copy-up by a write of one byte (per file)',
  cases({ copied, copyBytes }) {
    const dirs = copied / FILES
    const small = (isVolatile: boolean): Case =>
      stepCase({
        isChanging: true,
        excuse: excuse(isVolatile),
        id: isVolatile ? 'small-volatile' : 'small',
        title: `${copied} files of 1 KiB, ${isVolatile ? 'volatile' : 'synced'}`,
        isVolatile,
        tree: (fixtures) => fixtures.spread({ dirs, files: FILES, bytes: BYTES }, 1),
        steps: [{ id: 'change', title: 'change', command: (path) => ['copy-up', path, dirs, FILES] }],
      })
    const big = (isVolatile: boolean): Case =>
      stepCase({
        isChanging: true,
        excuse: excuse(isVolatile),
        id: isVolatile ? 'big-volatile' : 'big',
        title: `one file of ${copyBytes >> 20} MiB, ${isVolatile ? 'volatile' : 'synced'}`,
        isVolatile,
        tree: (fixtures) => fixtures.bigFile(copyBytes),
        steps: [{ id: 'change', title: 'change', command: (path) => ['copy-up-one', `${path}/big`] }],
      })
    return [small(false), small(true), big(false), big(true)]
  },
}
