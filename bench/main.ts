// `npm run bench`: chooses questions and drivers, runs them, shows and keeps the results.

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { Command, InvalidArgumentError } from 'commander'
import { DRIVERS, type Driver } from './drivers.js'
import { Fixtures } from './fixtures.js'
import { makeImage, removeImage } from './image.js'
import { describeMachine, machineLines } from './machine.js'
import { plotsOf } from './plots.js'
import { Interrupted, Probe, packageRoot, runProgram } from './probe.js'
import { publish } from './publication.js'
import { QUESTIONS } from './questions/index.js'
import { absenceText, caseText, requestText } from './report.js'
import type { CaseResult, Results } from './results.js'
import { absenceOf, ask, type RunOptions, sweep } from './runner.js'
import { FULL, QUICK } from './sizes.js'

// The turn in hand ends first and takes its mount away; see Interrupted.
let isInterrupted = false
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    isInterrupted = true
  })
}

type Options = {
  only?: string[]
  drivers?: string[]
  rounds?: number
  layers?: number[]
  quick?: boolean
  requests?: boolean
  publish?: boolean
  image?: number
  dir: string
  show?: string[]
  list?: boolean
  clean?: boolean
}

const OUT = join(packageRoot, 'bench/out')

function list(text: string): string[] {
  return text.split(',').filter((part) => part !== '')
}

function count(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('not a number from 1 on')
  return value
}

/** Returns the members with these ids, all without ids. Ends the program for an unknown one. */
function chosen<T extends { readonly id: string }>(
  what: string,
  all: readonly T[],
  ids?: readonly string[],
): T[] {
  const unknown = ids?.find((id) => !all.some((one) => one.id === id))
  if (unknown !== undefined) {
    throw new Error(`no ${what} ${unknown}; there are: ${all.map(({ id }) => id).join(', ')}`)
  }
  return all.filter(({ id }) => ids === undefined || ids.includes(id))
}

function versionOf({ version }: Driver): string | undefined {
  if (version === undefined) return undefined
  try {
    // Some tell libfuse's version, too.
    return runProgram(version)
      .trim()
      .split('\n')
      .find((line) => !/^(FUSE|fusermount|using FUSE)/.test(line))
  } catch {
    return undefined
  }
}

function showProgress(line: string): void {
  if (process.stderr.isTTY)
    process.stderr.write(`\r\x1b[K${line.slice(0, (process.stderr.columns ?? 80) - 1)}`)
}

async function presentDrivers(
  wanted: readonly Driver[],
  options: RunOptions,
  absent: Results['absent'][number][],
) {
  const present: Driver[] = []
  for (const driver of wanted) {
    showProgress(`trying ${driver.title}`)
    const reason = await absenceOf(driver, options)
    if (reason === undefined) present.push(driver)
    else absent.push({ name: driver.title, reason })
  }
  showProgress('')
  return present
}

/** Measures in the folder that was given, or on a file system of its own in there. */
async function measure(names: readonly string[], given: Options): Promise<Results> {
  if (process.getuid?.() !== 0) throw new Error('mounting needs root')
  const folder = resolve(given.dir)
  sweep(folder)
  if (given.image === undefined) return await measureIn(folder, names, given)
  sweep(join(folder, 'ext4'))
  const image = makeImage(folder, given.image)
  try {
    return await measureIn(image.folder, names, given)
  } finally {
    image.remove()
  }
}

async function measureIn(folder: string, names: readonly string[], given: Options): Promise<Results> {
  const only = [...names, ...(given.only ?? [])]
  const questions = chosen('question', QUESTIONS, only.length > 0 ? only : undefined)
  const wanted = chosen('driver', DRIVERS, given.drivers)
  const probe = new Probe(join(folder, 'bin'))
  const isQuick = given.quick === true
  const base = isQuick ? QUICK : FULL
  const options: RunOptions = {
    folder,
    rounds: given.rounds ?? (isQuick ? 3 : 7),
    sizes: given.layers === undefined ? base : { ...base, layers: given.layers },
    probe,
    fixtures: new Fixtures(join(folder, 'trees'), probe),
    onTurn: showProgress,
    isInterrupted: () => isInterrupted,
  }
  const begin = Date.now()
  const machine = describeMachine(folder)
  process.stdout.write(`${machineLines(machine).join('\n')}\n`)
  const absent: Results['absent'][number][] = []
  const drivers = await presentDrivers(wanted, options, absent)
  const askable = questions.filter((question) => {
    const reason = question.excuse?.()
    if (reason !== undefined) absent.push({ name: question.title, reason })
    return reason === undefined
  })
  process.stdout.write(`${absenceText({ absent })}\n`)

  const cases: CaseResult[] = []
  const results = (): Results => ({
    command: process.argv.slice(2).join(' '),
    started: new Date(begin).toISOString(),
    seconds: (Date.now() - begin) / 1000,
    isQuick,
    rounds: options.rounds,
    machine,
    drivers: drivers.map((driver) => {
      const version = versionOf(driver)
      return { id: driver.id, title: driver.title, ...(version === undefined ? {} : { version }) }
    }),
    absent,
    cases,
  })
  const onCase = (result: CaseResult): void => {
    cases.push(result)
    showProgress('')
    process.stdout.write(`${caseText(result)}${given.requests ? `${requestText(result)}\n` : ''}\n`)
  }
  for (const question of askable) await ask(question, drivers, options, onCase)
  return results()
}

