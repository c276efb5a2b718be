// Results as text: a table per case, drivers down, figures across.

import type { Figure } from './question.js'
import type { Answer, CaseResult, Results } from './results.js'

const SCALES: Record<Figure['unit'], readonly [size: number, name: string][]> = {
  ns: [
    [1e9, 's'],
    [1e6, 'ms'],
    [1e3, 'µs'],
    [1, 'ns'],
  ],
  bytes: [
    [2 ** 20, 'MiB'],
    [2 ** 10, 'KiB'],
    [1, 'B'],
  ],
  count: [[1, '']],
}

/** Returns the scale in which the least of the values is at least one. */
export function scaleOf(unit: Figure['unit'], values: readonly number[]): readonly [number, string] {
  const least = Math.min(...values.filter((value) => value > 0))
  return SCALES[unit].find(([size]) => least >= size) ?? SCALES[unit].at(-1)!
}

function digits(value: number): string {
  if (value >= 100 || Number.isInteger(value)) return value.toFixed(0)
  return value.toFixed(value >= 10 ? 1 : 2)
}

/** Returns a ratio in three digits. */
export function ratioText(ratio: number): string {
  return `×${ratio >= 100 ? ratio.toFixed(0) : ratio >= 10 ? ratio.toFixed(1) : ratio.toFixed(2)}`
}

function cells(answer: Answer | undefined, scale: number): [string, string] {
  if (answer === undefined) return ['', '']
  const { median, low, high, ratio, failure } = answer
  if (median === null || low === null || high === null) return [failure ? 'fails' : '-', '']
  const range = low === high ? '' : ` (${digits(low / scale)}–${digits(high / scale)})`
  return [digits(median / scale) + range, ratio === null ? '' : ratioText(ratio)]
}

/** Returns the table of a case as rows of cells, the head first. */
export function tableOf(result: CaseResult): string[][] {
  const scales = result.figures.map(({ id, unit }) => {
    const medians = result.drivers.flatMap(({ answers }) => answers[id]?.median ?? [])
    return scaleOf(unit, medians)
  })
  const head = [
    '',
    ...result.figures.flatMap(({ title }, i) => [`${title}, ${scales[i]![1]}`.replace(/, $/, ''), '']),
  ]
  const rows = result.drivers.map(({ title, answers }) => [
    title,
    ...result.figures.flatMap(({ id }, i) => cells(answers[id], scales[i]![0])),
  ])
  // A column without any ratio is no column.
  const all = [head, ...rows]
  const kept = head.map((_, i) => i === 0 || all.some((row) => row[i] !== ''))
  return all.map((row) => row.filter((_, i) => kept[i]))
}

/** Returns failures and absences of a case, one line each. */
export function remarksOf(result: CaseResult): string[] {
  const lines = new Set<string>()
  for (const { title, answers } of result.drivers) {
    for (const { id, title: figure } of result.figures) {
      const failure = answers[id]?.failure
      if (failure !== undefined) lines.add(`${title}, ${figure}: ${failure}`)
    }
  }
  for (const { driver, reason } of result.leftOut) lines.add(`without ${driver}: ${reason}`)
  return [...lines]
}

function aligned(rows: readonly string[][]): string[] {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)))
  return rows.map((row) =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join('  ')
      .trimEnd(),
  )
}

/** Returns a case as text. */
export function caseText(result: CaseResult): string {
  const [head, ...rows] = aligned(tableOf(result))
  const remarks = remarksOf(result).map((line) => `  ${line}`)
  return [`${result.questionTitle} — ${result.title}`, head!, ...rows, ...remarks, ''].join('\n')
}

/** Returns what a server was asked per operation, one line per driver and figure, of drivers that tell. */
export function requestText(result: CaseResult): string {
  const lines: string[] = []
  for (const { title, answers } of result.drivers) {
    for (const { id, title: figure } of result.figures) {
      const last = answers[id]?.last
      if (last?.requests === undefined || !last.ops) continue
      const { ops, requests, serverCpuNs = 0 } = last
      const each = Object.entries(requests)
        .sort(([, a], [, b]) => b - a)
        .map(([name, count]) => `${name} ${(count / ops).toFixed(count / ops >= 0.1 ? 2 : 4)}`)
      const asked = each.length > 0 ? each.join(', ') : 'nothing'
      lines.push(
        `  ${title}, ${figure}: ${asked} per operation; server CPU ${(serverCpuNs / 1000).toFixed(1)} µs`,
      )
    }
  }
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`
}

/** Returns who is not there, one line each. */
export function absenceText({ absent }: Pick<Results, 'absent'>): string {
  return absent.map(({ name, reason }) => `left out: ${name}: ${reason}\n`).join('')
}
