// Lower files opened for writing, which copies them up. With syncs, as each driver does it by default,
// and without any (volatile), where no driver can be fast by promising less.

import { type Case, type Question, stepCase } from '../question.js'
import { FILES } from '../sizes.js'

const BYTES = 1024

function excuse(driver: { serves: string }): string | undefined {
  return driver.serves === 'directory' ? 'nothing to copy up' : undefined
}

export const copyUp: Question = {
  id: 'copy-up',
  title: 'Copy-up by open for writing (per file)',
  cases({ copied, copyBytes }) {
    const common = { isChanging: true, excuse }
    const dirs = copied / FILES
    const small = (isVolatile: boolean): Case =>
      stepCase({
        ...common,
        id: isVolatile ? 'small-volatile' : 'small',
        title: `${copied} files of 1 KiB, ${isVolatile ? 'volatile' : 'durable by default'}`,
        isVolatile,
        ...(isVolatile
          ? {}
          : { excuse: (d) => excuse(d) ?? (d.isAlwaysVolatile ? 'it never syncs' : undefined) }),
        tree: (fixtures) => fixtures.spread({ dirs, files: FILES, bytes: BYTES }, 1),
        steps: [{ id: 'open', title: 'open', command: (path) => ['copy-up', path, dirs, FILES] }],
      })
    const big = (isVolatile: boolean): Case =>
      stepCase({
        ...common,
        id: isVolatile ? 'big-volatile' : 'big',
        title: `one file of ${copyBytes >> 20} MiB, ${isVolatile ? 'volatile' : 'durable by default'}`,
        isVolatile,
        ...(isVolatile
          ? {}
          : { excuse: (d) => excuse(d) ?? (d.isAlwaysVolatile ? 'it never syncs' : undefined) }),
        tree: (fixtures) => fixtures.bigFile(copyBytes),
        steps: [{ id: 'open', title: 'open', command: (path) => ['copy-up-one', `${path}/big`] }],
      })
    return [small(false), small(true), big(false), big(true)]
  },
}
