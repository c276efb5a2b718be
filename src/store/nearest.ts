// Names that someone may have meant.

const NEAR_MAX = 3

/** Returns the number of letters to add, drop or change between two words, `limit` + 1 when it is more. */
function distance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) > limit) return limit + 1
  let above = Array.from({ length: b.length + 1 }, (_, at) => at)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const change = above[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      row.push(Math.min(change, above[j]! + 1, row[j - 1]! + 1))
    }
    above = row
  }
  return above[b.length]!
}

/** Returns up to three of the names that are like the word, nearest first. */
export function nearest(word: string, names: readonly string[]): string[] {
  const limit = Math.max(1, Math.floor(word.length / 4))
  const bare = word
    .split('/')
    .at(-1)!
    .replace(/[:@].*/, '')
  const scored = [...new Set(names)].map((name) => {
    // A slip of the finger before a name that only has the word in it.
    const slips = Math.min(distance(word, name, limit), distance(word, name.replace(/:latest$/, ''), limit))
    const isPart = bare.length >= 3 && name.includes(bare)
    return { name, score: slips > limit && isPart ? limit + 0.5 : slips }
  })
  return scored
    .filter(({ score }) => score < limit + 1)
    .sort((a, b) => a.score - b.score || (a.name < b.name ? -1 : 1))
    .slice(0, NEAR_MAX)
    .map(({ name }) => name)
}
