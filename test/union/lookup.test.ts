// What a name means in a stack of layers: every dialect and stacking rule as a row.

import t from 'tap'
import { dir, fifo, file, opaque, redirected, symlink, type Tree, whiteout } from './disk.js'
import { makeFolders, Rig } from './rig.js'
import { indexOf } from './with-index.js'

const skip = process.getuid?.() !== 0 && 'needs root'

type Row = {
  /** Top first; the first is the upper unless `isReadOnly`. */
  layers: Tree[]
  isReadOnly?: boolean
  /** Path to what it shows: a file's content, names of a directory, `-> target`, or an errno. */
  shows: Record<string, string | string[] | number>
}

const ENOENT = -2
const EIO = -5
const xattrWhiteout = file('', { 'trusted.overlay.whiteout': '' })
const holder = (entries: Tree) => dir(entries, { 'trusted.overlay.opaque': 'x' })

const rows: Record<string, Row> = {
  'the topmost file wins': {
    layers: [{ f: 'up' }, { f: 'one' }, { f: 'two' }],
    shows: { f: 'up' },
  },
  'a file of the lowest layer shows': { layers: [{}, {}, { f: 'two' }], shows: { f: 'two', g: ENOENT } },
  'directories merge': {
    layers: [{ d: { a: 'A' } }, { d: { b: 'B' } }, { d: { a: 'x', c: 'C' } }],
    shows: { d: ['a', 'b', 'c'], 'd/a': 'A', 'd/c': 'C' },
  },
  'a file hides a lower directory and all in it': {
    layers: [{ n: 'file' }, { n: { a: 'A' } }],
    shows: { n: 'file', '': ['n'] },
  },
  'a directory over a file is not merged': {
    layers: [{ n: { a: 'A' } }, { n: 'file' }],
    shows: { n: ['a'] },
  },
  'a file between two directories parts them': {
    layers: [{ n: { a: 'A' } }, { n: 'file' }, { n: { b: 'B' } }],
    shows: { n: ['a'], 'n/b': ENOENT },
  },
  'other types hide as files do': {
    layers: [
      { p: fifo, s: symlink('t') },
      { p: { a: '' }, s: { b: '' } },
    ],
    shows: { s: '-> t', '': ['p', 's'] },
  },
  'a whiteout hides': { layers: [{ f: whiteout }, { f: 'one' }], shows: { f: ENOENT, '': [] } },
  'a whiteout in the middle hides only what is below it': {
    layers: [{}, { f: 'one' }, { f: whiteout }, { f: 'two' }, { g: 'G' }],
    shows: { f: 'one', '': ['f', 'g'] },
  },
  'a whiteout in the middle parts directories': {
    layers: [{}, { d: { a: 'A' } }, { d: whiteout }, { d: { b: 'B' } }],
    shows: { d: ['a'], 'd/b': ENOENT },
  },
  'a whiteout in the lowest layer hides itself': {
    layers: [{}, { f: whiteout }],
    shows: { f: ENOENT, '': [] },
  },
  'an opaque upper directory hides lower names': {
    layers: [{ d: opaque({ a: 'A' }) }, { d: { b: 'B' } }],
    shows: { d: ['a'], 'd/b': ENOENT },
  },
  'an opaque middle directory merges upwards only': {
    layers: [{ d: { a: 'A' } }, { d: opaque({ b: 'B' }) }, { d: { c: 'C' } }],
    shows: { d: ['a', 'b'], 'd/c': ENOENT },
  },
  'opaque does not spread to the parent or to children': {
    layers: [{ d: { e: opaque({ a: 'A' }) } }, { d: { e: { x: '' }, f: { g: 'G' } } }],
    shows: { d: ['e', 'f'], 'd/e': ['a'], 'd/f/g': 'G' },
  },
  'user.overlay. and user.fuseoverlayfs. signs count': {
    layers: [
      {},
      {
        a: dir({ x: '' }, { 'user.overlay.opaque': 'y' }),
        b: dir({ x: '' }, { 'user.fuseoverlayfs.opaque': 'y' }),
      },
      { a: { z: '' }, b: { z: '' } },
    ],
    shows: { a: ['x'], b: ['x'] },
  },
  'opaque with another value is none': {
    layers: [{}, { d: dir({ a: '' }, { 'trusted.overlay.opaque': 'n' }) }, { d: { b: '' } }],
    shows: { d: ['a', 'b'] },
  },
  'an empty file with the whiteout sign hides in a directory that has such': {
    layers: [{}, { d: holder({ f: xattrWhiteout, g: 'G' }) }, { d: { f: 'below', h: 'H' } }],
    shows: { d: ['g', 'h'], 'd/f': ENOENT },
  },
  'elsewhere it is an empty file': {
    layers: [{}, { d: { f: xattrWhiteout } }, { d: { f: 'below' } }],
    shows: { d: ['f'], 'd/f': '' },
  },
  'a .wh. name hides below its layer and is not shown': {
    layers: [{}, { '.wh.f': '' }, { f: 'two', g: 'G' }],
    shows: { f: ENOENT, '.wh.f': ENOENT, '': ['g'] },
  },
  'a .wh. name beside a real one applies to the layers below only': {
    layers: [{}, { '.wh.f': '', f: 'one' }, { f: 'two' }],
    shows: { f: 'one', '': ['f'] },
  },
  'a .wh. name beside a real directory keeps it from merging': {
    layers: [{}, { '.wh.d': '', d: { a: '' } }, { d: { b: '' } }],
    shows: { d: ['a'], 'd/b': ENOENT },
  },
  '.wh..wh..opq makes its directory opaque and hides no sibling': {
    layers: [{}, { d: { '.wh..wh..opq': '', a: 'A' } }, { d: { b: 'B' } }],
    shows: { d: ['a'], 'd/b': ENOENT },
  },
  '.wh..wh..opq in the root of a layer': {
    layers: [{}, { '.wh..wh..opq': '', a: 'A' }, { b: 'B' }],
    shows: { '': ['a'], b: ENOENT },
  },
  'a redirect to another name in the same directory': {
    layers: [{ new: redirected('old', { a: 'A' }), old: whiteout }, { old: { b: 'B' } }],
    shows: { '': ['new'], new: ['a', 'b'], 'new/b': 'B', old: ENOENT },
  },
  'a redirect to a path': {
    layers: [{ new: redirected('/x/old'), x: { old: whiteout } }, { x: { old: { b: { c: 'C' } } } }],
    shows: { new: ['b'], 'new/b/c': 'C', x: [] },
  },
  'a redirect in the middle bends only what is below it': {
    layers: [
      { new: { u: '' } },
      { new: redirected('old', { a: '' }), old: whiteout },
      { old: { b: '' }, new: { z: '' } },
    ],
    shows: { new: ['a', 'b', 'u'] },
  },
  'redirects one after the other': {
    layers: [
      { third: redirected('/second'), second: whiteout },
      { second: redirected('/first', { b: 'B' }), first: whiteout },
      { first: { c: 'C' } },
    ],
    shows: { '': ['third'], third: ['b', 'c'], 'third/c': 'C' },
  },
  'a path followed by a name': {
    layers: [
      { third: redirected('/d/second') },
      { d: { second: redirected('first', { b: 'B' }), first: whiteout } },
      { d: { first: { c: 'C' } } },
    ],
    shows: { third: ['b', 'c'] },
  },
  'a redirect to what is a file or not there': {
    layers: [{ a: redirected('/f', { x: '' }), b: redirected('/none', { y: '' }) }, { f: 'F' }],
    shows: { a: ['x'], b: ['y'] },
  },
  'a redirect on the way of a redirect': {
    layers: [
      { top: redirected('/b/sub') },
      { b: redirected('/a', { own: 'O' }), a: whiteout },
      { a: { sub: { f: 'F' } } },
    ],
    shows: { top: ['f'], b: ['own', 'sub'] },
  },
  'a relative redirect on the way of a redirect': {
    layers: [
      { top: redirected('/x/b/sub') },
      { x: { b: redirected('a', { sub: { g: 'G' } }), a: whiteout } },
      { x: { a: { sub: { f: 'F' } }, b: { sub: { wrong: '' } } } },
    ],
    shows: { top: ['f', 'g'] },
  },
  'a redirect does not lead out of the layer': {
    layers: [
      {},
      { a: redirected('/../../../etc', { x: '' }), b: redirected('..', { y: '' }) },
      { a: {}, b: {} },
    ],
    shows: { a: EIO, 'a/passwd': EIO, b: EIO, 'b/lower0': EIO },
  },
  'names of 255 bytes and of any bytes': {
    layers: [{ ['n'.repeat(255)]: whiteout }, { ['n'.repeat(255)]: 'x', 'ä ö\n': 'umlauts' }],
    shows: { ['n'.repeat(255)]: ENOENT, 'ä ö\n': 'umlauts' },
  },
  'without an upper all is the same': {
    isReadOnly: true,
    layers: [
      { f: whiteout, d: opaque({ a: '' }) },
      { f: 'x', d: { b: '' }, g: 'G' },
    ],
    shows: { '': ['d', 'g'], d: ['a'], g: 'G' },
  },
}

