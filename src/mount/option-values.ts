// One option's text to its value, and back. Knows the kinds of values, not where the text came from.

import { UsageError } from './errors.js'
import { type IdRange, type MountOptions, OPTION_ROWS, type OptionRow } from './options.js'

const FLAG_WORDS: Readonly<Record<string, boolean>> = {
  '1': true,
  on: true,
  yes: true,
  true: true,
  '0': false,
  off: false,
  no: false,
  false: false,
}

/** How a spelling is understood. */
export type Spelling = { readonly row: OptionRow; readonly isOff: boolean }

const spellings = new Map<string, Spelling>()
for (const row of OPTION_ROWS as readonly OptionRow[]) {
  for (const name of row.names) spellings.set(name, { row, isOff: false })
  for (const name of row.off ?? []) spellings.set(name, { row, isOff: true })
}

/** Returns the row behind a spelling (`--lower`, `lowerdir`), undefined for an unknown one. */
export function findSpelling(name: string): Spelling | undefined {
  return spellings.get(name)
}

/** Returns the known spelling nearest to a wrong one, undefined when none is near. */
export function nearestSpelling(name: string): string | undefined {
  let best: string | undefined
  let bestDistance = Math.min(3, Math.ceil(name.replace(/^-+/, '').length / 3)) + 1
  for (const known of spellings.keys()) {
    if (known.startsWith('-') !== name.startsWith('-') || (known.length === 2 && known.startsWith('-')))
      continue
    const distance = editDistance(name, known, bestDistance)
    if (distance < bestDistance) [best, bestDistance] = [known, distance]
  }
  return best
}

/** Returns the number of edits (insert, delete, replace, swap of neighbours) from a to b, at most `limit`. */
function editDistance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) return limit
  let before: number[] = []
  let above = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const isSame = a[i - 1] === b[j - 1]
      let cost = Math.min(above[j]! + 1, row[j - 1]! + 1, above[j - 1]! + (isSame ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        cost = Math.min(cost, before[j - 2]! + 1)
      }
      row.push(cost)
    }
    before = above
    above = row
  }
  return Math.min(above[b.length]!, limit)
}

/**
 * Sets one option from its text. `value` undefined means that none was given; `as` is the spelling
 * used, for messages. Lists and mappings grow by each call after the first one of a parse.
 */
export function applyOption(
  options: MountOptions,
  given: Set<string>,
  { row, isOff }: Spelling,
  as: string,
  value: string | readonly string[] | undefined,
): void {
  if (row.kind === 'ignored') return
  const target = options as Record<string, unknown>
  const isFirst = !given.has(row.name)
  given.add(row.name)
  if (row.kind === 'paths') {
    const paths = typeof value === 'string' ? [value] : value
    if (paths === undefined || paths.length === 0) throw new UsageError(`${as} needs a directory`)
    if (paths.some((path) => path === '')) throw new UsageError(`${as} has an empty path in its list`)
    target[row.name] = isFirst ? [...paths] : [...(target[row.name] as string[]), ...paths]
    return
  }
  const text = typeof value === 'string' || value === undefined ? value : value.join(':')
  if (row.kind === 'mapping') {
    const ranges = parseMapping(as, need(row, as, text))
    target[row.name] = isFirst ? ranges : [...(target[row.name] as IdRange[]), ...ranges]
    checkOverlap(as, target[row.name] as IdRange[])
    return
  }
  target[row.name] =
    row.kind === 'flag' ? parseFlag(row, as, text) !== isOff : parseScalar(row, as, need(row, as, text))
}

function need(row: OptionRow, as: string, text: string | undefined): string {
  if (text === undefined || text === '')
    throw new UsageError(`${as} needs a value: ${as}=${row.value ?? 'VALUE'}`)
  return text
}

function parseFlag(row: OptionRow, as: string, text: string | undefined): boolean {
  if (text === undefined || text === '') return true
  const word = text.toLowerCase()
  const value = FLAG_WORDS[word] ?? row.words?.[word]
  if (value === undefined) {
    const known = ['on', 'off', ...Object.keys(row.words ?? {})]
    throw new UsageError(`${as}=${text} is neither ${known.slice(0, -1).join(', ')} nor ${known.at(-1)}`)
  }
  return value
}

function parseScalar(row: OptionRow, as: string, text: string): string | number {
  switch (row.kind) {
    case 'int':
    case 'seconds': {
      const isNumber = row.kind === 'int' ? /^\d{1,16}$/.test(text) : /^(\d{1,10}(\.\d*)?|\.\d+)$/.test(text)
      const value = Number(text)
      if (!isNumber || value < (row.min ?? 0) || value > (row.max ?? Number.MAX_SAFE_INTEGER)) {
        throw new UsageError(`${as}=${text} is not a number from ${row.min ?? 0} to ${row.max}`)
      }
      return value
    }
    case 'choice':
      if (!row.choices!.includes(text)) {
        throw new UsageError(`${as}=${text} is none of ${row.choices!.join(', ')}`)
      }
      return text
    default:
      return text
  }
}

/**
 * Returns the ranges of `INSIDE:OUTSIDE:COUNT[:INSIDE:OUTSIDE:COUNT…]`. Empty fields at both ends
 * are skipped: containers/storage writes `:0:100000:65536`.
 */
export function parseMapping(as: string, text: string): IdRange[] {
  const fields = text.replace(/^:+|:+$/g, '').split(':')
  const isMalformed = fields.length % 3 !== 0 || fields.some((field) => !/^\d{1,10}$/.test(field))
  if (isMalformed) {
    throw new UsageError(`${as}=${text} is malformed: give DISK:SHOWN:COUNT triplets, as in 0:100000:65536`)
  }
  const ranges: IdRange[] = []
  for (let at = 0; at < fields.length; at += 3) {
    const [inside, outside, count] = fields.slice(at, at + 3).map(Number) as [number, number, number]
    if (count === 0) throw new UsageError(`${as}=${text} has a range of no ids`)
    if (Math.max(inside, outside) + count - 1 > 0xfffffffe) {
      throw new UsageError(`${as}=${text} goes beyond the last id, 4294967294`)
    }
    ranges.push({ inside, outside, count })
  }
  return ranges
}

function checkOverlap(as: string, ranges: readonly IdRange[]): void {
  for (const side of ['inside', 'outside'] as const) {
    const sorted = [...ranges].sort((a, b) => a[side] - b[side])
    sorted.forEach((range, i) => {
      const next = sorted[i + 1]
      if (next !== undefined && range[side] + range.count > next[side]) {
        throw new UsageError(`${as} maps the id ${next[side]} twice`)
      }
    })
  }
}
