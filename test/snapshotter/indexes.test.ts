// Indexes of committed layers and of stacks of them: made in the background, swept, offered to mounts.
import { closeSync, openSync, readdirSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { checkLayerIndex } from '../../src/index/files.js'
import { cleanup } from '../../src/snapshotter/verbs.js'
import { Bench } from './client.js'

const bench = await new Bench().open({ indexes: true, unpack: 'direct' })
t.teardown(() => bench.close())
const { client, root } = bench
const stacks = (): string[] => readdirSync(join(root, 'index')).filter((name) => name.endsWith('.stack'))
const dirs = (): string[] => readdirSync(join(root, 'snapshots')).sort()

t.test('committed layers get an index, and so does the stack on top of all', async (t) => {
  for (const [name, parent] of [
    ['one', ''],
    ['two', 'one'],
    ['three', 'two'],
  ] as const) {
    const [mount] = await client.create('Prepare', 'key', parent)
    const tree = mount!.type === 'bind' ? mount!.source : mount!.options[1]!.slice('upperdir='.length)
    writeFileSync(join(tree, name), name)
    await client.commit(name, 'key')
  }
  await bench.snapshotter.indexes!.idle()
  for (const id of dirs()) {
    const tree = openSync(join(root, 'snapshots', id, 'fs'), 'r')
    t.equal(await checkLayerIndex(tree, join(root, 'snapshots', id, 'index')), undefined)
    closeSync(tree)
  }
  t.equal(stacks().length, 1, 'what was the top for a moment needs none')
  t.strictSame(readdirSync(join(root, 'index')), stacks(), 'layers have theirs beside them')
})

t.test('a layer that the next one is unpacked on gets none of a stack', async (t) => {
  await client.create('Prepare', 'key', 'three')
  await client.commit('four', 'key')
  await client.create('Prepare', 'default/1/extract-1-x sha256:5', 'four')
  await bench.snapshotter.indexes!.idle()
  t.equal(stacks().length, 1)
  await client.call('Remove', { key: 'default/1/extract-1-x sha256:5' })
  await client.call('Remove', { key: 'four' })
})

t.test('mounts are told where indexes are, bind mounts and unpacking are not', async (t) => {
  const option = `index_dir=${join(root, 'index')}`
  t.equal((await client.create('Prepare', 'a', 'three'))[0]!.options.at(-1), option)
  t.equal((await client.create('View', 'b', 'three'))[0]!.options.at(-1), option)
  for (const [key, parent] of [
    ['c', ''],
    ['default/1/extract-1-x sha256:0', 'three'],
  ] as const) {
    t.notOk((await client.create('Prepare', key, parent))[0]!.options.join().includes('index_dir'), key)
    await client.call('Remove', { key })
  }
})

t.test('the index of a stack goes when its top layer is gone for a while', async (t) => {
  for (const key of ['a', 'b']) await client.call('Remove', { key })
  await cleanup(bench.snapshotter)
  await bench.snapshotter.indexes!.idle()
  t.equal(stacks().length, 1, 'it is still of use')
  await client.call('Remove', { key: 'three' })
  const sweep = async (): Promise<void> => {
    await cleanup(bench.snapshotter)
    await bench.snapshotter.indexes!.idle()
  }
  await sweep()
  t.equal(stacks().length, 1, 'a young one may be just being made')
  const old = new Date(Date.now() - 3_600_000)
  for (const name of stacks()) utimesSync(join(root, 'index', name), old, old)
  await sweep()
  t.strictSame(stacks(), [])
  t.strictSame(bench.said, [])
})
