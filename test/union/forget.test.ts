// What the kernel gives back is freed: nodes, names, lists, pins; and what a live file costs.

import { linkSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { D_NODE } from '../../src/union/dentry-table.js'
import { BLOCK_BYTES, DENTRY_WORDS, NODE_WORDS } from '../../src/union/state.js'
import { checkTables } from './consistency.js'
import { type Tree, temporaryFolder } from './disk.js'
import { type Folders, makeFolders, ok, Rig } from './rig.js'

const skip = process.getuid?.() !== 0 && 'needs root'

function wide(count: number): Tree {
  const tree: Tree = {}
  for (let i = 0; i < count; i++) tree[`name-${i}`] = { [`inner-${i}`]: 'x' }
  return tree
}

t.test('after all is forgotten only the root is live, and memory is used again', { skip }, async (t) => {
  const rig = new Rig(makeFolders([wide(300), wide(350)], wide(320)))
  const walk = () => {
    for (const { name } of rig.readdirplus('')) if (!name.startsWith('.')) rig.readdirplus(name)
  }
  walk()
  t.strictSame(rig.problemsAtRest(), [])
  const first = checkTables(rig.state)
  const { nodeSlabs, dentrySlabs, names, blockSlabs } = rig.fs.union.t
  const ends = () => [nodeSlabs, dentrySlabs, names.slabs, blockSlabs].map(({ end }) => end)
  const before = ends()
  for (let i = 0; i < 3; i++) {
    walk()
    t.strictSame(rig.problemsAtRest(), [])
  }
  t.strictSame(ends(), before)
  t.equal(checkTables(rig.state).usedUnits, first.usedUnits)
  rig.end()
})

t.test('a parent that is forgotten before its children goes with the last of them', { skip }, async (t) => {
  const rig = new Rig(makeFolders([{ a: { b: { c: { d: 'd' } } } }]))
  const path = ['a', 'a/b', 'a/b/c', 'a/b/c/d'].map((name) => ok(rig.node(name)))
  for (const node of path) {
    t.ok(checkTables(rig.state).liveNodes > 1)
    rig.fs.forget(node, rig.held.get(node)!)
    rig.held.delete(node)
  }
  t.equal(checkTables(rig.state).liveNodes, 1)
  rig.end()
})

t.test('the parents of a hard link go once each, in whatever order its names lie', { skip }, async (t) => {
  // Forgotten last, the file's names are all that holds the directories: nested, and met more than once.
  const names = ['a/x', 'a/b/y', 'a/z', 'a/b/c/w', 'd/e/v', 'd/u', 'a/b/t']
  for (let turn = 0; turn < names.length; turn++) {
    const order = [...names.slice(turn), ...names.slice(0, turn)]
    const folders = makeFolders([{ a: { x: 'text', b: { c: {} } }, d: { e: {} } }])
    for (const name of names.slice(1))
      linkSync(join(folders.lowers[0]!, 'a/x'), join(folders.lowers[0]!, name))
    const rig = new Rig(folders)
    for (const name of order) t.ok(rig.node(name) > 0)
    const file = rig.node('a/x')
    for (const [node, count] of [...rig.held]) if (node !== file) rig.fs.forget(node, count)
    t.equal(checkTables(rig.state).liveNodes, 7, 'root, five directories, one file')
    rig.fs.forget(file, rig.held.get(file)!)
    rig.held.clear()
    t.equal(checkTables(rig.state).liveNodes, 1)
    t.strictSame(rig.problems(), [])
    rig.end()
  }
})

t.test('an unlinked file lives until it is closed and forgotten, in either order', { skip }, async (t) => {
  for (const isClosedFirst of [true, false]) {
    const rig = new Rig(makeFolders([{ f: 'text' }]))
    const handle = rig.open('f')
    const node = rig.node('f')
    t.equal(rig.unlink('f'), 0)
    t.equal(rig.attrOf(node).nlink, 0)
    if (isClosedFirst) rig.release(handle)
    rig.forgetAll()
    t.strictSame(rig.problems(), [])
    t.equal(checkTables(rig.state).liveNodes, isClosedFirst ? 1 : 2)
    if (!isClosedFirst) {
      t.equal(rig.readHandle(handle), 'text', 'still open')
      rig.release(handle)
    }
    t.strictSame(rig.problemsAtRest(), [])
    rig.end()
  }
})

t.test('a file that was forgotten has its ino again', { skip }, async (t) => {
  const rig = new Rig(makeFolders([{ f: 'text', d: {} }]))
  t.equal(rig.chmod('f', 0o600), 0)
  const inos = [rig.stat('f').ino, rig.stat('d').ino]
  rig.forgetAll()
  t.strictSame([rig.stat('f').ino, rig.stat('d').ino], inos)
  rig.end()
})

t.test('forgetting what is not there, or too much, harms nothing', { skip }, async (t) => {
  const rig = new Rig(makeFolders([{ f: 'text' }]))
  const node = ok(rig.node('f'))
  for (const wrong of [0, -5, 9999, 2 ** 40]) rig.fs.forget(wrong, 1)
  rig.fs.forget(1, 1_000_000)
  rig.fs.forget(node, 2 ** 31)
  rig.held.clear()
  t.equal(rig.errno('f'), 0)
  t.strictSame(rig.problemsAtRest(), [])
  rig.end()
})

t.test('a live file takes at most 200 bytes', { skip }, async (t) => {
  const parent = temporaryFolder()
  const folders: Folders = { path: parent, lowers: [join(parent, 'l')], upper: null, work: join(parent, 'w') }
  const files = 100_000
  for (let i = 0; i < files / 1000; i++) {
    mkdirSync(join(folders.lowers[0]!, `d${i}`), { recursive: true })
    for (let k = 0; k < 1000; k++)
      writeFileSync(join(folders.lowers[0]!, `d${i}`, `f${String(k).padStart(11, '0')}`), '')
  }
  const rig = new Rig(folders, { maxNodes: 1 << 18 })
  const { dentries, dentrySlabs, nodeSlabs, names, blockSlabs } = rig.fs.union.t
  const committed = () =>
    nodeSlabs.end * NODE_WORDS * 4 +
    dentrySlabs.end * DENTRY_WORDS * 4 +
    rig.fs.union.t.slots.length * 4 +
    names.slabs.end * 8 +
    blockSlabs.end * BLOCK_BYTES
  const before = committed() - rig.fs.union.t.slots.length * 4
  for (let i = 0; i < files / 1000; i++) rig.readdirplus(`d${i}`)
  t.equal(nodeSlabs.end, files + files / 1000 + 2)
  t.not(dentries[(dentrySlabs.end - 1) * DENTRY_WORDS + D_NODE], 0)
  const each = (committed() - before) / files
  t.ok(each <= 200, `${each} bytes each`)
  t.comment(`${each.toFixed(1)} bytes each`)
  t.strictSame(rig.problemsAtRest(), [])
  rig.end()
})
