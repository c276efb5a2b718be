// Directories are listed by native code where they are plain, by TypeScript where not: both must say the same.

import { EventEmitter } from 'node:events'
import t from 'tap'
import { EAGAIN } from '../../src/base/errno.js'
import { type Native, native } from '../../src/sys/native.js'
import { hashAt } from '../../src/union/dir-list.js'
import { device, dir, fifo, file, symlink, type Tree, whiteout } from './disk.js'
import { type Folders, makeFolders, Rig } from './rig.js'
import { indexOf } from './with-index.js'

// Every folder is removed at the end of the process.
EventEmitter.defaultMaxListeners = 0

const skip = process.getuid?.() !== 0 && 'needs root'

/** The addon, with a note of how listings ended, which may be forbidden. */
function watched(isForbidden: boolean) {
  const ends = { plain: 0, notPlain: 0, indexed: 0 }
  const sys: Native = new Proxy(native, {
    get(target, name: keyof Native) {
      if (!/^list(Directory|Entries|Sort)$/.test(name)) return target[name]
      return (...args: unknown[]) => {
        const isSort = name === 'listSort'
        if (name === 'listEntries') ends.indexed++
        const r = isForbidden && !isSort ? -EAGAIN : Reflect.apply(target[name] as () => number, native, args)
        if (r === -EAGAIN) ends.notPlain++
        if (isSort) ends.plain++
        return r
      }
    },
  })
  return { ends, sys }
}

/** Lists a directory of the same layers in both ways and returns what native code could do. */
function compare(lowers: Tree[], upper: Tree | null, path = '') {
  return compareFolders(makeFolders(lowers, upper), path)
}

function compareFolders(folders: Folders, path: string, index?: { indexFd: number }) {
  const natively = watched(false)
  const one = new Rig(folders, { sys: natively.sys, ...index })
  const listed = one.readdir(path)
  const plus = one.readdirplus(path)
  t.strictSame(one.problemsAtRest(), [])
  one.end()
  const other = new Rig(folders, { sys: watched(true).sys })
  const expected = other.readdir(path)
  t.strictSame(other.problemsAtRest(), [])
  other.end()
  const facts = (all: typeof listed) => all.map(({ name, type, ino, cookie }) => [name, type, ino, cookie])
  t.strictSame(facts(listed), facts(expected))
  t.strictSame(facts(plus), facts(expected))
  return { names: listed.map(({ name }) => name), ...natively.ends }
}

/** Names of which some have one key. */
function colliding(): string[] {
  const byKey = new Map<number, string>()
  const found: string[] = []
  for (let i = 0; found.length < 8; i++) {
    const bytes = Buffer.from(`n${i.toString(36)}`)
    const key = (hashAt(bytes, 0, bytes.length) >>> 8) % (2 ** 24 - 3)
    const other = byKey.get(key)
    if (other !== undefined) found.push(other, bytes.toString())
    byKey.set(key, bytes.toString())
  }
  return found
}

t.test('one directory with everything that is plain', { skip }, async (t) => {
  const tree: Tree = {
    f: 'x',
    d: dir({ inner: '' }),
    l: symlink('f'),
    p: fifo,
    null: device(0x103),
    '.hidden': '',
  }
  for (let length = 1; length <= 255; length++) tree['n'.repeat(length)] = ''
  for (const upper of [null, {}]) {
    const { names, plain, notPlain } = compare([tree], upper)
    t.equal(names.length, 2 + 6 + 255)
    t.ok(plain > 0)
    t.equal(notPlain, 0)
  }
})

t.test('names of one key, in several layers', { skip }, async (t) => {
  const names = colliding()
  const layer = (from: number, to: number): Tree =>
    Object.fromEntries(names.slice(from, to).map((name) => [name, 'x']))
  const { names: listed, plain, notPlain } = compare([layer(0, 6), layer(2, 8)], layer(4, 8))
  t.strictSame(listed.slice(2).sort(), [...names].sort())
  t.equal(notPlain, 0)
  t.ok(plain > 0)
})

t.test('whiteouts of the kernel’s form hide, in an upper and between lowers', { skip }, async (t) => {
  const { names, notPlain } = compare(
    [
      { a: 'a', b: whiteout, kept: '' },
      { a: 'old', b: 'b', c: 'c', gone: 'x' },
    ],
    { c: whiteout, gone: whiteout, nowhere: whiteout },
  )
  t.strictSame(names.sort(), ['.', '..', 'a', 'kept'])
  t.equal(notPlain, 0)
})

t.test('what is not plain is left to TypeScript', { skip }, async (t) => {
  const marked = dir(
    { w: file('', { 'trusted.overlay.whiteout': 'y' }), f: 'x' },
    { 'trusted.overlay.opaque': 'x' },
  )
  const cases: [string, string[], Tree[], Tree | null][] = [
    ['a name of the AUFS dialect', ['y'], [{ '.wh.x': '', y: '' }, { x: 'x' }], {}],
    ['a directory of the upper and a lower', ['d'], [{ d: dir({ l: '' }) }], { d: dir({ u: '' }) }],
    ['whiteouts in attributes', ['f', 'g'], [{ d: marked }, { d: dir({ w: 'below', g: '' }) }], null],
  ]
  for (const [title, expected, lowers, upper] of cases) {
    const { names, notPlain } = compare(lowers, upper, title.startsWith('whiteouts') ? 'd' : '')
    t.strictSame(names.slice(2).sort(), expected, title)
    // Attributes are looked at before the names are.
    t.equal(notPlain > 0, upper !== null, title)
  }
})

let seed = 4711
function random(below: number): number {
  seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
  return (seed >>> 8) % below
}

function randomLayer(): Tree {
  const tree: Tree = {}
  for (let i = random(60); i > 0; i--) {
    const name = `${'x'.repeat(random(4) === 0 ? random(60) : 0)}${random(80)}`
    const kind = random(8)
    tree[name] = kind === 0 ? dir({}) : kind === 1 ? symlink('s') : kind === 2 ? whiteout : 'file'
  }
  return tree
}

t.test('random layers', { skip }, async (t) => {
  let plain = 0
  for (let round = 0; round < 40; round++) {
    const lowers = Array.from({ length: 1 + random(4) }, randomLayer)
    plain += compare(lowers, random(3) === 0 ? null : randomLayer()).plain
  }
  t.ok(plain > 10, `${plain} listings were plain`)
})

t.test('many random layers with an index', { skip }, async (t) => {
  let indexed = 0
  let plain = 0
  for (let round = 0; round < 20; round++) {
    const lowers = Array.from({ length: 1 + random(6) }, randomLayer)
    // Now and then something that only the layers can tell.
    if (round % 5 === 4) lowers[0]!.d0 = dir({}, { 'trusted.overlay.redirect': 'elsewhere' })
    const folders = makeFolders(lowers, random(3) === 0 ? null : randomLayer())
    const found = compareFolders(folders, '', await indexOf(folders))
    indexed += found.indexed
    plain += found.plain
    for (const name of found.names.slice(2)) t.ok(name.length > 0)
  }
  t.ok(indexed > 10, `${indexed} listings came from the index`)
  t.ok(plain > 5, `${plain} listings were plain`)
})
