// Runs a suite: a list of cases that share one mount, each in a directory of its own, except those
// that ask for a mount of their own. After each case the lowers are compared with what they were
// and the workdir must be empty again.
import assert from 'node:assert/strict'
import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import {
  type Behaviour,
  chosenDrivers,
  type Driver,
  type Family,
  type MountOptions,
  type Volume,
} from './driver.js'
import { Fixture, type Layers } from './fixture.js'
import { Syscalls } from './syscalls.js'
import { type Tree, top } from './tree.js'

export type Case = {
  /** A fact; the numbers of the semantics it covers are added to it. */
  title: string
  lines: number[]
  lowers?: Tree[]
  upper?: Tree | null
  /** Needs a mount of its own: the trees are then at its root. */
  own?: boolean
  mount?: MountOptions
  volumes?: { lowers?: (Volume | null)[]; upper?: Volume }
  /** Why the case says nothing about a driver. */
  skip?: Partial<Record<Family, string>>
  /** Why a driver is known to fail: the case runs, and must fail. */
  fails?: Partial<Record<Behaviour, string>>
  /** Changes the layers before the mount and before their state is recorded. */
  prepare?: (s: Scene) => void
  run: (s: Scene) => void
}

export type Suite = { name: string; cases: Case[]; isData?: boolean }

const root = new Syscalls()
const other = new Syscalls()
const user = new Syscalls(1000)

/** Where a case works, and who does the work. */
export class Scene {
  readonly fixture: Fixture
  readonly #below: string
  /** As root, as a second process of root, as an ordinary user (1000). */
  readonly root = root
  readonly other = other
  readonly user = user

  constructor(fixture: Fixture, below: string) {
    this.fixture = fixture
    this.#below = below
  }

  get work(): string {
    return this.fixture.work
  }

