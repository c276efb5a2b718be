// A snapshotter that is killed between any two steps: its root is in the old state or in the new one.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test as Tap } from 'tap'
import { openSnapshotter, type Snapshotter } from '../../src/snapshotter/snapshotter.js'
import {
  cleanup,
  commit,
  create,
  list,
  mounts,
  remove,
  stat,
  update,
  usage,
} from '../../src/snapshotter/verbs.js'
import { packageRoot } from '../support/package-root.js'
import { Client, refusal } from './client.js'

const folder = mkdtempSync(join(tmpdir(), 'mica-snapshotter-crash-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const victim = join(packageRoot, 'dist/test/snapshotter/victim.js')

async function prepare(root: string): Promise<void> {
  const snapshotter = openSnapshotter({ root })
  for (const name of ['base', 'leaf']) {
    const [mount] = create(snapshotter, 'active', `${name}-key`, '', {})
    writeFileSync(join(mount!.source, name), name)
    await commit(snapshotter, name, `${name}-key`, {})
  }
  const [mount] = create(snapshotter, 'active', 'work', 'base', {})
  writeFileSync(join(mount!.options[1]!.slice('upperdir='.length), 'change'), 'x'.repeat(5000))
  await snapshotter.close()
}

const namesOf = (snapshotter: Snapshotter): string[] =>
  [...list(snapshotter, [])].flat().map(({ name }) => name)

/** Every snapshot has its directory, and nothing else is there. */
async function check(t: Tap, root: string, snapshotter: Snapshotter): Promise<void> {
  await cleanup(snapshotter)
  const ids = [...list(snapshotter, [])].flat().map(({ id }) => String(id))
  t.strictSame(readdirSync(join(root, 'snapshots')).sort(), ids.sort())
  t.strictSame(readdirSync(join(root, 'trash')), [])
}

const STEPS: readonly [step: string, isDone: boolean][] = [
  ['create: row', false],
  ['create: directories', false],
  ['create: committed', true],
  ['commit: measured', false],
  ['commit: row', false],
  ['commit: committed', true],
  ['remove: row', false],
  ['remove: committed', true],
  ['remove: renamed', true],
  ['update: row', false],
  ['update: committed', true],
]

for (const [step, isDone] of STEPS) {
  t.test(`killed at "${step}": ${isDone ? 'done' : 'as if never asked'}`, async (t) => {
    const root = join(folder, step.replace(/\W+/g, '-'))
    await prepare(root)
    const { signal, stderr } = spawnSync(process.execPath, [victim, root, step], { encoding: 'utf8' })
    t.equal(signal, 'SIGKILL', stderr)
    const said: string[] = []
    const snapshotter = openSnapshotter({ root, say: (line) => void said.push(line) })
    const names = namesOf(snapshotter)
    if (step.startsWith('create')) {
      t.equal(names.includes('new'), isDone)
      if (!isDone) create(snapshotter, 'active', 'new', 'base', { a: 'b' })
      t.match(stat(snapshotter, 'new'), { parent: 'base', labels: { a: 'b' } })
      t.ok(existsSync(mounts(snapshotter, 'new')[0]!.options[1]!.slice('upperdir='.length)))
    } else if (step.startsWith('commit')) {
      t.strictSame([names.includes('done'), names.includes('work')], [isDone, !isDone])
      if (!isDone) await commit(snapshotter, 'done', 'work', { a: 'b' })
      t.match(stat(snapshotter, 'done'), { kind: 'committed', parent: 'base', labels: { a: 'b' } })
      t.match(await usage(snapshotter, 'done'), { inodes: 2 })
    } else if (step.startsWith('remove')) {
      t.equal(names.includes('leaf'), !isDone)
      if (!isDone) remove(snapshotter, 'leaf')
    } else {
      t.strictSame(stat(snapshotter, 'base').labels, isDone ? { a: 'b' } : {})
      t.strictSame(update(snapshotter, 'base', { a: 'b' }, ['labels']).labels, { a: 'b' })
    }
    await check(t, root, snapshotter)
    t.strictSame(said, [])
    await snapshotter.close()
  })
}

function startServer(root: string, socket: string): ChildProcess {
  const main = join(packageRoot, 'dist/src/cli/main.js')
  return spawn(process.execPath, [main, 'snapshotter', '--root', root, '--address', socket], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
}

t.test('what was answered is there after kill -9 under load', async (t) => {
  const root = join(folder, 'load')
  const socket = join(folder, 'load.sock')
  const expected = new Set<string>()
  const unsure = new Set<string>()
  for (let round = 0; round < 3; round++) {
    const server = startServer(root, socket)
    await new Promise((done) =>
      server.stderr!.on('data', (text: Buffer) => text.includes('serving') && done(0)),
    )
    const client = new Client(socket)
    const names = await client.names()
    for (const name of expected) t.ok(names.includes(name), `${name} of an earlier round`)
    for (const name of names) t.ok(expected.has(name) || unsure.has(name), name)
    const work = async (worker: number): Promise<void> => {
      for (let i = 0; ; i++) {
        const name = `${round}-${worker}-${i}`
        unsure.add(name).add(`${name}-done`)
        await client.create('Prepare', name)
        expected.add(name)
        expected.delete(name)
        await client.commit(`${name}-done`, name)
        expected.add(`${name}-done`)
        if (i % 3 > 0) continue
        expected.delete(`${name}-done`)
        await client.call('Remove', { key: `${name}-done` })
        unsure.delete(`${name}-done`)
      }
    }
    const enough = expected.size + 15 + round * 7
    const working = [0, 1, 2, 3].map((worker) => refusal(work(worker)))
    while (expected.size < enough) await new Promise((done) => setTimeout(done, 5))
    server.kill('SIGKILL')
    for (const [code] of await Promise.all(working)) t.not(code, 'OK')
    client.close()
  }
  const snapshotter = openSnapshotter({ root })
  const names = new Set(namesOf(snapshotter))
  for (const name of expected) t.ok(names.has(name), name)
  await check(t, root, snapshotter)
  await snapshotter.close()
  t.notOk(existsSync(join(root, 'pid')))
  t.ok(readFileSync(join(root, 'metadata.db')).length > 0)
})
