// Requests that native code answers from tables (native/at-once.cc): the same answer, byte by byte, and the same
// tables as TypeScript's; and what it leaves to TypeScript. That whole unions look the same with it is
// indexed.test.ts's affair.

import { readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { ENODATA, ENOENT } from '../../src/base/errno.js'
import { fuse_entry_out, fuse_in_header, opcodes } from '../../src/fuse/abi.js'
import { sumCounters } from '../../src/fuse/session-shared.js'
import { H_FLAGS, H_SUM, INDEX_SAW_TRUSTED } from '../../src/index/format.js'
import { hash64 } from '../../src/index/hash.js'
import { type Native, NOT_AT_ONCE, native } from '../../src/sys/native.js'
import { H_ASKED, H_LOCK } from '../../src/union/state.js'
import { IN } from '../../src/vfs/arena.js'
import { ENTRY_ATTR, ENTRY_BYTES, LIGHT_HANDLE } from '../../src/vfs/file-system.js'
import { arena, device, dir, fifo, file, link, opaque, symlink, type Tree, whiteout } from './disk.js'
import { type Attr, makeFolders, NAME, type Options, OUT, ok, Rig, ROOT } from './rig.js'
import { indexOf } from './with-index.js'

const skip = process.getuid?.() !== 0 && 'needs root'
const LONG = 'n'.repeat(255)
const AS_LONG = 'm'.repeat(255)
const BYTES = Buffer.from([0x66, 0xff, 0xfe])

/** What is below `d`, which only lowers have. */
const TREE: Tree[] = [
  { d: { hidden: whiteout, top: 'top', both: { a: 'A' }, only: opaque({ b: 'B' }) } },
  {
    d: {
      hidden: 'H',
      top: 'below',
      both: { c: 'C' },
      only: { d: 'D' },
      plain: file('12345', {}, 0o4755),
      one: 'linked',
      two: link('d/one'),
      soft: symlink('top'),
      pipe: fifo,
      zero: device(0x105),
      [LONG]: 'long',
      [AS_LONG]: 'too',
      empty: {},
    },
  },
]

async function rigs(trees: Tree[], options: Options = {}): Promise<(isQuick: boolean) => Rig> {
  const folders = makeFolders(trees)
  const { indexFd } = await indexOf(folders)
  return (isQuick) => new Rig(folders, { indexFd, isQuick, ...options })
}

/** Asks native code alone; undefined when it leaves the answer to TypeScript. */
function atOnce(rig: Rig, parent: number, name: string | Buffer): number | undefined {
  rig.put(NAME, '')
  const bytes = Buffer.from(name)
  arena.bytes.set(bytes, NAME)
  arena.bytes[NAME + bytes.length] = 0
  if (!rig.lookupAtOnce(parent, bytes.length + 1)) return undefined
  return rig.entry(arena.u32[OUT >> 2] === 0 ? -ENOENT : 0)
}

/** As readers of an index: each block is proved before native code may look at it. */
function prove(rig: Rig): void {
  t.ok(rig.fs.union.index!.proveAll())
}

function answer(): { head: Buffer; attr: Buffer } {
  const bytes = Buffer.from(arena.bytes.slice(OUT, OUT + ENTRY_BYTES))
  return { head: bytes.subarray(0, 16), attr: bytes.subarray(ENTRY_ATTR) }
}

t.test('its answers are those of TypeScript', { skip }, async (t) => {
  const make = await rigs(TREE)
  const names = ['top', 'both', 'only', 'plain', 'soft', 'pipe', 'zero', LONG, 'empty']
  const plain = make(false)
  const d = ok(plain.node('d'))
  const expected = names.map((name) => {
    if (name === LONG) ok(plain.lookup(d, AS_LONG))
    ok(plain.lookup(d, name), name)
    return answer()
  })
  plain.end()
  const quick = make(true)
  prove(quick)
  t.equal(ok(quick.node('d')), d)
  for (const [i, name] of names.entries()) {
    // Room for names of this size is made when the first one comes.
    if (name === LONG) ok(quick.lookup(d, AS_LONG))
    const node = atOnce(quick, d, name)
    t.ok(node !== undefined && node > 0, name)
    t.strictSame(answer(), expected[i], name)
    const w = OUT >> 2
    t.strictSame([...arena.u32.subarray(w + 4, w + 10)], [1, 0, 2, 0, 500e6, 500e6], 'its timeouts')
    const shown = quick.readAttr(OUT + ENTRY_ATTR)
    t.strictSame(shown, quick.attrOf(node!), 'as GETATTR has them')
  }
  t.equal(quick.read('d/both/a') + quick.read('d/both/c') + quick.read('d/only/b'), 'ACB')
  t.equal(quick.errno('d/only/d'), -ENOENT)
  t.strictSame(quick.problemsAtRest(), [])
  quick.end()
})

t.test('a name that is nowhere, or hidden', { skip }, async (t) => {
  const quick = (await rigs(TREE))(true)
  prove(quick)
  const d = ok(quick.node('d'))
  for (const name of ['none', 'hidden', 'topp', 'to', LONG.slice(1)]) {
    t.equal(atOnce(quick, d, name), -ENOENT, name)
    const w = OUT >> 2
    const bytes = arena.bytes.slice(OUT, OUT + ENTRY_BYTES)
    t.strictSame([arena.u32[w + (fuse_entry_out.entry_valid >> 2)], arena.u32[w + 8]], [3, 500e6])
    bytes.fill(0, 16, 24).fill(0, 32, 36)
    t.ok(
      bytes.every((byte) => byte === 0),
      'nothing else',
    )
  }
  t.equal(atOnce(quick, d, BYTES), -ENOENT, 'bytes of no encoding')
  t.equal(sumCounters(quick.shared).LOOKUP!.requests, 6)
  t.strictSame(quick.problemsAtRest(), [])
  quick.end()
})

t.test('what it leaves to TypeScript, with nothing changed', { skip }, async (t) => {
  const quick = (await rigs(TREE))(true)
  const d = ok(quick.node('d'))
  const words = () => Buffer.from(new Uint8Array(quick.state.header).slice())
  const before = words()
  const left = (parent: number, name: string, why: string) => {
    t.equal(atOnce(quick, parent, name), undefined, why)
    t.strictSame(words(), before, why)
  }
  prove(quick)
  left(ROOT, 'd', 'a directory that the upper has, too')
  left(d, 'one', 'a file with two links')
  left(d, '.', 'dots')
  left(d, '..', 'dots')
  left(d, '.wh.top', 'a name of a whiteout')
  left(d, '', 'no name')
  left(d, 'a/b', 'a path')
  left(d, `${LONG}n`, 'a name that is too long')
  left(0, 'top', 'no node')
  left(quick.state.config.maxNodes, 'top', 'no node')
  left(4000, 'top', 'a free node')
  arena.bytes.set([0x74, 0x6f, 0x70], NAME)
  t.notOk(quick.lookupAtOnce(d, 3), 'no NUL')
  arena.bytes.set([0x74, 0, 0x70, 0], NAME)
  t.notOk(quick.lookupAtOnce(d, 4), 'a NUL too early')
  const header = new Int32Array(quick.state.header)
  Atomics.store(header, H_LOCK, 1)
  t.equal(atOnce(quick, d, 'top'), undefined, 'the tables are in use')
  Atomics.store(header, H_LOCK, 0)
  const top = ok(quick.lookup(d, 'top'))
  t.equal(atOnce(quick, d, 'top'), undefined, 'a name that is known')
  t.equal(quick.lookup(d, 'top'), top)
  t.equal(atOnce(quick, top, 'x'), undefined, 'no directory')
  t.equal(quick.make('d/new', 'N'), 0)
  t.equal(atOnce(quick, d, 'plain'), undefined, 'the upper has the directory now')
  t.strictSame(quick.problemsAtRest(), [])
  quick.end()
})

t.test('what an open file was known by is not forgotten for a new name', { skip }, async (t) => {
  const folders = makeFolders([{ d: { e: { one: 'linked', two: link('d/e/one') } } }])
  const { indexFd } = await indexOf(folders)
  const quick = new Rig(folders, { indexFd, isQuick: true })
  const one = ok(quick.node('d/e/one'))
  t.equal(ok(quick.node('d/e/two')), one, 'both names are one file')
  t.strictSame(quick.problemsAtRest(), [])
  quick.end()
})

t.test('blocks of the index that nobody proved are left alone', { skip }, async (t) => {
  const folders = makeFolders(TREE)
  const { path, indexFd } = await indexOf(folders)
  const quick = new Rig(folders, { indexFd, isQuick: true })
  const d = ok(quick.node('d'))
  quick.fs.union.index!.ready.fill(0)
  t.equal(atOnce(quick, d, 'top'), undefined)
  ok(quick.lookup(d, 'top'))
  t.ok(atOnce(quick, d, 'plain')! > 0, 'its neighbour is proved')
  // Found to be damaged by somebody's look: nothing is believed any more.
  const bytes = readFileSync(path)
  bytes.fill(0x55, bytes.length - 4096)
  writeFileSync(path, bytes)
  quick.fs.union.index!.ready.fill(0)
  t.notOk(quick.fs.union.index!.proveAll())
  t.equal(atOnce(quick, d, 'soft'), undefined)
  t.equal(quick.readlink('d/soft'), 'top', 'the layers know')
  t.strictSame(quick.problemsAtRest(), [])
  quick.end()
})

t.test('tables without room at hand', { skip }, async (t) => {
  const many: Tree = {}
  for (let i = 0; i < 3000; i++) many[`${i}`.padEnd(1 + (i % 90), 'x')] = ''
  const folders = makeFolders([{ d: { many } }])
  const { indexFd } = await indexOf(folders)
  const quick = new Rig(folders, { indexFd, isQuick: true, maxNodes: 2048 })
  const directory = ok(quick.node('d/many'))
  let bound = 0
  for (const name of Object.keys(many)) if (quick.lookup(directory, name) > 0) bound++
  t.ok(bound > 1900 && bound < 2048, `${bound} names, then no memory`)
  // Without room, larger blocks than a name needs are taken.
  t.strictSame(
    quick.problems().filter((line) => !/units of names/.test(line)),
    [],
  )
  quick.forgetAll()
  const again = ok(quick.node('d/many'))
  for (const name of Object.keys(many).slice(0, 1500)) ok(quick.lookup(again, name), name)
  t.ok(sumCounters(quick.shared).LOOKUP!.requests > 3000, 'most by native code')
  t.strictSame(quick.problemsAtRest(), [])
  quick.end()
})

t.test('entries of a listing are looked up in one call', { skip }, async (t) => {
  const left: number[] = []
  const sys: Native = { ...native }
  sys.enterRecords = (directory, records, length) => {
    const result = native.enterRecords(directory, records, length)
    left.push(result)
    return result
  }
  const make = await rigs(TREE, { sys })
  const plain = make(false)
  const expected = new Map<string, Attr>()
  plain.onReaddirplus = (name, attr) => expected.set(name, attr)
  plain.readdirplus('d')
  t.strictSame(left, [expected.size, 0], 'without it all are left, but the dots')
  plain.end()
  left.length = 0
  const quick = make(true)
  prove(quick)
  const d = ok(quick.node('d'))
  const top = ok(quick.lookup(d, 'top'))
  const asked = quick.state.header
  const before = new Int32Array(asked)[H_ASKED]
  const seen = new Map<string, Attr>()
  quick.onReaddirplus = (name, attr) => seen.set(name, attr)
  const entries = quick.readdirplusPart(d, 0)
  // One has two links, of two names; one is known. Room for long names is made by the first.
  t.strictSame(left, [2 + 1 + 2])
  t.strictSame(seen, expected)
  t.equal(entries.find(({ name }) => name === 'top')!.node, top)
  t.equal(new Int32Array(asked)[H_ASKED], before, 'nobody asked for these names')
  quick.readdirplusPart(d, 0)
  t.equal(left.at(-1), expected.size, 'now all are known')
  t.equal(native.enterRecords(d, 0xfffffff0, 400), -14)
  arena.u32.fill(0, OUT >> 2, (OUT + 400) >> 2)
  t.equal(native.enterRecords(d, OUT, 150), 0, 'no record')
  arena.u32[(OUT + ENTRY_BYTES + 16) >> 2] = 300
  t.equal(native.enterRecords(d, OUT, 400), -22, 'a name that is too long')
  arena.u32[(OUT + ENTRY_BYTES + 16) >> 2] = 200
  t.equal(native.enterRecords(d, OUT, 200), -22, 'a record that is cut off')
  t.strictSame(quick.problemsAtRest(), [])
  quick.end()
})

t.test('directories of many layers', { skip }, async (t) => {
  for (const count of [2, 126, 127, 128, 129, 200]) {
    const folders = makeFolders(
      Array.from({ length: count }, (_, i) => ({ p: { q: { [`f${i}`]: `${i}` } } })),
    )
    const { indexFd } = await indexOf(folders)
    const quick = new Rig(folders, { indexFd, isQuick: true, maxNodes: 1 << 20 })
    prove(quick)
    const q = atOnce(quick, ok(quick.node('p')), 'q')
    t.equal(q !== undefined, count < 128, `${count} layers`)
    t.equal(quick.read(`p/q/f${count - 1}`), `${count - 1}`)
    t.equal(quick.names('p/q').length, count)
    t.strictSame(quick.problemsAtRest(), [])
    quick.end()
  }
})

t.test('a mount that shows other owners has none', { skip }, async (t) => {
  const ids = [{ disk: 0, shown: 1000, count: 10 }]
  const quick = (await rigs(TREE, { uidMap: ids, gidMap: ids }))(true)
  t.equal(quick.stat('d/top').uid, 1000)
  t.equal(sumCounters(quick.shared).LOOKUP, undefined)
  quick.end()
})

t.test('a small file that was opened is opened again, and closed', { skip }, async (t) => {
  // Without an index, too.
  const folders = makeFolders([{ d: { small: 'S', big: 'B'.repeat(200_000), gone: 'G' } }])
  const quick = new Rig(folders, { isQuick: true })
  const small = ok(quick.node('d/small'))
  t.notOk(quick.openAtOnce(small, 0), 'not the first time')
  const first = ok(quick.openNode(small))
  const opened = { ...quick.fs.opened }
  t.ok(quick.openAtOnce(small, 0))
  t.strictSame(quick.fs.opened, opened, 'as TypeScript opened it')
  t.notOk(quick.openAtOnce(small, 1), 'to write')
  t.notOk(quick.openAtOnce(small, 0o1000), 'to cut it')
  t.notOk(quick.openAtOnce(small, 2))
  const big = ok(quick.node('d/big'))
  const file = ok(quick.openNode(big))
  t.notOk(quick.openAtOnce(big, 0), 'a big one')
  t.notOk(quick.releaseAtOnce(big, quick.fs.opened.handle), 'a handle of its own')
  quick.release(file)
  t.ok(quick.releaseAtOnce(small, LIGHT_HANDLE))
  t.equal(quick.release(first), 0)
  t.notOk(quick.releaseAtOnce(small, LIGHT_HANDLE), 'closed as often as it was opened')
  for (const node of [0, 4000, quick.state.config.maxNodes]) {
    t.notOk(quick.openAtOnce(node, 0))
    t.notOk(quick.releaseAtOnce(node, LIGHT_HANDLE))
  }
  const gone = ok(quick.node('d/gone'))
  const [one, two] = [ok(quick.openNode(gone)), ok(quick.openNode(gone))]
  t.equal(quick.unlink('d/gone'), 0)
  quick.forgetAll()
  t.equal(quick.release(one), 0)
  t.notOk(quick.releaseAtOnce(gone, LIGHT_HANDLE), 'the node goes with its last handle')
  t.equal(quick.release(two), 0)
  t.strictSame(quick.problems(), [])
  t.equal(quick.write('d/small', 'T'), 0)
  t.notOk(quick.openAtOnce(ok(quick.node('d/small')), 0), 'it is in the upper now')
  const { OPEN, RELEASE } = sumCounters(quick.shared)
  t.strictSame([OPEN!.requests, RELEASE!.requests], [2, 3])
  t.strictSame(quick.problemsAtRest(), [])
  quick.end()
})

t.test('what has no extended attributes', { skip }, async (t) => {
  const note = { 'user.note': 'n' }
  const lowers: Tree[] = [
    { d: { bare: 'B', over: 'O', noted: file('N', note), merged: {}, soft: symlink('bare') } },
    { d: { over: file('U', note), merged: dir({ m: 'M' }, note), own: dir({}, note), changed: 'C' } },
  ]
  const quick = (await rigs(lowers))(true)
  prove(quick)
  const node = (path: string) => ok(quick.node(path), path)
  const names = ['security.capability', 'system.posix_acl_access', 'system.posix_acl_default', 'trusted.x']
  for (const path of ['d/bare', 'd/over', 'd/merged', 'd/soft', 'd']) {
    // The upper's root has none, and d is of lowers alone.
    for (const name of names) t.equal(quick.xattrAtOnce(node(path), name, 100), -ENODATA, `${path} ${name}`)
    t.equal(quick.xattrAtOnce(node(path), undefined, 100), 0, `${path}: an empty list`)
    arena.u32.fill(0xffffffff, OUT >> 2, (OUT + 8) >> 2)
    t.equal(quick.xattrAtOnce(node(path), undefined, 0), 8)
    t.strictSame([...arena.u32.subarray(OUT >> 2, (OUT + 8) >> 2)], [0, 0], 'of no bytes')
    t.strictSame(quick.xattrs(path), {}, 'as TypeScript says')
  }
  for (const path of ['d/noted', 'd/own', '']) {
    t.equal(quick.xattrAtOnce(node(path), names[0], 100), NOT_AT_ONCE, path)
    t.equal(quick.xattrAtOnce(node(path), undefined, 100), NOT_AT_ONCE, path)
  }
  const bare = node('d/bare')
  for (const name of ['user.x', 'system.other', 'nothing', 'security.', `trusted.${LONG}`, ''])
    t.equal(quick.xattrAtOnce(bare, name, 100), NOT_AT_ONCE, name)
  for (const none of [0, 4000, quick.state.config.maxNodes])
    t.equal(quick.xattrAtOnce(none, undefined, 100), NOT_AT_ONCE)
  const changed = node('d/changed')
  t.equal(quick.xattrAtOnce(changed, undefined, 100), 0)
  t.equal(quick.setxattr('d/changed', 'user.new', 'v'), 0)
  t.equal(quick.xattrAtOnce(changed, undefined, 100), NOT_AT_ONCE, 'it is in the upper now')
  t.strictSame(quick.xattrs('d/changed'), { 'user.new': 'v' })
  const { GETXATTR, LISTXATTR } = sumCounters(quick.shared)
  t.strictSame(GETXATTR, { requests: 20, errors: 20, parked: 0 })
  t.strictSame(LISTXATTR, { requests: 11, errors: 0, parked: 0 })
  t.strictSame(quick.problemsAtRest(), [])
  quick.end()
})

t.test('an index whose maker could not see all attributes says nothing of them', { skip }, async (t) => {
  const folders = makeFolders(TREE)
  const { path, indexFd } = await indexOf(folders)
  const bytes = readFileSync(path)
  const header = new DataView(bytes.buffer, bytes.byteOffset)
  header.setInt32(H_FLAGS * 4, header.getInt32(H_FLAGS * 4, true) & ~INDEX_SAW_TRUSTED, true)
  header.setBigUint64(H_SUM * 4, hash64(bytes.subarray(0, H_SUM * 4)), true)
  writeFileSync(path, bytes)
  const quick = new Rig(folders, { indexFd, isQuick: true })
  prove(quick)
  const top = ok(quick.node('d/top'))
  t.equal(quick.xattrAtOnce(top, undefined, 100), NOT_AT_ONCE)
  t.equal(quick.xattrAtOnce(top, 'security.capability', 100), NOT_AT_ONCE)
  t.strictSame(quick.xattrs('d/top'), {})
  quick.end()
})

t.test('other requests, and arguments that are none', { skip }, async (t) => {
  const quick = (await rigs(TREE))(true)
  prove(quick)
  const d = ok(quick.node('d'))
  arena.u32[(IN + fuse_in_header.nodeid) >> 2] = d
  quick.put(NAME, 'top')
  for (let opcode = 0; opcode < 64; opcode++) {
    if (opcode === opcodes.FUSE_LOOKUP || opcode === opcodes.FUSE_LISTXATTR) continue
    arena.u32[(IN + fuse_in_header.opcode) >> 2] = opcode
    for (const size of [0, 4, 8, 24])
      t.equal(native.tryAtOnce(IN, NAME, size, OUT), NOT_AT_ONCE, `opcode ${opcode}`)
  }
  arena.u32[(IN + fuse_in_header.opcode) >> 2] = opcodes.FUSE_LOOKUP
  t.ok(native.tryAtOnce(0xfffffff0, NAME, 4, OUT) < 0)
  t.ok(native.tryAtOnce(IN, 0xfffffff0, 4, OUT) < 0)
  t.ok(native.tryAtOnce(IN, NAME, 4, 0xfffffff0) < 0)
  t.equal(native.tryAtOnce(IN, NAME, 0, OUT), NOT_AT_ONCE)
  t.equal(native.tryAtOnce(IN, NAME, 4, OUT), ENTRY_BYTES)
  quick.entry(0)
  t.strictSame(quick.problemsAtRest(), [])
  quick.end()
})
