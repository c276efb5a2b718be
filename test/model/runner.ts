// Runs the executor once: one seed or one script, in a temporary folder that goes afterwards.
// What the executor can't tell itself (that it hung, or was killed by a signal) is told here.
import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { daemonsOf, lazyUnmount, mountsBelow } from '../support/driver.js'
import { nativeProgram } from '../support/native-program.js'

export type Union = {
  /** 'kernel', or the path of bin/mica. */
  driver: string
  /** Further arguments of `mica mount`. */
  options: string[]
}

/** `script`: replayed instead of made up. `each`: the trees are compared after each operation. */
export type Plan = {
  seed?: number
  ops?: number
  script?: string
  each?: boolean
  cross?: boolean
  flags?: string[]
  /** ms until a run counts as hanging. */
  patience?: number
}

export type Outcome = {
  /** '' when both sides agreed; else one word that names the kind of difference. */
  kind: string
  report: string
  script: string
  operations: number
}

function argumentsOf(union: Union, plan: Plan, folder: string): string[] {
  const args = ['--driver', union.driver, '--base', join(folder, 'base'), '--trace', join(folder, 'trace')]
  for (const option of union.options) args.push('--option', option)
  if (plan.script !== undefined) {
    writeFileSync(join(folder, 'script'), plan.script)
    args.push('--replay', join(folder, 'script'))
  } else args.push('--seed', String(plan.seed ?? 1), '--ops', String(plan.ops ?? 400))
  if (plan.each) args.push('--each')
  if (plan.cross) args.push('--cross')
  return [...args, ...(plan.flags ?? [])]
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}

/** Takes away what a run left behind; returns what that was. */
function cleanUp(folder: string): string {
  const left = mountsBelow(folder)
  for (const point of left) {
    for (const pid of daemonsOf(point)) process.kill(pid, 'SIGKILL')
    lazyUnmount(point)
  }
  // Names that are not UTF-8 are beyond fs.rmSync.
  spawnSync('rm', ['-rf', '--one-file-system', folder])
  return left.length > 0 ? `left mounted: ${left.join(' ')}` : ''
}

function describe(code: number | null, signal: string | null, output: string): string {
  if (code === 0) return ''
  if (signal === 'SIGALRM') return 'hang'
  return code === 1 ? (/^differ (\S+)/m.exec(output)?.[1] ?? 'differ') : `broken-${signal ?? code}`
}

export async function run(union: Union, plan: Plan): Promise<Outcome> {
  const program = nativeProgram('test/model/executor')
  const folder = mkdtempSync(join(tmpdir(), 'mica-model-'))
  mkdirSync(join(folder, 'base'))
  const child = spawn(program, argumentsOf(union, plan, folder), { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  child.stdout.on('data', (chunk) => {
    output += chunk
  })
  child.stderr.on('data', (chunk) => {
    output += chunk
  })
  // A signal ends a process that waits for FUSE only once the connection is gone.
  const timer = setTimeout(() => {
    child.kill('SIGALRM')
    cleanUp(folder)
  }, plan.patience ?? 120_000)
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve) => {
    child.on('exit', (...how) => resolve(how))
  })
  clearTimeout(timer)
  let kind = describe(code, signal, output)
  const script = read(join(folder, 'trace'))
  const left = cleanUp(folder)
  if (left && kind === '') kind = 'left-mounted'
  const operations = Number(/^operations (\d+)/m.exec(output)?.[1] ?? 0)
  return { kind, report: `${output}${left}`, script, operations }
}
