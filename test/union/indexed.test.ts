// A union with an index of its lowers shows what it shows without: names, types, inos, link counts,
// attributes, listings; on random layers with all markers, and after changes. And it asks the layers nothing.

import { openSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { sumCounters } from '../../src/fuse/session-shared.js'
import { type Native, native } from '../../src/sys/native.js'
import { dir, file, link, opaque, redirected, symlink, type Tree, whiteout } from './disk.js'
import { makeFolders, ok, Rig, view } from './rig.js'
import { indexOf } from './with-index.js'

const skip = process.getuid?.() !== 0 && 'needs root'

/** A small generator of numbers, so that a failure can be had again. */
function generator(seed: number): (below: number) => number {
  let state = seed | 0
  return (below) => {
    state = (Math.imul(state, 1103515245) + 12345) | 0
    return (state >>> 8) % below
  }
}

const NAMES = ['a', 'b', 'c', 'd', 'e']

function randomTree(random: (below: number) => number, depth: number, path: string, files: string[]): Tree {
  const tree: Tree = {}
  for (const name of NAMES) {
    const here = path === '' ? name : `${path}/${name}`
    const below = (): Tree => randomTree(random, depth - 1, here, files)
    const kind = random(depth > 0 ? 14 : 8)
    if (kind === 0 || kind === 1) {
      tree[name] = file('x'.repeat(random(5)), random(3) === 0 ? { 'user.note': 'n' } : {}, 0o640 + random(8))
      files.push(here)
    } else if (kind === 2) tree[name] = whiteout
    else if (kind === 3) tree[`.wh.${name}`] = ''
    else if (kind === 4) tree[name] = symlink('a/b')
    else if (kind === 5 && files.length > 0) tree[name] = link(files[random(files.length)]!)
    else if (kind === 8) tree[name] = opaque(below())
    else if (kind === 9) tree[name] = redirected(random(2) === 0 ? '/a' : 'b', below())
    else if (kind === 10) tree[name] = { '.wh..wh..opq': '', ...below() }
    else if (kind === 11) {
      const hidden = file('', { 'trusted.overlay.whiteout': '' })
      tree[name] = dir({ ...below(), h: hidden }, { 'trusted.overlay.opaque': 'x' })
    } else if (kind > 11) tree[name] = dir(below(), {}, 0o750 + random(8))
  }
  return tree
}

/** What READDIRPLUS tells of a directory and all below. */
function listed(rig: Rig, path = '', into: Record<string, string> = {}): Record<string, string> {
  rig.onReaddirplus = (name, attr) => {
    into[`${path}/${name} (listed)`] = `${attr.ino} ${attr.mode} ${attr.nlink} ${attr.size}`
  }
  for (const { name, type } of rig.readdirplus(path)) {
    if (type === 4 && name !== '.' && name !== '..') listed(rig, `${path}/${name}`, into)
  }
  return into
}

/** The lines that two views do not have in common. */
function differences(a: Record<string, string>, b: Record<string, string>): string[] {
  const paths = [...new Set([...Object.keys(a), ...Object.keys(b)])].sort()
  return paths.filter((path) => a[path] !== b[path]).map((path) => `${path}: ${a[path]} | ${b[path]}`)
}

t.test('random layers show the same with an index', { skip }, async (t) => {
  let atOnce = 0
  for (let seed = 1; seed <= 60; seed++) {
    const random = generator(seed)
    const lowers = Array.from({ length: 1 + random(5) }, () => randomTree(random, 3, '', []))
    const upper = random(4) === 0 ? null : random(2) === 0 ? {} : randomTree(random, 2, '', [])
    const folders = makeFolders(lowers, upper)
    const plain = new Rig(folders)
    const expected = { ...view(plain), ...listed(plain) }
    plain.end()
    const { indexFd } = await indexOf(folders)
    const rig = new Rig(folders, { indexFd })
    const isSame = t.strictSame(differences(expected, { ...listed(rig), ...view(rig) }), [], `seed ${seed}`)
    rig.forgetAll()
    t.strictSame(differences(view(rig), view(rig)), [], `seed ${seed}, again`)
    t.strictSame(rig.problemsAtRest(), [])
    rig.end()
    const quick = new Rig(folders, { indexFd, isQuick: true })
    t.strictSame(differences(expected, { ...view(quick), ...listed(quick) }), [], `seed ${seed}, at once`)
    t.strictSame(quick.problemsAtRest(), [])
    atOnce += sumCounters(quick.shared).LOOKUP?.requests ?? 0
    quick.end()
    if (!isSame) break
  }
  t.ok(atOnce > 500, `${atOnce} lookups were answered by native code`)
})

t.test('what was changed through the mount shows the same after a remount', { skip }, async (t) => {
  const base: Tree = { d: { e: { f: 'F', g: 'G' }, h: 'H' }, k: { l: 'L' }, m: 'M', n: link('m') }
  const folders = makeFolders([{ d: { e: { i: 'I' } } }, base, { d: { e: { j: 'J' } } }])
  const { indexFd } = await indexOf(folders)
  const rig = new Rig(folders, { indexFd })
  t.equal(rig.rename('d', 'moved'), 0)
  t.strictSame(rig.names('moved/e'), ['f', 'g', 'i', 'j'])
  t.equal(rig.rename('moved/e', 'e2'), 0)
  t.equal(rig.unlink('e2/g'), 0)
  t.equal(rig.make('e2/new', 'N'), 0)
  t.equal(rig.write('m', 'changed'), 0)
  t.equal(rig.unlink('k/l'), 0)
  t.equal(rig.rmdir('k'), 0)
  t.equal(rig.mkdir('k'), 0)
  t.strictSame(rig.names('k'), [])
  t.strictSame(rig.names('e2'), ['f', 'i', 'j', 'new'])
  const shown = view(rig)
  t.strictSame(rig.problemsAtRest(), [])
  rig.end()
  for (const options of [{}, { indexFd }]) {
    const again = new Rig(folders, options)
    t.strictSame(differences(view(again), shown), [], 'indexFd' in options ? 'with the index' : 'without')
    t.equal(again.errno('e2/g'), -2)
    t.equal(again.read('e2/f'), 'F')
    again.end()
  }
})

/** The native calls that look at files, counted. */
function counting(): { sys: Native; calls: string[] } {
  const calls: string[] = []
  const sys = { ...native } as unknown as Record<string, (...args: never[]) => unknown>
  for (const name of [
    'statAt',
    'statMany',
    'statLayers',
    'openAt',
    'getdents',
    'listXattrAt',
    'getXattrAt',
  ]) {
    const real = sys[name]!
    sys[name] = (...args) => {
      calls.push(name)
      return real(...args)
    }
  }
  return { sys: sys as unknown as Native, calls }
}

t.test('lowers that are indexed are asked nothing', { skip }, async (t) => {
  const lowers = Array.from({ length: 12 }, (_, i): Tree => ({ d: { [`f${i}`]: 'x', s: { [`g${i}`]: '' } } }))
  const folders = makeFolders(lowers)
  const { sys, calls } = counting()
  const rig = new Rig(folders, { indexFd: (await indexOf(folders)).indexFd, sys })
  // The upper has no `d` itself: below it nothing of the upper can be.
  const d = ok(rig.node('d'))
  calls.length = 0
  for (let i = 0; i < 12; i++) t.equal(rig.attrOf(ok(rig.node(`d/f${i}`))).size, 1)
  t.equal(rig.errno('d/none'), -2)
  t.equal(rig.readdirplus('d/s').length, 14)
  t.equal(rig.attrOf(d).nlink, 1)
  t.strictSame(calls, [])
  rig.end()
})

t.test('an index that turns out damaged is used no more', { skip }, async (t) => {
  const folders = makeFolders([{ d: { f: 'F' } }, { d: { g: 'G' } }])
  const { path } = await indexOf(folders)
  const plain = new Rig(folders)
  const expected = view(plain)
  plain.end()
  const good = readFileSync(path)
  // A bit in each block after the header, the checksums and the stamps: found when it is first looked at.
  for (let at = 3 * 4096; at < good.length; at += 4096) {
    const bad = Buffer.from(good)
    bad[at + 40]! ^= 4
    writeFileSync(path, bad)
    let rig: Rig
    try {
      rig = new Rig(folders, { indexFd: openSync(path, 'r') })
    } catch (error) {
      t.match((error as Error).message, /damaged/, 'the root can not be had')
      continue
    }
    const told: string[] = []
    rig.fs.union.onDamage = (damage) => told.push(damage)
    t.strictSame(view(rig), expected, `damage at ${at}`)
    t.ok(told.length <= 1)
    t.strictSame(rig.problemsAtRest(), [])
    rig.end()
  }
})

t.test('a file that is cut while it is mapped ends the use of it, not the process', { skip }, async (t) => {
  const many: Tree = {}
  for (let i = 0; i < 300; i++) many[`file-${i}`] = ''
  const folders = makeFolders([{ d: many }, { d: { g: 'G' } }])
  const { indexFd, path } = await indexOf(folders)
  const rig = new Rig(folders, { indexFd })
  const told: string[] = []
  rig.fs.union.onDamage = (damage) => told.push(damage)
  t.ok(rig.node('d/g') > 0)
  truncateSync(path, 4096)
  t.equal(rig.names('d').length, 301)
  for (let i = 0; i < 300; i++) ok(rig.node(`d/file-${i}`))
  t.equal(rig.errno('d/none'), -2)
  t.equal(told.length, 1)
  rig.end()
})
