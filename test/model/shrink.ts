// Makes a failing script smaller, line by line, while it keeps failing in the same way (ddmin:
// Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input", 2002).
import { type Outcome, type Plan, run, type Union } from './runner.js'

type Fails = (lines: string[]) => Promise<boolean>

/** One sweep from the end: every piece of `size` lines goes that can. */
async function sweep(lines: string[], size: number, fails: Fails): Promise<string[]> {
  let current = lines
  for (let end = lines.length; end > 0; end -= size) {
    const rest = [...current.slice(0, Math.max(0, end - size)), ...current.slice(end)]
    if (await fails(rest)) current = rest
  }
  return current
}

/** Returns a part of `lines` of which hardly a line can go: all that `fails` had time to try. */
export async function minimize(lines: string[], fails: Fails): Promise<string[]> {
  let current = lines
  for (let size = Math.ceil(lines.length / 2); size > 1; size = Math.ceil(size / 2)) {
    current = await sweep(current, size, fails)
  }
  for (let before = Number.POSITIVE_INFINITY; current.length < before; ) {
    before = current.length
    current = await sweep(current, 1, fails)
  }
  return current
}

const isHead = (line: string) => line.startsWith('layers ') || line.startsWith('#')
const isStep = (line: string) => line !== '' && !isHead(line)

/**
 * Returns the smallest script found within `budget` ms that differs in the same way, and its report.
 * Trees are compared once, at the end, where that shows the failure: it is much faster, and comparing
 * after each operation warms caches that some failures need cold.
 */
export async function shrink(union: Union, failed: Outcome, plan: Plan, budget = 90_000): Promise<Outcome> {
  const end = Date.now() + budget
  const head = failed.script.split('\n').filter(isHead)
  const { flags = [], cross = false } = plan
  let best = failed
  const attempt = async (lines: string[], each: boolean): Promise<boolean> => {
    if (Date.now() > end) return false
    const script = `${[...head, ...lines].join('\n')}\n`
    const outcome = await run(union, {
      script,
      each,
      cross,
      flags: cross ? flags : ['--quick', ...flags],
      patience: 15_000,
    })
    if (outcome.kind !== failed.kind) return false
    best = each ? outcome : { ...outcome, script }
    return true
  }
  const all = failed.script.split('\n').filter(isStep)
  const bare = all.filter((line) => line !== 'check')
  // What was tried last with success is in `best`, cut off behind the operation that failed.
  const isSeenAtOnce = await attempt(bare, true)
  const cut = best.script.split('\n').filter((line) => isStep(line) && line !== 'check')
  const ways: [string[], boolean][] = [
    [cut, false],
    [bare, false],
    [all, false],
    [cut, true],
  ]
  for (const [lines, each] of ways) {
    if (each && !isSeenAtOnce) continue
    if (!(await attempt(lines, each))) continue
    await minimize(lines, (rest) => attempt(rest, each))
    break
  }
  return best
}
