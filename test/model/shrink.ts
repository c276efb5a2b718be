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

/** Returns the smallest script found within `budget` ms that differs in the same way, and its report. */
export async function shrink(union: Union, failed: Outcome, plan: Plan, budget = 90_000): Promise<Outcome> {
  const end = Date.now() + budget
  let best = failed
  const attempt = async (lines: string[], head: string[], each: boolean): Promise<boolean> => {
    if (Date.now() > end) return false
    const script = `${[...head, ...lines].join('\n')}\n`
    const { flags, cross } = plan
    const outcome = await run(union, { script, each, ...(flags && { flags }), ...(cross && { cross }) })
    if (outcome.kind !== failed.kind) return false
    best = { ...outcome, script }
    return true
  }
  const lines = failed.script.split('\n').filter((line) => line !== '')
  const head = lines.filter(isHead)
  const body = lines.filter((line) => !isHead(line))
  // Comparing after each operation warms every cache: some failures need the cold ones.
  const each = await attempt(
    body.filter((line) => line !== 'check'),
    head,
    true,
  )
  const start = each ? body.filter((line) => line !== 'check') : body
  await minimize(start, (rest) => attempt(rest, head, each))
  return best
}
