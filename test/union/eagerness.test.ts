// How much of a big directory comes with attributes, by what is done with listings.

import t from 'tap'
import { listBytes } from '../../src/union/eagerness.js'
import { OUT_CAPACITY } from '../../src/vfs/arena.js'
import type { Tree } from './disk.js'
import { makeFolders, Rig } from './rig.js'

const skip = process.getuid?.() !== 0 && 'needs root'
const COUNT = 2000
/** Bytes of a record with attributes: 128 + 24 + the name's, in eights. */
const RECORD = 160

function directory(): Tree {
  return Object.fromEntries(Array.from({ length: COUNT }, (_, i) => [`f${i}`, '']))
}

t.test('st_blksize is room for the whole listing, within reason', async (t) => {
  for (const [size, bytes] of [
    [0, 4096],
    [4096, 4096],
    [8192, 32768],
    [60_000, 262_144],
    [2 ** 22, 1 << 20],
  ] as const) {
    t.equal(listBytes(size), bytes, `${size}`)
  }
})

t.test('who looks names up gets whole listings with attributes', { skip }, async (t) => {
  const rig = new Rig(makeFolders([{ a: directory(), b: directory(), c: directory(), d: directory() }]))
  const first = (path: string) => rig.readdirplusPart(rig.node(path), 0, OUT_CAPACITY)
  const few = first('a')
  t.ok(few.length > 120 && few.length * RECORD <= 32 * 1024, `${few.length} at first`)
  const names = rig.readdir('a').map(({ name }) => name)
  for (const name of names.slice(-1200)) t.ok(rig.node(`a/${name}`) > 0)
  t.equal(first('b').length, COUNT + 2)
  // Some who want nothing but the names.
  for (let i = 0; i < 10; i++) rig.readdir('c')
  t.equal(first('d').length, few.length)
  t.strictSame(rig.problemsAtRest(), [])
  rig.end()
})

t.test('names of directories that nobody lists do not count', { skip }, async (t) => {
  const rig = new Rig(makeFolders([{ a: directory(), b: directory() }]))
  for (let i = 0; i < COUNT; i++) t.ok(rig.node(`a/f${i}`) > 0)
  t.ok(rig.readdirplusPart(rig.node('b'), 0, OUT_CAPACITY).length < 1000)
  rig.end()
})
