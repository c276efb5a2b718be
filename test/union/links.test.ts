// Files with several names: one node for all names in a layer, none across layers, and what copy-up and
// removal do to them while some names are open, gone or not looked up yet.

import { linkSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { dump, file, link, type Tree } from './disk.js'
import { Faults } from './faults.js'
import { makeFolders, Rig } from './rig.js'

const skip = process.getuid?.() !== 0 && 'needs root'
const O_RDWR = 2

const twins: Tree = { a: file('twin'), d: { b: link('a') } }

t.test('two names of a lower file are one node', { skip }, async (t) => {
  const rig = new Rig(makeFolders([twins]))
  t.equal(rig.node('a'), rig.node('d/b'))
  t.equal(rig.stat('a').nlink, 2)
  t.strictSame(rig.problemsAtRest(), [])
  rig.end()
})

t.test(
  'the last name of a file is its node although the name that it is open by has gone',
  { skip },
  async (t) => {
    for (const [lowers, upper] of [
      [[{}], twins],
      [[twins], {}],
    ] as const) {
      const rig = new Rig(makeFolders([...lowers], upper))
      const open = rig.open('a', O_RDWR)
      const node = rig.files.get(open)
      t.equal(rig.unlink('a'), 0)
      t.equal(rig.node('d/b'), node)
      t.equal(rig.stat('d/b').nlink, 1)
      t.equal(rig.writeHandle(open, 'TW'), 2)
      t.equal(rig.read('d/b'), 'TWin')
      t.strictSame(rig.problems(), [])
      t.strictSame(rig.problemsAtRest(), [])
      rig.end()
    }
  },
)

t.test('names of one inode in two layers are two nodes that both work', { skip }, async (t) => {
  const folders = makeFolders([{}, { y: 'shared' }])
  linkSync(join(folders.lowers[1]!, 'y'), join(folders.lowers[0]!, 'x'))
  const rig = new Rig(folders)
  t.equal(rig.read('x'), 'shared')
  t.equal(rig.read('y'), 'shared')
  t.equal(rig.read('x'), 'shared', 'after the other name was looked up')
  t.equal(rig.write('y', 'SHARED'), 0)
  t.equal(rig.read('y'), 'SHARED')
  t.equal(rig.read('x'), 'shared', 'the copy of the other layer’s name is its own')
  t.strictSame(rig.problemsAtRest(), [])
  rig.end()
})

t.test('a copy-up takes all names along, bound or not', { skip }, async (t) => {
  const rig = new Rig(makeFolders([twins]))
  t.equal(rig.chmod('a', 0o600), 0)
  t.equal(rig.stat('d/b').mode & 0o777, 0o600)
  t.equal(rig.stat('a').nlink, 2)
  t.equal(rig.node('a'), rig.node('d/b'))
  rig.end()
  const again = new Rig(rig.folders)
  t.equal(again.stat('d/b').ino, again.stat('a').ino, 'also after a remount')
  t.strictSame(again.problemsAtRest(), [])
  again.end()
})

t.test('a copy-up takes a name along whose directory was renamed', { skip }, async (t) => {
  const rig = new Rig(makeFolders([twins]))
  t.equal(rig.rename('d', 'moved'), 0)
  t.equal(rig.node('moved/b'), rig.node('a'))
  t.equal(rig.chmod('a', 0o600), 0)
  t.equal(rig.stat('moved/b').mode & 0o777, 0o600)
  t.equal(rig.unlink('a'), 0)
  t.equal(rig.read('moved/b'), 'twin')
  t.strictSame(rig.problemsAtRest(), [])
  rig.end()
})

t.test(
  'a lower that was removed, found by its other name and copied up is never written',
  { skip },
  async (t) => {
    const rig = new Rig(makeFolders([twins]))
    const before = dump(rig.folders.lowers[0]!)
    const handle = rig.open('a')
    const node = rig.node('a')
    t.equal(rig.unlink('a'), 0, 'nameless and pinned')
    t.equal(rig.node('d/b'), node, 'named again')
    t.equal(rig.write('d/b', 'NEW!'), 0, 'copied up')
    t.equal(rig.unlink('d/b'), 0, 'nameless again')
    t.equal(rig.chmodNode(node, 0o640), 0)
    t.equal(rig.attrOf(node).mode & 0o777, 0o640)
    t.equal(rig.readHandle(handle), 'NEW!', 'an open handle sees the copy')
    t.strictSame(dump(rig.folders.lowers[0]!), before)
    t.strictSame(rig.problemsAtRest(), [])
    rig.end()
  },
)

t.test('a copy-up by an open file whose name has gone takes the other names along', { skip }, async (t) => {
  for (const isDirectoryKnown of [false, true]) {
    const rig = new Rig(makeFolders([twins]))
    const handle = rig.open('a')
    const node = rig.files.get(handle)!
    t.equal(rig.unlink('a'), 0)
    t.equal(rig.attrOf(node).nlink, 1)
    if (isDirectoryKnown) t.ok(rig.node('d') > 0)
    t.equal(rig.chmodNode(node, 0o640), 0)
    t.equal(rig.node('d/b'), node)
    t.equal(rig.stat('d/b').mode & 0o777, 0o640)
    t.equal(rig.stat('d/b').nlink, 1)
    t.equal(rig.write('d/b', 'TW'), 0)
    t.equal(rig.readHandle(handle), 'TWin')
    t.equal(rig.unlink('d/b'), 0)
    t.equal(rig.chmodNode(node, 0o600), 0, 'nameless again')
    t.equal(rig.readHandle(handle), 'TWin')
    t.strictSame(rig.problems(), [])
    t.strictSame(rig.problemsAtRest(), [])
    rig.end()
  }
})

t.test('a copy for an open handle alone when all names have gone', { skip }, async (t) => {
  const rig = new Rig(makeFolders([twins]))
  const handle = rig.open('a')
  const node = rig.files.get(handle)!
  for (const name of ['a', 'd/b']) t.equal(rig.unlink(name), 0)
  t.equal(rig.chmodNode(node, 0o640), 0)
  t.equal(rig.attrOf(node).nlink, 0)
  t.equal(rig.make('a', 'other'), 0)
  t.not(rig.node('a'), node)
  t.equal(rig.readHandle(handle), 'twin')
  t.strictSame(rig.problemsAtRest(), [])
  rig.end()
})

t.test('a copy-up that fails at its last step takes back the other names', { skip }, async (t) => {
  const faults = new Faults()
  const rig = new Rig(makeFolders([twins]), { sys: faults.sys })
  t.equal(rig.mkdir('d/upper'), 0)
  faults.before = (name, args) =>
    name === 'renameAt' && args[0] === rig.state.config.workFd ? -28 : undefined
  t.equal(rig.chmod('a', 0o600), -28)
  faults.before = undefined
  t.equal(rig.stat('a').mode & 0o777, 0o644)
  rig.end()
  const again = new Rig(rig.folders)
  t.equal(again.stat('a').nlink, 2)
  t.equal(again.node('a'), again.node('d/b'), 'still one file')
  again.end()
})

t.test('READDIRPLUS shows right attributes beside links whose fellows were removed', { skip }, async (t) => {
  const tree: Tree = { z: file('zz') }
  const nameOf = (i: number) => `${'long'.repeat(20)}${i}`
  for (let i = 0; i < 40; i++) tree[nameOf(i)] = file('x'.repeat(i))
  tree.l1 = file('link')
  tree.l2 = link('l1')
  tree.gone = link('l1')
  for (let i = 40; i < 80; i++) tree[nameOf(i)] = file('x'.repeat(i))
  const rig = new Rig(makeFolders([tree]))
  t.equal(rig.unlink('gone'), 0)
  rig.end()
  const again = new Rig(rig.folders)
  const sizes = new Map<string, number>()
  again.onReaddirplus = (name, attr) => sizes.set(name, attr.size)
  const entries = again.readdirplus('')
  t.equal(entries.filter(({ node }) => node !== 0).length, 83)
  for (let i = 0; i < 80; i++) t.equal(sizes.get(nameOf(i)), i, `file ${i}`)
  t.equal(again.stat('l1').nlink, 2)
  t.strictSame(again.problemsAtRest(), [])
  again.end()
})

t.test('a handle that reads while its file is copied up and removed reads on', { skip }, async (t) => {
  const rig = new Rig(makeFolders([{ f: 'old' }]))
  const reader = rig.open('f')
  const writer = rig.open('f', O_RDWR)
  t.equal(rig.writeHandle(writer, 'new'), 3)
  t.equal(rig.readHandle(reader), 'new')
  t.equal(rig.unlink('f'), 0)
  t.equal(rig.readHandle(reader), 'new')
  t.equal(rig.attrOf(rig.files.get(reader)!).nlink, 0)
  t.strictSame(rig.problemsAtRest(), [])
  rig.end()
})
