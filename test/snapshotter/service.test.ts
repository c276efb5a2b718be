// The snapshots service as containerd's clients meet it: rules, codes, labels, filters, usage.
import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Bench, refusal } from './client.js'

const isRoot = process.getuid?.() === 0
const bench = await new Bench().open({ unpack: 'direct' })
const { client, root } = bench
t.teardown(() => bench.close())
const tree = (id: number | string): string => join(root, 'snapshots', String(id), 'fs')
const idOf = (source: string): string => source.split('/').at(-2)!

t.test('a fresh active snapshot is a writable bind mount', async (t) => {
  const [mount, ...more] = await client.create('Prepare', 'a1')
  t.strictSame(more, [])
  t.match(mount, { type: 'bind', target: '', options: ['rw', 'rbind'] })
  t.equal(mount!.source, tree(idOf(mount!.source)))
  t.equal(statSync(mount!.source).mode & 0o7777, 0o755)
  t.strictSame(readdirSync(join(mount!.source, '..')).sort(), ['fs', 'work'])
  t.strictSame(await client.mounts('a1'), [mount])
  if (isRoot) chownSync(mount!.source, 7, 8)
  chmodSync(mount!.source, 0o1751)
  writeFileSync(join(mount!.source, 'file'), 'x'.repeat(10_000))
  linkSync(join(mount!.source, 'file'), join(mount!.source, 'again'))
  mkdirSync(join(mount!.source, 'dir'))
  await client.commit('base', 'a1', { kept: 'yes', empty: '' })
})

t.test('a committed snapshot has its own labels, its usage, and no mounts', async (t) => {
  const info = await client.stat('base')
  t.match(info, { name: 'base', parent: '', kind: 3, labels: { kept: 'yes' } })
  t.notOk('empty' in info.labels, 'an empty value is no label')
  t.ok(Math.abs(info.created_at.seconds - Date.now() / 1000) < 60)
  const usage = await client.usage('base')
  t.equal(usage.inodes, 3, 'two names of one inode count once')
  t.ok(usage.size >= 12_288 && usage.size < 100_000, String(usage.size))
  t.strictSame((await refusal(client.mounts('base')))[0], 'FAILED_PRECONDITION')
  t.strictSame(await refusal(client.stat('a1')), ['NOT_FOUND', 'snapshot a1: not found'])
})

t.test('a snapshot on others is a mount of mica, top layer first', async (t) => {
  const [first] = await client.create('Prepare', 'a2', 'base')
  t.match(first, { type: 'fuse3.mica-overlay', source: 'overlay', target: '' })
  const [work, upper, lower] = first!.options
  const dir = upper!.slice('upperdir='.length)
  t.equal(work, `workdir=${join(dir, '../work')}`)
  const model = statSync(dir)
  t.equal(model.mode & 0o7777, 0o1751, 'the parent shows through')
  if (isRoot) t.strictSame([model.uid, model.gid], [7, 8])
  t.equal(lower, `lowerdir=${tree(1)}`)
  await client.commit('middle', 'a2')
  const [second] = await client.create('Prepare', 'a3', 'middle')
  t.equal(second!.options.at(-1), `lowerdir=${dir}:${tree(1)}`)
  t.match(await client.stat('a3'), { parent: 'middle', kind: 2 })
})

t.test('views are read-only: a bind mount of one layer, a union of more', async (t) => {
  const [one] = await client.create('View', 'v1', 'base')
  t.match(one, { type: 'bind', source: tree(1), options: ['ro', 'rbind'] })
  const [two] = await client.create('View', 'v2', 'middle')
  t.match(two, { type: 'fuse3.mica-overlay' })
  t.strictSame(
    two!.options.map((each) => each.split('=')[0]),
    ['lowerdir'],
  )
  const [none] = await client.create('View', 'v0')
  t.match(none, { type: 'bind', options: ['ro', 'rbind'] })
  t.match(await client.stat('v2'), { kind: 1, parent: 'middle' })
  t.strictSame(await client.usage('v2'), { size: 0, inodes: 0 })
})

