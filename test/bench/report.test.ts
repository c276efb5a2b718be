// The arithmetic of the benchmarks and their tables and plots, on made-up figures.

import t from 'tap'
import type { Machine } from '../../bench/machine.js'
import { plotsOf } from '../../bench/plots.js'
import type { Sample } from '../../bench/question.js'
import { remarksOf, tableOf } from '../../bench/report.js'
import { answerOf, type CaseResult, mergedCases, type Results } from '../../bench/results.js'
import { pairedRatio, quantile, spread } from '../../bench/statistics.js'

const samples = (...values: number[]): Sample[] => values.map((value) => ({ value }))

function caseOf(layers: number, reference: number[], other: Sample[]): CaseResult {
  const base = samples(...reference)
  return {
    ...{ question: 'lookup', questionTitle: 'Lookup', id: String(layers), title: `${layers} layers`, layers },
    figures: [{ id: 'first', title: 'first', unit: 'ns' }],
    leftOut: [{ driver: 'absent', reason: 'not installed' }],
    drivers: [
      { driver: 'overlayfs', title: 'kernel overlayfs', answers: { first: answerOf(base, base) } },
      { driver: 'other', title: 'other', answers: { first: answerOf(other, base) } },
    ],
  }
}

t.test('quantiles lie between neighbours by proportion', async (t) => {
  t.equal(quantile([4, 1, 3, 2], 0.5), 2.5)
  t.equal(quantile([7], 0.9), 7)
  t.strictSame(spread([3, 1, 2]), { median: 2, low: 1, high: 3 })
  t.strictSame(spread([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), { median: 5, low: 1, high: 9 })
})

t.test('a ratio is the median of the rounds, not the ratio of the medians', async (t) => {
  t.equal(pairedRatio([10, 200, 30], [10, 100, 10]), 2)
  t.equal(pairedRatio([10, Number.NaN], [5, 5]), 2, 'a round without a figure does not count')
  t.ok(Number.isNaN(pairedRatio([1], [])))
})

t.test('a table has a unit per column, and a failure where there is no figure', async (t) => {
  const result = caseOf(1, [1000, 3000, 2000], samples(4000, 6000, 8000))
  t.strictSame(tableOf(result), [
    ['', 'first, µs', ''],
    ['kernel overlayfs', '2 (1–3)', '×1.00'],
    ['other', '6 (4–8)', '×4.00'],
  ])
  const failed = caseOf(1, [1000], [{ value: Number.NaN, failure: 'no' }])
  t.strictSame(tableOf(failed)[2], ['other', 'fails', ''])
  t.strictSame(remarksOf(failed), ['other, first: no', 'without absent: not installed'])
})

t.test('a question at several depths makes a plot', async (t) => {
  const [plot, ...more] = await plotsOf(
    [1, 8].map((layers) => caseOf(layers, [1000, 2000], samples(4000, 5000))),
  )
  t.equal(more.length, 0)
  t.equal(plot?.name, 'lookup-first.svg')
  t.match(plot?.svg, /^<svg .*kernel overlayfs.*<\/svg>$/s)
})

t.test('of what several runs asked the newest answers count', async (t) => {
  const run = (started: string, cases: CaseResult[]): Results => ({
    ...{ command: '', started, seconds: 1, isQuick: true, rounds: 1, machine: {} as Machine },
    ...{ drivers: [], absent: [], cases },
  })
  const [one, again, deep] = [caseOf(1, [1], []), caseOf(1, [2], []), caseOf(8, [1], [])]
  const other = { ...caseOf(1, [1], []), question: 'find' }
  const alone = { ...again, drivers: again.drivers.slice(1) }
  t.strictSame(mergedCases([run('2026-02', [again]), run('2026-01', [deep, one, other])]), [
    again,
    deep,
    other,
  ])
  t.strictSame(mergedCases([run('2026-01', [one]), run('2026-02', [alone])]), [
    { ...alone, drivers: [...alone.drivers, one.drivers[0]!] },
  ])
})
