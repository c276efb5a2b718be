// Reading directories: snapshots, cookies that hold and cookies that do not, and what keeps memory.

import t from 'tap'
import { BLOCK_BYTES } from '../../src/union/state.js'
import { type Tree, whiteout } from './disk.js'
import { makeFolders, ok, Rig } from './rig.js'

const skip = process.getuid?.() !== 0 && 'needs root'

function many(count: number, prefix = 'file-'): Tree {
  const tree: Tree = {}
  for (let i = 0; i < count; i++) tree[`${prefix}${i}`] = ''
  return tree
}

t.test('a directory read in small parts shows each name once', { skip }, async (t) => {
  const rig = new Rig(
    makeFolders([many(300), { ...many(200), 'only below': '', gone: '' }, { gone: '' }], { gone: whiteout }),
  )
  const handle = ok(rig.opendir(1))
  const names: string[] = []
  for (let offset = 0; ; ) {
    const part = rig.readdirPart(1, handle, offset, 200)
    if (part.length === 0) break
    names.push(...part.map(({ name }) => name))
    offset = part.at(-1)!.cookie
  }
  t.equal(names.length, 303)
  t.equal(new Set(names).size, 303)
  t.notOk(names.includes('gone'))
  rig.fs.releasedir(1, handle)
  t.strictSame(rig.problemsAtRest(), [])
  rig.end()
})

t.test('the cookie after any entry goes on with the next', { skip }, async (t) => {
  const rig = new Rig(makeFolders([many(100)]))
  const handle = ok(rig.opendir(1))
  const all = rig.readdirPart(1, handle, 0)
  for (const [i, { cookie }] of all.entries()) {
    t.equal(rig.readdirPart(1, handle, cookie, 400)[0]?.name, all[i + 1]?.name)
  }
  rig.fs.releasedir(1, handle)
  rig.end()
})

t.test('any number as a cookie ends the listing or is one of its own', { skip }, async (t) => {
  const rig = new Rig(makeFolders([{ a: many(40, 'mine-'), b: many(40, 'secret-') }]))
  const a = ok(rig.node('a'))
  const b = ok(rig.node('b'))
  const other = ok(rig.opendir(b))
  rig.readdirPart(b, other, 0)
  const handle = ok(rig.opendir(a))
  const all = rig.readdirPart(a, handle, 0).map(({ name }) => name)
  const end = (rig.fs.union.t.blockSlabs.end + 2) * (BLOCK_BYTES / 8)
  let wrong = 0
  for (let cookie = 0; cookie < end; cookie++) {
    const names = rig.readdirPart(a, handle, cookie, 2000).map(({ name }) => name)
    const from = names.length === 0 ? 0 : all.indexOf(names[0]!)
    if (names.some((name, i) => name !== all[from + i])) wrong++
  }
  t.equal(wrong, 0)
  for (const cookie of [2 ** 31, 2 ** 40, 2 ** 52]) t.strictSame(rig.readdirPart(a, handle, cookie), [])
  rig.fs.releasedir(a, handle)
  rig.fs.releasedir(b, other)
  t.strictSame(rig.problemsAtRest(), [])
  rig.end()
})

t.test(
  'a cookie of one snapshot goes on in the next: every name that stayed comes once',
  { skip },
  async (t) => {
    const rig = new Rig(makeFolders([many(500)]))
    const before = ok(rig.opendir(1))
    const first = rig.readdirPart(1, before, 0, 6000)
    t.ok(first.length > 50 && first.length < 400)
    for (let i = 0; i < 500; i += 3) t.equal(rig.unlink(`file-${i}`), 0)
    for (let i = 0; i < 200; i++) t.equal(rig.make(`new-${i}`, ''), 0)
    rig.fs.releasedir(1, before)
    const after = ok(rig.opendir(1))
    const names = first.map(({ name }) => name)
    for (let cookie = first.at(-1)!.cookie; ; ) {
      const part = rig.readdirPart(1, after, cookie, 6000)
      if (part.length === 0) break
      names.push(...part.map(({ name }) => name))
      cookie = part.at(-1)!.cookie
    }
    const stayed = names.filter((name) => name.startsWith('file-') && Number(name.slice(5)) % 3 !== 0)
    t.equal(stayed.length, new Set(stayed).size, 'none comes twice')
    t.equal(stayed.length, 333, 'none is missing')
    t.equal(names.length, new Set(names).size)
    rig.fs.releasedir(1, after)
    t.strictSame(rig.problemsAtRest(), [])
    rig.end()
  },
)

t.test(
  'a scan that began before a change goes on as it was; a rewound one shows the change',
  { skip },
  async (t) => {
    const rig = new Rig(makeFolders([many(100)]))
    const handle = ok(rig.opendir(1))
    const first = rig.readdirPart(1, handle, 0, 400)
    for (let i = 0; i < 100; i++) t.equal(rig.unlink(`file-${i}`), 0)
    t.equal(rig.make('new', ''), 0)
    const rest = rig.readdirPart(1, handle, first.at(-1)!.cookie)
    t.equal(first.length + rest.length, 102)
    t.strictSame(
      rig.readdirPart(1, handle, 0).map(({ name }) => name),
      ['.', '..', 'new'],
    )
    rig.fs.releasedir(1, handle)
    t.strictSame(rig.problemsAtRest(), [])
    rig.end()
  },
)

t.test('`..` of a moved directory has the ino of its new parent', { skip }, async (t) => {
  const rig = new Rig(makeFolders([{ a: { d: {} }, b: {} }]))
  rig.readdir('a/d')
  t.equal(rig.rename('a/d', 'b/d'), 0)
  t.equal(rig.readdir('b/d').find(({ name }) => name === '..')?.ino, rig.stat('b').ino)
  t.strictSame(rig.problemsAtRest(), [])
  rig.end()
})

t.test('snapshots nobody reads make room for others', { skip }, async (t) => {
  const tree: Tree = {}
  for (let i = 0; i < 200; i++) tree[`d${i}`] = { x: '' }
  // Room for 64 blocks.
  const rig = new Rig(makeFolders([tree]), { maxNodes: 1024 })
  for (let i = 0; i < 200; i++) t.strictSame(rig.names(`d${i}`), ['x'])
  t.strictSame(rig.problemsAtRest(), [])
  rig.end()
})
