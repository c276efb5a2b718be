// What a run leaves: plain data, made by the runner, kept as JSON, shown by table, plots and RESULTS.md.

import type { Machine } from './machine.js'
import type { Figure, Sample } from './question.js'
import { pairedRatio, spread } from './statistics.js'

/** One driver's answer to one figure. `values` by round; null where a round has none. */
export type Answer = {
  readonly values: readonly (number | null)[]
  readonly median: number | null
  readonly low: number | null
  readonly high: number | null
  /** Median over rounds of value by the reference's value of the same round. */
  readonly ratio: number | null
  readonly failure?: string
  /** Of the last round. */
  readonly last?: Sample
}

export type DriverResult = {
  readonly driver: string
  readonly title: string
  readonly answers: Readonly<Record<string, Answer>>
}

export type CaseResult = {
  readonly question: string
  readonly questionTitle: string
  readonly id: string
  readonly title: string
  readonly layers?: number
  readonly figures: readonly Figure[]
  readonly drivers: readonly DriverResult[]
  readonly leftOut: readonly { driver: string; reason: string }[]
}

export type Results = {
  /** What `npm run bench --` was given. */
  readonly command: string
  readonly started: string
  readonly seconds: number
  readonly isQuick: boolean
  readonly rounds: number
  readonly machine: Machine
  readonly drivers: readonly { id: string; title: string; version?: string }[]
  /** Drivers and questions that this machine or build can't answer. */
  readonly absent: readonly { name: string; reason: string }[]
  readonly cases: readonly CaseResult[]
}

/** Puts what an older run says of drivers that a newer one did not ask behind what that says. */
function joined(older: CaseResult | undefined, newer: CaseResult): CaseResult {
  if (older === undefined) return newer
  const isNew = ({ driver }: DriverResult): boolean => newer.drivers.some((each) => each.driver === driver)
  const more = older.drivers.filter((each) => !isNew(each))
  return { ...newer, drivers: [...newer.drivers, ...more] }
}

/** Returns the cases of several runs by question, those of each from few layers to many; of a driver the newest answer. */
export function mergedCases(runs: readonly Results[]): CaseResult[] {
  const merged = new Map<string, CaseResult>()
  for (const run of [...runs].sort((a, b) => (a.started < b.started ? -1 : 1))) {
    for (const one of run.cases) {
      const key = `${one.question} ${one.id}`
      merged.set(key, joined(merged.get(key), one))
    }
  }
  const questions = [...new Set(runs.flatMap(({ cases }) => cases.map(({ question }) => question)))]
  return questions.flatMap((question) =>
    [...merged.values()]
      .filter((one) => one.question === question)
      .sort((a, b) => (a.layers ?? 0) - (b.layers ?? 0)),
  )
}

function orNull(value: number): number | null {
  return Number.isFinite(value) ? value : null
}

/** Returns a driver's answer from its samples, one per round, and the reference's of the same rounds. */
export function answerOf(samples: readonly Sample[], reference: readonly Sample[] | undefined): Answer {
  const values = samples.map(({ value }) => value)
  const { median, low, high } = spread(values.filter((value) => Number.isFinite(value)))
  const bases = reference?.map(({ value }) => value) ?? []
  const failure = samples.find((sample) => sample.failure !== undefined)?.failure
  const last = samples.at(-1)
  return {
    values: values.map(orNull),
    median: orNull(median),
    low: orNull(low),
    high: orNull(high),
    ratio: orNull(pairedRatio(values, bases)),
    ...(failure === undefined ? {} : { failure }),
    ...(last === undefined ? {} : { last }),
  }
}
