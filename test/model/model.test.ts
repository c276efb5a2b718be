// Random operations on a union and on a plain directory: the same results, the same trees.
// MICA_MODEL_OPS and MICA_MODEL_SEED change how many and which; main.ts does the same by hand.
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { holdUring, noUring } from '../support/enable-uring.js'
import { packageRoot } from '../support/package-root.js'
import { campaign, tell } from './campaign.js'
import { run, type Union } from './runner.js'
import { shrink } from './shrink.js'

const mica = join(packageRoot, 'bin/mica')
const ops = Number(process.env.MICA_MODEL_OPS ?? 24_000)
const seed = Number(process.env.MICA_MODEL_SEED ?? 1 + (Math.floor(Date.now() / 1000) % 100_000) * 100)

function reasonToSkip(): string {
  if (process.getuid?.() !== 0) return 'device nodes, owners and trusted xattrs in layers need root'
  if (!existsSync('/dev/fuse')) return 'there is no /dev/fuse'
  return ''
}

const skip = reasonToSkip()
// Passed through, an fd opened for reading keeps what it was opened with; cached, it sees each write.
const passed = ['--old-readers']
const on = (transport: string, workers: string, ...more: string[]): Union => {
  return { driver: mica, options: ['--transport', transport, '--workers', workers, ...more] }
}
const indexes = mkdtempSync(join(tmpdir(), 'mica-index-'))
t.teardown(() => rmSync(indexes, { recursive: true }))
const unions: [name: string, union: Union, flags: string[], share: number][] = [
  ['one worker', on('dev-fuse', '1'), passed, 0.4],
  ['two workers', on('dev-fuse', '2'), passed, 0.3],
  ['two workers on io_uring, with an index', on('io-uring', '2', '--index', indexes), passed, 0.3],
  ['with an index', on('dev-fuse', '1', '--index', indexes), passed, 0.2],
  ['no passthrough', on('dev-fuse', '1', '--data', 'cache'), [], 0.25],
]

t.setTimeout(0)
t.jobs = 2

unions.forEach(([name, union, flags, part], i) => {
  const isUring = union.options.includes('io-uring')
  const why = skip || (isUring && noUring())
  t.test(`${name}: a union does what a plain directory does`, { skip: why, buffered: true }, async (t) => {
    if (isUring) t.teardown(holdUring())
    const share = Math.ceil(ops * part)
    const first = seed + i * 1_000_000
    const summary = await campaign(union, { seed: first, ops: share, flags })
    t.comment(`${summary.operations} operations, ${summary.runs} runs, first seed ${first}`)
    if (summary.failure) t.fail(tell(summary.failure))
    else t.ok(summary.operations >= share, 'all operations were done')
  })
})

t.test('a wrong oracle is found out, and shrunk to a few lines', { skip, buffered: true }, async (t) => {
  const union = on('dev-fuse', '1')
  for (const verb of ['write', 'rename']) {
    const plan = { seed, ops: 200, flags: ['--mutate', verb] }
    const outcome = await run(union, plan)
    t.not(outcome.kind, '', `a wrong ${verb} is a difference`)
    const smallest = await shrink(union, outcome, plan, 60_000)
    const operations = smallest.script.split('\n').filter((line) => /^\d+ /.test(line))
    t.ok(operations.length <= 8, `a wrong ${verb} shrinks to ${operations.length} operations`)
    t.ok(
      operations.some((line) => line.split(' ')[1] === verb),
      `what is left names ${verb}`,
    )
  }
})