t.test('containerd is told to unpack layers into the upper itself', async (t) => {
  const [mount] = await client.create('Prepare', 'default/7/extract-123-Ab_c sha256:00', 'base')
  t.match(mount, { type: 'overlay', source: 'overlay' })
  t.match(mount!.options.join(' '), /^workdir=\S+ upperdir=\S+ lowerdir=\S+$/)
  const [base] = await client.create('Prepare', 'extract-124-x sha256:01')
  t.equal(base!.type, 'bind')
  const [named] = await client.create('Prepare', 'extract-is-my-name', 'base')
  t.equal(named!.type, 'fuse3.mica-overlay')
})

t.test('mapped ids are shown by the mount, whatever the number of layers', async (t) => {
  const labels = {
    'containerd.io/snapshot/uidmapping': '0:100000:65536',
    'containerd.io/snapshot/gidmapping': '0:200000:10,10:300000:5',
  }
  for (const [method, key, parent] of [
    ['Prepare', 'm1', 'middle'],
    ['View', 'm2', 'base'],
    ['Prepare', 'm3', ''],
    ['View', 'm4', ''],
  ] as const) {
    const [mount] = await client.create(method, key, parent, labels)
    t.equal(mount!.type, 'fuse3.mica-overlay', key)
    t.match(
      mount!.options.join(),
      /lowerdir=[^,]+,uidmapping=0:100000:65536,gidmapping=0:200000:10:10:300000:5$/,
    )
  }
  const same = { 'containerd.io/snapshot/uidmapping': '0:0:4294967295' }
  t.equal((await client.create('View', 'm5', 'base', same))[0]!.type, 'bind')
})

t.test('what may not be is refused with the code that containerd knows', async (t) => {
  const long = { key: 'v'.repeat(4096) }
  const cases: [string, string, () => Promise<unknown>][] = [
    ['a key twice', 'ALREADY_EXISTS', () => client.create('Prepare', 'a3')],
    ['a key that is a committed name', 'ALREADY_EXISTS', () => client.create('View', 'base')],
    ['no such parent', 'NOT_FOUND', () => client.create('Prepare', 'x', 'nowhere')],
    ['an active parent', 'INVALID_ARGUMENT', () => client.create('Prepare', 'x', 'a3')],
    ['an empty key', 'INVALID_ARGUMENT', () => client.create('Prepare', '')],
    ['a long label', 'INVALID_ARGUMENT', () => client.create('Prepare', 'x', '', long)],
    ['mounts of nothing', 'NOT_FOUND', () => client.mounts('x')],
    ['a commit of nothing', 'NOT_FOUND', () => client.commit('y', 'x')],
    ['a commit of a view', 'FAILED_PRECONDITION', () => client.commit('y', 'v1')],
    ['a commit of a committed one', 'FAILED_PRECONDITION', () => client.commit('y', 'base')],
    ['a commit under a taken name', 'ALREADY_EXISTS', () => client.commit('base', 'a3')],
    ['a commit without a name', 'INVALID_ARGUMENT', () => client.commit('', 'a3')],
    ['removing nothing', 'NOT_FOUND', () => client.call('Remove', { key: 'x' })],
    ['removing a parent', 'FAILED_PRECONDITION', () => client.call('Remove', { key: 'middle' })],
    ['usage of nothing', 'NOT_FOUND', () => client.usage('x')],
    ['updating nothing', 'NOT_FOUND', () => client.update('x', {})],
    ['updating a name', 'INVALID_ARGUMENT', () => client.update('a3', {}, ['name'])],
    ['a wrong filter', 'INVALID_ARGUMENT', () => client.names('name=')],
  ]
  for (const [what, code, call] of cases) {
    const [got, words] = await refusal(call())
    t.equal(got, code, `${what}: ${words}`)
  }
  t.strictSame(await client.names('name==x'), [], 'nothing is left of what was refused')
  t.match(await client.stat('a3'), { kind: 2 })
})

