// Many runs with one seed each, until enough operations were done or one run differs. A failure
// is shrunk and told as a script that `--replay` takes.
import { type Outcome, type Plan, run, type Union } from './runner.js'
import { shrink } from './shrink.js'

export type Campaign = { seed: number; ops: number; flags?: string[]; shrinkFor?: number }
export type Summary = { operations: number; runs: number; failure?: Outcome & { seed: number } }

const opsPerRun = 400

/** Every fourth run also mounts the upper under the kernel's overlayfs, which has no hard-link index. */
export function planOf(seed: number, ops: number, flags: string[] = []): Plan {
  const isCross = seed % 4 === 0
  return { seed, ops, cross: isCross, flags: isCross ? ['--no-hard-links', ...flags] : flags }
}

export async function campaign(union: Union, wish: Campaign): Promise<Summary> {
  let operations = 0
  let runs = 0
  for (let seed = wish.seed; operations < wish.ops; seed++, runs++) {
    const plan = planOf(seed, Math.min(opsPerRun, wish.ops - operations), wish.flags)
    const outcome = await run(union, plan)
    operations += outcome.operations
    if (outcome.kind === '') continue
    const smallest = await shrink(union, outcome, plan, wish.shrinkFor)
    return { operations, runs, failure: { ...smallest, seed } }
  }
  return { operations, runs }
}

/** A failure as text: what differed, and the script to replay. */
export function tell(failure: Outcome & { seed: number }): string {
  return `seed ${failure.seed}\n${failure.report}script:\n${failure.script}`
}