function shown(rig: Rig, path: string): string | string[] | number {
  const node = rig.node(path)
  if (node < 0) return node
  const type = rig.attrOf(node).mode & 0o170000
  if (type === 0o040000) return rig.names(path)
  return type === 0o120000 ? `-> ${rig.readlink(path)}` : rig.read(path)
}

const cases = Object.entries(rows).flatMap(([name, row]) => [
  [name, row, false] as const,
  [`${name}, by an index`, row, true] as const,
])
for (const [name, row, isIndexed] of cases) {
  t.test(name, { skip }, async (t) => {
    const [first, ...rest] = row.layers
    const folders = row.isReadOnly === true ? makeFolders(row.layers, null) : makeFolders(rest, first!)
    const rig = new Rig(folders, isIndexed ? { indexFd: (await indexOf(folders)).indexFd } : {})
    // Often enough that tables of the lowers take over.
    for (let round = 0; round < 30; round++) {
      for (const [path, expected] of Object.entries(row.shows)) {
        const what = shown(rig, path)
        if (round === 0 || round === 29 || JSON.stringify(what) !== JSON.stringify(expected)) {
          t.strictSame(what, expected, `${path || '/'} in round ${round}`)
        }
      }
      rig.forgetAll()
    }
    t.strictSame(rig.problemsAtRest(), [])
    rig.end()
  })
}

t.test(
  'an upper whose directories were renamed twice, with layers on top of it since',
  { skip },
  async (t) => {
    const base: Tree = { a: { sub: { f: 'F' }, g: 'G' } }
    const one = new Rig(makeFolders([base]))
    t.equal(one.rename('a', 'b'), 0)
    one.end()
    const { lowers, upper } = one.folders
    // The upper becomes a layer; a directory below the renamed one is renamed in the next upper.
    const next = makeFolders([])
    const two = new Rig({ ...next, lowers: [upper!, ...lowers] })
    t.equal(two.read('b/sub/f'), 'F')
    t.equal(two.rename('b/sub', 'c'), 0)
    t.equal(two.read('c/f'), 'F')
    t.strictSame(two.names('b'), ['g'])
    two.end()
    const again = new Rig({ ...next, lowers: [upper!, ...lowers] })
    t.strictSame(again.names('c'), ['f'], 'after a remount')
    t.strictSame(again.names('b'), ['g'])
    again.end()
  },
)
