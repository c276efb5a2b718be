// Whether two indexes of a layer say the same: by names, as the order in a directory and the time of its
// last reading are nobody's business.

import { STAT_ATIME, STAT_ATIME_NS } from '../vfs/arena.js'
import { E_ATTR, E_CHILD, E_LENGTH, E_TYPE, ENTRY_WORDS } from './format.js'
import type { IndexView } from './view.js'

const TIMES_OF_READING: readonly number[] = [
  E_ATTR + STAT_ATIME,
  E_ATTR + STAT_ATIME + 1,
  E_ATTR + STAT_ATIME_NS,
]

/** Returns a path where `actual` differs from `expected`, with a few words; undefined when nowhere. */
export function differenceOf(expected: IndexView, actual: IndexView): string | undefined {
  const queue: [dirs: [number, number], path: string][] = [[[1, 1], '']]
  if (!isSameEntry(expected, expected.ownEntry(1), actual, actual.ownEntry(1))) {
    return 'it differs from the layer in its root'
  }
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    const [[a, b], path] = next
    const da = expected.dir(a)
    const db = actual.dir(b)
    if (da < 0 || db < 0) return expected.damage ?? actual.damage
    if (expected.count(da) !== actual.count(db)) return `it differs from the layer in /${path}`
    const first = expected.first(da)
    for (let entry = first; entry < first + expected.count(da); entry++) {
      const wa = expected.entry(entry)
      const name = expected.name(wa)
      const length = expected.words[wa + E_LENGTH]! & 0xffff
      const below = path + Buffer.from(expected.bytes.slice(name, name + length)).toString()
      const found = actual.find(b, expected.bytes, name, length)
      const wb = found <= 0 ? -1 : actual.entry(found)
      if (wb < 0 || !isSameEntry(expected, wa, actual, wb)) {
        return actual.damage ?? `it differs from the layer at /${below}`
      }
      const child = expected.words[wa + E_CHILD]!
      if (child !== 0) queue.push([[child, actual.words[wb + E_CHILD]!], `${below}/`])
    }
  }
  return undefined
}

function isSameEntry(a: IndexView, wa: number, b: IndexView, wb: number): boolean {
  if (wa < 0 || wb < 0) return false
  for (let i = E_LENGTH; i < ENTRY_WORDS; i++) {
    if (i === E_CHILD) {
      if ((a.words[wa + i] === 0) !== (b.words[wb + i] === 0)) return false
    } else if (a.words[wa + i] !== b.words[wb + i] && !TIMES_OF_READING.includes(i)) return false
  }
  return a.words[wa + E_TYPE] === b.words[wb + E_TYPE]
}
