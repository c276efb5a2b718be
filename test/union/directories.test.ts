// Reading directories: snapshots, cookies that hold and cookies that do not, and what keeps memory.

import t from 'tap'
import { type Native, native } from '../../src/sys/native.js'
import { BLOCK_BYTES } from '../../src/union/state.js'
import { checkTables } from './consistency.js'
import { arena, type Tree, whiteout } from './disk.js'
import { makeFolders, OUT, ok, Rig } from './rig.js'

const skip = process.getuid?.() !== 0 && 'needs root'

const isDots = (name: string) => name === '.' || name === '..'

function many(count: number, prefix = 'file-'): Tree {
  const tree: Tree = {}
  for (let i = 0; i < count; i++) tree[`${prefix}${i}`] = ''
  return tree
}

t.test('a directory read in small parts shows each name once', { skip }, async (t) => {
  const rig = new Rig(
    makeFolders([many(300), { ...many(200), 'only below': '', gone: '' }, { gone: '' }], { gone: whiteout }),
  )
  const names: string[] = []
  for (let offset = 0; ; ) {
    const part = rig.readdirPart(1, offset, 200)
    if (part.length === 0) break
    names.push(...part.map(({ name }) => name))
    offset = part.at(-1)!.cookie
  }
  t.equal(names.length, 303)
  t.equal(new Set(names).size, 303)
  t.notOk(names.includes('gone'))
  t.strictSame(rig.problemsAtRest(), [])
  rig.end()
})

t.test('the cookie after any entry goes on with the next', { skip }, async (t) => {
  const rig = new Rig(makeFolders([many(100)]))
  const all = rig.readdirPart(1, 0)
  for (const [i, { cookie }] of all.entries()) {
    t.equal(rig.readdirPart(1, cookie, 400)[0]?.name, all[i + 1]?.name)
  }
  rig.end()
})

t.test('READDIRPLUS writes nothing behind the room that it was given', { skip }, async (t) => {
  const rig = new Rig(makeFolders([many(60)]))
  const whole = rig.readdirplusPart(1, 0)
  for (const { at, name } of whole.slice(20)) {
    const size = at + ((24 + name.length + 7) & ~7) - OUT
    for (const room of [size - 8, size, size + 8]) {
      const end = (OUT + room) >> 2
      arena.u32[end] = 0x12345678
      rig.readdirplusPart(1, 0, room)
      if (arena.u32[end] !== 0x12345678) t.fail(`${room} bytes`)
    }
  }
  t.strictSame(rig.problemsAtRest(), [])
  rig.end()
})

t.test('any number as a cookie ends the listing or is one of its own', { skip }, async (t) => {
  const rig = new Rig(makeFolders([{ a: many(40, 'mine-'), b: many(40, 'secret-') }]))
  const a = ok(rig.node('a'))
  const b = ok(rig.node('b'))
  rig.readdirPart(b, 0)
  const all = rig.readdirPart(a, 0).map(({ name }) => name)
  const end = (rig.fs.union.t.blockSlabs.end + 2) * (BLOCK_BYTES / 8)
  let wrong = 0
  for (let cookie = 0; cookie < end; cookie++) {
    const names = rig.readdirPart(a, cookie, 2000).map(({ name }) => name)
    const from = names.length === 0 ? 0 : all.indexOf(names[0]!)
    if (names.some((name, i) => name !== all[from + i])) wrong++
  }
  t.equal(wrong, 0)
  for (const cookie of [2 ** 31, 2 ** 40, 2 ** 52]) t.strictSame(rig.readdirPart(a, cookie), [])
  t.strictSame(rig.problemsAtRest(), [])
  rig.end()
})

t.test(
  'a cookie of one snapshot goes on in the next: every name that stayed comes once',
  { skip },
  async (t) => {
    const rig = new Rig(makeFolders([many(500)]))
    const first = rig.readdirPart(1, 0, 6000)
    t.ok(first.length > 50 && first.length < 400)
    for (let i = 0; i < 500; i += 3) t.equal(rig.unlink(`file-${i}`), 0)
    for (let i = 0; i < 200; i++) t.equal(rig.make(`new-${i}`, ''), 0)
    const names = first.map(({ name }) => name)
    for (let cookie = first.at(-1)!.cookie; ; ) {
      const part = rig.readdirPart(1, cookie, 6000)
      if (part.length === 0) break
      names.push(...part.map(({ name }) => name))
      cookie = part.at(-1)!.cookie
    }
    const stayed = names.filter((name) => name.startsWith('file-') && Number(name.slice(5)) % 3 !== 0)
    t.equal(stayed.length, new Set(stayed).size, 'none comes twice')
    t.equal(stayed.length, 333, 'none is missing')
    t.equal(names.length, new Set(names).size)
    t.strictSame(rig.problemsAtRest(), [])
    rig.end()
  },
)

