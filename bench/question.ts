// The words between the questions (questions/), the drivers and the runner. A question asks several
// cases, each on one input; a case has figures, each measured once per round and driver.

import type { Driver } from './drivers.js'
import type { Fixtures, Tree } from './fixtures.js'
import type { Mounted } from './mounted.js'
import type { Probe, Reading } from './probe.js'

export type Unit = 'ns' | 'bytes' | 'count'

/** Lower is better, always. */
export type Figure = { readonly id: string; readonly title: string; readonly unit: Unit }

/** One measurement, or why there is none. */
export type Sample = {
  value: number
  failure?: string
  p50?: number
  p99?: number
  ops?: number
  /** CPU time of the serving processes per operation, where there are any. */
  serverCpuNs?: number
  /** Requests that the server got, by kind, in all. */
  requests?: Record<string, number>
}

export type Samples = Record<string, Sample>

/** How much work the questions do; one set for figures, one for a quick look. */
export type Sizes = {
  readonly layers: readonly number[]
  readonly lookupDirs: number
  readonly findDirs: number
  readonly bigDir: number
  readonly smallDirs: number
  readonly readBytes: number
  readonly randomReads: number
  readonly writeBytes: number
  readonly write4kBytes: number
  readonly created: number
  readonly copied: number
  readonly copyBytes: number
  readonly walkedDirs: number
  readonly requests: number
}

/** One driver's turn in one round of a case. */
export type Stage = {
  readonly driver: Driver
  readonly probe: Probe
  readonly fixtures: Fixtures
  readonly tree: Tree
  readonly isVolatile: boolean
  /** Makes a fresh mount (or copy) that is taken away when the turn ends. */
  mount(): Mounted
  /** Starts the time: the same, and says how long it took until `check` (relative) answered. */
  mountMeasured(check: string): Sample
  /** Runs one loop of the probe on a mount; a failure becomes the sample's. */
  step(
    mounted: Mounted,
    command: readonly (string | number)[],
    env?: NodeJS.ProcessEnv,
  ): Promise<Sample & Partial<Reading>>
}

export type Case = {
  readonly id: string
  readonly title: string
  readonly figures: readonly Figure[]
  /** Where the case stands on a plot over the number of layers. */
  readonly layers?: number
  readonly isVolatile?: boolean
  /** The case changes the tree: the plain directory gets a fresh copy. */
  readonly isChanging?: boolean
  /** The input. Built once, then warm in the kernel's caches before each round. */
  tree(fixtures: Fixtures): Tree
  /** Why a driver can't be asked. */
  excuse?(driver: Driver): string | undefined
  measure(stage: Stage): Promise<Samples>
}

export type Question = {
  readonly id: string
  readonly title: string
  /** Why the question can't be asked on this machine; undefined when it can. */
  excuse?(): string | undefined
  cases(sizes: Sizes): readonly Case[]
  /** Asked of the program's parts, without a mount: the one driver is IN_PROCESS. */
  readonly isAlone?: boolean
}

/** One figure and the probe's loop that gives it. */
export type Step = {
  readonly id: string
  readonly title: string
  readonly command: (path: string) => readonly (string | number)[]
}

/** Returns a case whose figures are loops of the probe, one after another on one fresh mount. */
export function stepCase(given: Omit<Case, 'figures' | 'measure'> & { steps: readonly Step[] }): Case {
  const { steps, ...rest } = given
  return {
    ...rest,
    figures: steps.map(({ id, title }) => ({ id, title, unit: 'ns' })),
    async measure(stage) {
      const mounted = stage.mount()
      const samples: Samples = {}
      for (const step of steps) samples[step.id] = await stage.step(mounted, step.command(mounted.path))
      return samples
    },
  }
}