async function keep(results: Results, isPublished: boolean): Promise<void> {
  mkdirSync(OUT, { recursive: true })
  const name = results.started.replace(/[:.]/g, '-')
  writeFileSync(join(OUT, `${name}.json`), `${JSON.stringify(results, null, 1)}\n`)
  for (const plot of await plotsOf(results.cases))
    writeFileSync(join(OUT, `${name}-${plot.name}`), `${plot.svg}\n`)
  process.stdout.write(`kept as ${join('bench/out', `${name}.json`)}\n`)
  if (isPublished) await publish([results], join(packageRoot, 'bench'))
}

function showKept(path: string, hasRequests: boolean): Results {
  const results = JSON.parse(readFileSync(path, 'utf8')) as Results
  process.stdout.write(`${machineLines(results.machine).join('\n')}\n${absenceText(results)}\n`)
  for (const one of results.cases) {
    process.stdout.write(`${caseText(one)}${hasRequests ? `${requestText(one)}\n` : ''}\n`)
  }
  return results
}

async function run(names: readonly string[], options: Options): Promise<void> {
  if (options.list) {
    for (const { id, title } of QUESTIONS) process.stdout.write(`${id.padEnd(18)}${title}\n`)
    process.stdout.write('\n')
    for (const { id, title } of DRIVERS) process.stdout.write(`${id.padEnd(18)}${title}\n`)
  } else if (options.clean) {
    sweep(options.dir)
    sweep(join(options.dir, 'ext4'))
    removeImage(options.dir)
    for (const name of ['trees', 'run', 'bin', 'index']) {
      const path = join(options.dir, name)
      if (existsSync(path)) rmSync(path, { recursive: true })
    }
  } else if (options.show !== undefined) {
    if (options.show.length === 0) throw new Error('--show: name a file of bench/out that a run has kept')
    const runs = options.show.map((path) => showKept(path, options.requests === true))
    if (options.publish) await publish(runs, join(packageRoot, 'bench'))
  } else {
    await keep(await measure(names, options), options.publish === true)
  }
}

const command = new Command('bench')
  .description('measures mica beside a plain directory, the kernel and other union file systems')
  .argument('[question...]', 'ask only these')
  .option('--only <questions>', 'the same, with commas', list)
  .option('--drivers <drivers>', 'only these, with commas', list)
  .option('--layers <numbers>', 'depths to ask at, with commas', (text) => list(text).map(count))
  .option('--rounds <number>', 'how often each driver has its turn (default: 7, quick 3)', count)
  .option('--quick', 'little work: to see whether all works')
  .option('--requests', 'show what mica was asked per operation, too')
  .option('--publish', 'write bench/RESULTS.md and its plots')
  .option('--show <files>', 'measure nothing, show (or publish) what runs have kept, with commas', list)
  .option('--dir <folder>', 'where inputs are kept and mounts are made', join(tmpdir(), 'mica-bench'))
  .option('--image <GiB>', 'measure on an ext4 of this size, with a journal, in a file in that folder', count)
  .option('--clean', 'remove the inputs')
  .option('--list', 'list questions and drivers')
  .addHelpText(
    'after',
    '\nbench store [--quick] [--rounds=N] [load|diff|memory]: the image store beside umoci and skopeo',
  )
  .action(run)

try {
  // Not a file system's question: other tools, other figures.
  if (process.argv[2] === 'store') await (await import('./store.js')).benchStore(process.argv.slice(3))
  else await command.parseAsync()
} catch (error) {
  process.stderr.write(`${process.stderr.isTTY ? '\n' : ''}bench: ${(error as Error).message}\n`)
  process.exitCode = error instanceof Interrupted ? 130 : 1
}
