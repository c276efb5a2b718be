// Hard links in an upper: which files there are names of one, and whether the lowers have them linked in
// the same way. A layer holds all names of a group or none: the name of a file that did not change is told
// of when another name of it is new. Found by one walk over the upper, when the first such file turns up.

import { O_DIRECTORY } from '../base/open-flags.js'
import { DOT_OPAQUE } from '../format/markers.js'
import {
  check,
  close,
  type Ino,
  isOpaque,
  readNames,
  S_IFDIR,
  S_IFMT,
  type Stat,
  statAt,
  tryOpen,
} from './at.js'
import { findInLowers } from './lowers.js'

type Member = { readonly parts: readonly string[]; readonly isHidden: boolean }

export class LinkGroups {
  readonly #upper: number
  readonly #lowers: readonly number[]
  #members: Map<Ino, Member[]> | undefined

  /** `upper` is a root; `lowers` are those below it, top first. */
  constructor(upper: number, lowers: readonly number[]) {
    this.#upper = upper
    this.#lowers = lowers
  }

  /** Tells whether all names that the upper has of this file are names of one file in the lowers. */
  isAsBelow({ ino }: Stat): boolean {
    this.#members ??= this.#find()
    let below: string | undefined
    for (const { parts, isHidden } of this.#members.get(ino) ?? []) {
      const found = isHidden
        ? undefined
        : findInLowers(this.#lowers, parts, ({ stat }) => `${stat.dev}:${stat.ino}`)
      if (found === undefined || (below !== undefined && found !== below)) return false
      below = found
    }
    return true
  }

  #find(): Map<Ino, Member[]> {
    const members = new Map<Ino, Member[]>()
    const visit = (dirFd: number, name: string, parts: readonly string[], isHidden: boolean): void => {
      const fd = check(tryOpen(dirFd, name, O_DIRECTORY), 'open', parts.join('/'))
      try {
        const hides =
          isHidden || (parts.length > 0 && (isOpaque(fd, '') || statAt(fd, DOT_OPAQUE) !== undefined))
        for (const each of readNames(fd)) {
          const stat = statAt(fd, each)
          if (stat === undefined) continue
          if ((stat.mode & S_IFMT) === S_IFDIR) visit(fd, each, [...parts, each], hides)
          else if (stat.nlink > 1) {
            const group = members.get(stat.ino) ?? []
            group.push({ parts: [...parts, each], isHidden: hides })
            members.set(stat.ino, group)
          }
        }
      } finally {
        close(fd)
      }
    }
    visit(this.#upper, '', [], false)
    return members
  }
}
