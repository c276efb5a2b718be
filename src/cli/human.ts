// Numbers and times for people, in docker's forms.

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']

/** Returns bytes with three digits and a decimal unit: `7.8MB`, `999B`, `124kB`. */
export function formatBytes(bytes: number): string {
  let value = bytes
  let unit = 0
  // 999.5 would be shown as 1000.
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000
    unit++
  }
  return `${Number(value.toPrecision(3))}${UNITS[unit]}`
}

const STEPS: readonly (readonly [seconds: number, word: string])[] = [
  [365 * 86_400, 'year'],
  [30 * 86_400, 'month'],
  [7 * 86_400, 'week'],
  [86_400, 'day'],
  [3600, 'hour'],
  [60, 'minute'],
  [1, 'second'],
]

/** Returns how long ago a moment is: `3 weeks ago`. '' or no date: `N/A`. */
export function formatAge(when: string | number, now = Date.now()): string {
  const then = typeof when === 'number' ? when : Date.parse(when)
  if (Number.isNaN(then)) return 'N/A'
  const seconds = Math.max(0, (now - then) / 1000)
  for (const [length, word] of STEPS) {
    // From two of a unit on, as docker does: 13 days, not 1 week.
    const count = Math.floor(seconds / length)
    if (count >= 2 || (count === 1 && length < 86_400 * 7))
      return `${count} ${word}${count === 1 ? '' : 's'} ago`
  }
  return 'Less than a second ago'
}