  /** A path in the mount, in the upper, in a lower. */
  at = (name = '') => join(this.fixture.path, this.#below, name)
  up = (name = '') => join(this.fixture.upper, this.#below, name)
  low = (name = '', layer = 0) => join(this.fixture.lowers[layer]!, this.#below, name)

  /** Whether the upper holds anything under this name. */
  isUp = (name: string) => root.exists(this.up(name))

  isWhiteout(name: string): boolean {
    if (!this.isUp(name)) return false
    const { type, rdev } = root.lstat(this.up(name))
    return type === 'char' && rdev[0] === 0 && rdev[1] === 0
  }

  isOpaque(name: string): boolean {
    return root.errno('getxattr', this.up(name), 'trusted.overlay.opaque') === 'ok'
  }

  remount(): void {
    for (const process of [root, other, user]) process.reset()
    this.fixture.remount()
  }
}

/** A note for the table of results, one JSON line each, when MICA_TEST_REPORT names a file. */
function report(driver: Driver, suite: Suite, item: Case, result: string): void {
  const path = process.env.MICA_TEST_REPORT
  const note = { driver: driver.name, suite: suite.name, title: item.title, lines: item.lines, result }
  if (path) appendFileSync(path, `${JSON.stringify(note)}\n`)
}

function play(item: Case, scene: Scene, below: string, before: ReturnType<Fixture['lowerSnapshots']>): void {
  const { fixture } = scene
  try {
    fixture.revive()
    item.run(scene)
  } finally {
    for (const process of [root, other, user]) process.reset()
  }
  assert.deepEqual(fixture.lowerSnapshots(below), before, 'the lowers are what they were')
  assert.deepEqual(fixture.leftovers(), [], 'the workdir is empty')
}

function runCase(t: Test, driver: Driver, suite: Suite, item: Case, body: () => void): void {
  const known = item.fails?.[driver.behaviour] ?? item.fails?.[driver.family] ?? driver.gaps?.get(item.title)
  let error: unknown
  try {
    body()
  } catch (thrown) {
    error = thrown
  }
  report(driver, suite, item, error ? (known ? `fails: ${known}` : `FAILED ${message(error)}`) : 'passes')
  if (!known && error) throw error
  if (known) t.ok(error, `fails as known: ${known}`)
  else t.pass('and the lowers are what they were')
}

function message(error: unknown): string {
  return String(error instanceof Error ? error.message : error).slice(0, 2000)
}

/** Builds, mounts, runs one case and takes everything away again. */
function runAlone(item: Case, driver: Driver): void {
  const layers: Layers = { lowers: item.lowers ?? [{}], upper: item.upper ?? {} }
  if (item.upper === null) layers.upper = null
  if (item.mount) layers.mount = item.mount
  if (item.volumes) layers.volumes = item.volumes
  const fixture = new Fixture(driver, layers, root)
  try {
    const scene = new Scene(fixture, '')
    item.prepare?.(scene)
    const before = fixture.lowerSnapshots()
    fixture.mount()
    play(item, scene, '', before)
  } finally {
    fixture.finish()
  }
}

/** One fixture for all cases that can share a mount; each case's trees lie in a directory. */
function sharedFixture(driver: Driver, cases: Case[]): Fixture {
  const depth = Math.max(1, ...cases.map((item) => item.lowers?.length ?? 0))
  const lowers: Tree[] = Array.from({ length: depth }, () => ({}))
  const upper: Tree = {}
  cases.forEach((item, i) => {
    item.lowers?.forEach((tree, layer) => {
      lowers[layer]![place(i)] = top(tree)
    })
    if (item.upper) upper[place(i)] = top(item.upper)
    else if (!item.lowers) lowers[0]![place(i)] = top({})
  })
  return new Fixture(driver, { lowers, upper }, root)
}

const place = (i: number) => `case${i}`
const title = (item: Case) => `${item.title} (${item.lines.join(', ')})`

function skipReason(item: Case, driver: Driver): string | undefined {
  return item.skip?.[driver.family] ?? driver.skips?.get(item.title)
}

function isAlone(item: Case): boolean {
  return item.own === true || item.mount !== undefined || item.volumes !== undefined || item.upper === null
}

async function runSuite(t: Test, driver: Driver, suite: Suite): Promise<void> {
  const wanted = process.env.MICA_TEST_LINE?.split(',').map(Number)
  const chosen = suite.cases.filter((item) => !wanted || item.lines.some((line) => wanted.includes(line)))
  const shared = chosen.filter((item) => !isAlone(item) && !skipReason(item, driver))
  const fixture = shared.length > 0 ? sharedFixture(driver, shared) : null
  try {
    shared.forEach((item, i) => {
      item.prepare?.(new Scene(fixture!, place(i)))
    })
    const before = shared.map((_, i) => fixture!.lowerSnapshots(place(i)))
    fixture?.mount()
    for (const item of chosen) {
      const reason = skipReason(item, driver)
      if (reason) {
        report(driver, suite, item, `skipped: ${reason}`)
        t.pass(title(item), { skip: reason })
        continue
      }
      const i = shared.indexOf(item)
      const body =
        i < 0
          ? () => runAlone(item, driver)
          : () => play(item, new Scene(fixture!, place(i)), place(i), before[i]!)
      await t.test(title(item), (t) => {
        runCase(t, driver, suite, item, body)
        t.end()
      })
    }
  } finally {
    fixture?.finish()
  }
}

/** Runs a suite for each driver that the environment asks for. */
export async function runEverywhere(t: Test, suite: Suite): Promise<void> {
  const { drivers, reason } = chosenDrivers(suite.isData === true)
  // Each call and each mount has a limit of its own, so what hangs fails its case; a machine that is busy
  // with others may take as long as it takes.
  t.setTimeout(0)
  if (drivers.length === 0) t.pass(suite.name, { skip: reason })
  for (const driver of drivers) {
    await t.test(`${suite.name} on ${driver.name}`, (t) => runSuite(t as unknown as Test, driver, suite))
  }
  for (const process of [root, other, user]) process.stop()
}