t.test('labels are set whole, by their key, or by "labels"', async (t) => {
  await client.create('Prepare', 'labelled', '', { a: '1', b: '2' })
  const before = await client.stat('labelled')
  t.strictSame(
    { ...(await client.update('labelled', { b: '3', c: '4' }, ['labels.b'])).labels },
    { a: '1', b: '3' },
  )
  t.strictSame({ ...(await client.update('labelled', {}, ['labels.a'])).labels }, { b: '3' })
  t.strictSame(
    { ...(await client.update('labelled', { 'x.y/z': '5' }, ['labels.x.y/z'])).labels },
    {
      b: '3',
      'x.y/z': '5',
    },
  )
  t.strictSame({ ...(await client.update('labelled', { d: '6' }, ['labels'])).labels }, { d: '6' })
  const last = await client.update('labelled', { e: '7' })
  t.strictSame({ ...last.labels }, { e: '7' })
  t.strictSame(last.created_at, before.created_at)
  const ns = ({ seconds, nanos }: { seconds: number; nanos: number }): number => seconds * 1e3 + nanos / 1e6
  t.ok(ns(last.updated_at) >= ns(before.updated_at))
  t.strictSame(await client.stat('labelled'), last)
})

t.test('a list comes in messages of a hundred, filtered', async (t) => {
  await Promise.all(
    Array.from({ length: 250 }, (_, i) => client.create('Prepare', `many-${i}`, '', { n: String(i % 2) })),
  )
  const pages = await client.pages()
  t.ok(pages.every((page) => page.length <= 100) && pages.length >= 3)
  t.equal((await client.names('labels.n==1,name~=^many-')).length, 125)
  t.strictSame(await client.names('name==many-3', 'name==many-4'), ['many-3', 'many-4'])
  t.strictSame(await client.names('kind==committed'), ['base', 'middle'])
  t.strictSame(await client.names('parent==middle,kind==active,labels."containerd.io/snapshot/uidmapping"'), [
    'm1',
  ])
  await Promise.all(Array.from({ length: 250 }, (_, i) => client.call('Remove', { key: `many-${i}` })))
  t.strictSame(await client.names('name~=^many-'), [])
})

t.test('of concurrent equal calls one succeeds', async (t) => {
  const codes = async (calls: Promise<unknown>[]): Promise<string[]> =>
    (await Promise.all(calls.map(refusal))).map(([code]) => code).sort()
  const ten = Array.from({ length: 10 }, (_, i) => i)
  const others = Array<string>(9).fill('ALREADY_EXISTS')
  t.strictSame(await codes(ten.map(() => client.create('Prepare', 'race'))), [...others, 'OK'])
  const { source } = (await client.mounts('race'))[0]!
  for (let i = 0; i < 5000; i++) writeFileSync(join(source, `f${i}`), '')
  const [last, ...first] = (await codes(ten.map((i) => client.commit(`raced-${i % 2}`, 'race')))).reverse()
  t.equal(last, 'OK')
  t.ok(
    first.every((code) => code === 'ALREADY_EXISTS' || code === 'NOT_FOUND'),
    first.join(),
  )
  t.equal((await client.names('name~=^raced-')).length, 1)
  const removed = await codes(ten.map(() => client.call('Remove', { key: 'v0' })))
  t.strictSame(removed, [...Array<string>(9).fill('NOT_FOUND'), 'OK'])
})

t.test('removal takes a moment whatever the size, and cleanup waits for the deletion', async (t) => {
  const [mount] = await client.create('Prepare', 'big')
  for (let d = 0; d < 20; d++) {
    mkdirSync(join(mount!.source, `d${d}`))
    for (let f = 0; f < 200; f++) writeFileSync(join(mount!.source, `d${d}/f${f}`), '')
  }
  t.match(await client.usage('big'), { inodes: 1 + 20 + 4000 })
  await client.call('Remove', { key: 'big' })
  t.notOk(statSync(mount!.source, { throwIfNoEntry: false }), 'out of the way at once')
  await client.call('Cleanup')
  t.strictSame(readdirSync(join(root, 'trash')), [])
})

t.test('a snapshot whose directory was taken away is not found, and can be removed', async (t) => {
  const [mount] = await client.create('Prepare', 'lost', 'middle')
  rmSync(join(root, 'snapshots', idOf(mount!.options[1]!)), { recursive: true })
  for (const call of [client.mounts('lost'), client.usage('lost'), client.commit('x', 'lost')]) {
    const [code, words] = await refusal(call)
    t.equal(code, 'NOT_FOUND', words)
  }
  await client.call('Remove', { key: 'lost' })
  t.strictSame(await client.names('name==lost'), [])
})

t.test('all is there after a restart', async (t) => {
  const before = await client.pages()
  await bench.shut()
  await bench.open()
  t.strictSame(await bench.client.pages(), before)
  t.strictSame(bench.said, [])
})
