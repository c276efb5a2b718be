// Which owners files can have here: all of them for root; in a user namespace those that have a number outside;
// for anybody else root's files become the user's own, and other owners are lost.

import { readFileSync } from 'node:fs'
import { isRoot } from './at.js'

type Range = { readonly first: number; readonly count: number }

function rangesOf(kind: 'uid' | 'gid'): readonly Range[] {
  if (!isRoot) return [{ first: 0, count: 1 }]
  return readFileSync(`/proc/self/${kind}_map`, 'latin1')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [first, , count] = line.trim().split(/\s+/).map(Number)
      return { first: first!, count: count! }
    })
}

const uids = rangesOf('uid')
const gids = rangesOf('gid')

const isIn = (ranges: readonly Range[], id: number): boolean =>
  ranges.some(({ first, count }) => id >= first && id - first < count)

/** Tells whether a file can belong to these ids. */
export function canOwn(uid: number, gid: number): boolean {
  return isIn(uids, uid) && isIn(gids, gid)
}
