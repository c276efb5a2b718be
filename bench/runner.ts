// Asks the questions: every case by all drivers in alternation (A B C, A B C, …), a fresh mount each turn.
//
// Before a case its layers are brought into the kernel's caches; each mount starts with caches of its own
// that are cold. The plain directory has no mount, so its "first" is as warm as the layers are.

import { mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { type Driver, IN_PROCESS, REFERENCE } from './drivers.js'
import type { Fixtures, Tree } from './fixtures.js'
import { cpuTime, type Mounted, mountTree, statsOf, unmountTree } from './mounted.js'
import { Interrupted, type Probe, ProbeError } from './probe.js'
import type { Case, Question, Sample, Samples, Sizes, Stage } from './question.js'
import { answerOf, type CaseResult } from './results.js'

export type RunOptions = {
  readonly folder: string
  readonly rounds: number
  readonly sizes: Sizes
  readonly probe: Probe
  readonly fixtures: Fixtures
  /** Told before each turn. */
  readonly onTurn: (what: string) => void
  /** Asked after each turn. */
  readonly isInterrupted: () => boolean
}

const FAILED = Number.NaN

/** Removes what runs that were killed have left. */
export function sweep(folder: string): void {
  const place = join(folder, 'run')
  mkdirSync(place, { recursive: true })
  for (const name of readdirSync(place)) {
    try {
      process.kill(Number(name), 0)
    } catch {
      unmountTree(join(place, name))
    }
  }
}

function failed(reason: string): Sample {
  return { value: FAILED, failure: reason }
}

async function requestsOf(mounted: Mounted): Promise<Record<string, number> | undefined> {
  const stats = await statsOf(mounted)
  if (stats === undefined) return undefined
  return Object.fromEntries(Object.entries(stats.requests).map(([name, { requests }]) => [name, requests]))
}

function difference(after: Record<string, number>, before: Record<string, number>): Record<string, number> {
  const changes = Object.entries(after).map(([name, count]) => [name, count - (before[name] ?? 0)] as const)
  return Object.fromEntries(changes.filter(([, count]) => count > 0))
}

/** Returns a driver's turn: what it may do, and the folder that it leaves behind. */
function makeStage(driver: Driver, one: Case, tree: Tree, options: RunOptions, folder: string): Stage {
  const { probe, fixtures } = options
  const isVolatile = one.isVolatile === true
  const place = { folder, keep: options.folder, isVolatile }
  const isChanging = one.isChanging === true
  return {
    ...{ driver, probe, fixtures, tree, isVolatile },
    mount: () => mountTree(driver, tree, place, isChanging),
    mountMeasured(check) {
      const { mountTime } = mountTree(driver, tree, place, isChanging, { probe, check })
      return mountTime === undefined ? failed('nothing to mount') : { value: mountTime.ns }
    },
    async step(mounted, command, env) {
      const before = await requestsOf(mounted)
      const cpu = cpuTime(mounted.pids)
      try {
        const { ns, ...reading } = probe.measure(command, env)
        const serverCpuNs = mounted.pids.length > 0 ? (cpuTime(mounted.pids) - cpu) / reading.ops : undefined
        const after = await requestsOf(mounted)
        return {
          value: ns,
          ...reading,
          ...(serverCpuNs === undefined ? {} : { serverCpuNs }),
          ...(before === undefined || after === undefined ? {} : { requests: difference(after, before) }),
        }
      } catch (error) {
        if (error instanceof ProbeError) return failed(error.message)
        throw error
      }
    },
  }
}

async function takeTurn(driver: Driver, one: Case, tree: Tree, options: RunOptions): Promise<Samples> {
  const folder = join(options.folder, 'run', String(process.pid))
  try {
    return await one.measure(makeStage(driver, one, tree, options, folder))
  } catch (error) {
    if (error instanceof Interrupted) throw error
    const reason = error instanceof Error ? error.message : String(error)
    return Object.fromEntries(one.figures.map(({ id }) => [id, failed(reason)]))
  } finally {
    unmountTree(folder)
  }
}

async function runCase(
  question: Question,
  one: Case,
  drivers: readonly Driver[],
  options: RunOptions,
): Promise<CaseResult> {
  const what = `${question.id}: ${one.title}`
  options.onTurn(`${what}: making the input`)
  const tree = one.tree(options.fixtures)
  const leftOut: { driver: string; reason: string }[] = []
  const asked = drivers.filter((driver) => {
    const reason = one.excuse?.(driver)
    if (reason !== undefined) leftOut.push({ driver: driver.id, reason })
    return reason === undefined
  })
  options.probe.run('warm', ...tree.lowers)
  const hasPlain = asked.some(({ id, serves }) => serves === 'directory' && id !== IN_PROCESS.id)
  if (hasPlain) options.probe.run('warm', tree.merged())

  const taken = new Map<Driver, Samples[]>(asked.map((driver) => [driver, []]))
  for (let round = 0; round < options.rounds; round++) {
    for (const driver of asked) {
      const turns = taken.get(driver)!
      const isHopeless = turns.some((samples) => one.figures.every(({ id }) => samples[id]?.failure))
      if (isHopeless) continue
      options.onTurn(`${what}: round ${round + 1} of ${options.rounds}: ${driver.id}`)
      turns.push(await takeTurn(driver, one, tree, options))
      // Programs run synchronously: signals that came meanwhile are heard now.
      await setImmediate()
      if (options.isInterrupted()) throw new Interrupted('interrupted')
    }
  }
  const samplesOf = (driver: Driver, figure: string) =>
    taken.get(driver)!.map((samples) => samples[figure] ?? failed('no figure'))
  const reference = asked.find(({ id }) => id === REFERENCE)
  return {
    question: question.id,
    questionTitle: question.title,
    id: one.id,
    title: one.title,
    ...(one.layers === undefined ? {} : { layers: one.layers }),
    figures: one.figures,
    leftOut,
    drivers: asked.map((driver) => ({
      driver: driver.id,
      title: driver.title,
      answers: Object.fromEntries(
        one.figures.map(({ id }) => [
          id,
          answerOf(samplesOf(driver, id), reference && samplesOf(reference, id)),
        ]),
      ),
    })),
  }
}

/** Asks one question; `onCase` gets each case's result as it is there. */
export async function ask(
  question: Question,
  drivers: readonly Driver[],
  options: RunOptions,
  onCase: (result: CaseResult) => void,
): Promise<void> {
  const asked = question.isAlone ? [IN_PROCESS] : drivers
  for (const one of question.cases(options.sizes)) onCase(await runCase(question, one, asked, options))
}

/** Returns why a driver can't be measured here: it is missing, fails a trial mount, or is not what it claims. */
export async function absenceOf(driver: Driver, options: RunOptions): Promise<string | undefined> {
  const reason = driver.absence?.()
  if (reason !== undefined || driver.mount === undefined) return reason
  const tree = options.fixtures.spread({ dirs: 1, files: 2, bytes: 0 }, 2)
  const folder = join(options.folder, 'run', String(process.pid))
  try {
    const place = { folder, keep: options.folder, isVolatile: false }
    const mounted = mountTree(driver, tree, place, false)
    options.probe.run('warm', mounted.path)
    const stats = await statsOf(mounted)
    for (const [name, wanted] of Object.entries(driver.claim ?? {})) {
      const is = stats?.[name as keyof typeof stats]
      if (is !== wanted) return `a trial mount has ${name} ${String(is)}, not ${String(wanted)}`
    }
    return undefined
  } catch (error) {
    if (error instanceof Interrupted) throw error
    return (error as Error).message.replace(` ${join(folder, 'mnt')}`, '')
  } finally {
    unmountTree(folder)
  }
}
