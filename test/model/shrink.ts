// Makes a failing script smaller, line by line, while it keeps failing in the same way (ddmin:
// Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input", 2002).
import { type Outcome, type Plan, run, type Union } from './runner.js'

type Fails = (lines: string[]) => Promise<boolean>

async function firstFailing(lines: string[], size: number, fails: Fails): Promise<string[] | undefined> {
  for (let at = lines.length; at > 0; at -= size) {
    const rest = [...lines.slice(0, Math.max(0, at - size)), ...lines.slice(at)]
    if (await fails(rest)) return rest
  }
  return undefined
}

/** Returns a part of `lines` of which no line can go, or the best one found before `fails` gives up. */
export async function minimize(lines: string[], fails: Fails): Promise<string[]> {
  let current = lines
  let size = Math.ceil(current.length / 2)
  while (size >= 1 && current.length > 0) {
    const rest = await firstFailing(current, size, fails)
    if (rest) current = rest
    else if (size === 1) break
    if (!rest || size > current.length) size = Math.max(1, Math.floor(Math.min(size, current.length) / 2))
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