t.test(
  'a scan that began before a change goes on as it was; a rewound one shows the change',
  { skip },
  async (t) => {
    const rig = new Rig(makeFolders([many(100)]))
    const first = rig.readdirPart(1, 0, 400)
    for (let i = 0; i < 100; i++) t.equal(rig.unlink(`file-${i}`), 0)
    t.equal(rig.make('new', ''), 0)
    const rest = rig.readdirPart(1, first.at(-1)!.cookie)
    t.equal(first.length + rest.length, 102)
    t.strictSame(
      rig.readdirPart(1, 0).map(({ name }) => name),
      ['.', '..', 'new'],
    )
    t.strictSame(rig.problemsAtRest(), [])
    rig.end()
  },
)

t.test('a scan in the middle shows no name as it was that is gone or new by then', { skip }, async (t) => {
  const names = Array.from({ length: 100 }, (_, i) => `file-${i}`)
  const rig = new Rig(makeFolders([Object.fromEntries(names.map((name) => [name, 'lower']))]))
  const first = rig.readdirplusPart(1, 0, 6000)
  const ahead = names.filter((name) => !first.some((entry) => entry.name === name))
  t.ok(ahead.length > 20)
  const [removed, replaced, moved] = ahead as [string, string, string]
  rig.forgetAll()
  t.equal(rig.unlink(removed), 0)
  t.equal(rig.unlink(replaced), 0)
  t.equal(rig.make(replaced, 'another'), 0)
  t.equal(rig.rename(moved, 'elsewhere'), 0)
  rig.forgetAll()
  const rest: ReturnType<Rig['readdirplusPart']> = []
  for (let cookie = first.at(-1)!.cookie; ; cookie = rest.at(-1)!.cookie) {
    const part = rig.readdirplusPart(1, cookie, 6000)
    if (part.length === 0) break
    rest.push(...part)
  }
  const nodeOf = (name: string) => rest.find((entry) => entry.name === name)?.node ?? 0
  for (const name of [removed, moved]) t.equal(nodeOf(name), 0, `${name} is not looked up`)
  t.equal(rig.attrOf(nodeOf(replaced)).size, 'another'.length)
  t.equal(rig.node(removed), -2)
  t.equal(new Set([...first, ...rest].map(({ name }) => name)).size, first.length + rest.length)
  t.strictSame(rig.problemsAtRest(), [])
  rig.end()
})

t.test('a long scan with changes in between reads the directory once', { skip }, async (t) => {
  const counts = { listings: 0 }
  const sys = new Proxy(native, {
    get(target, name: keyof Native) {
      if (name === 'listSort') counts.listings++
      return target[name]
    },
  })
  const rig = new Rig(makeFolders([many(600)]), { sys })
  let seen = 0
  for (let cookie = 0; ; ) {
    const part = rig.readdirPart(1, cookie, 2000)
    if (part.length === 0) break
    for (const { name } of part) if (!isDots(name)) t.equal(rig.unlink(name), 0)
    seen += part.length
    cookie = part.at(-1)!.cookie
  }
  t.equal(seen, 602)
  t.equal(counts.listings, 1)
  t.strictSame(rig.names(''), [], 'and who begins sees what is left')
  t.equal(counts.listings, 2)
  t.strictSame(rig.problemsAtRest(), [])
  rig.end()
})

t.test('a listing that was read to its end is not kept after a change', { skip }, async (t) => {
  const rig = new Rig(makeFolders([many(300)]))
  const { blocks } = checkTables(rig.state)
  rig.names('')
  t.ok(checkTables(rig.state).blocks > blocks)
  t.equal(rig.unlink('file-7'), 0)
  t.equal(checkTables(rig.state).blocks, blocks)
  rig.end()
})

t.test('a short listing that was read to its end is let go, a long one is kept', { skip }, async (t) => {
  const rig = new Rig(makeFolders([{ short: many(100), long: many(400) }]))
  const { blocks } = checkTables(rig.state)
  const kept = () => checkTables(rig.state).blocks - blocks
  const short = ok(rig.node('short'))
  const first = rig.readdirPart(short, 0, 400)
  t.ok(kept() > 0, 'somebody is in the middle')
  t.equal(rig.names('short').length, 100)
  t.equal(kept(), 0, 'who comes to the end')
  const rest = rig.readdirPart(short, first.at(-1)!.cookie)
  t.equal(new Set([...first, ...rest].map(({ name }) => name)).size, 102, 'the other one goes on')
  t.equal(first.length + rest.length, 102)
  t.strictSame(rig.readdirPart(short, rest.at(-1)!.cookie), [])
  t.equal(rig.readdirplus('short').length, 102)
  t.equal(kept(), 0, 'with attributes too')
  rig.names('long')
  t.ok(kept() > 0)
  t.strictSame(rig.problemsAtRest(), [])
  rig.end()
})

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
