// The shared tables one by one: name arena, dentries, nodes and the link table, stacks of reals.

import { readFileSync } from 'node:fs'
import t from 'tap'
import { native } from '../../src/sys/native.js'
import {
  addDentry,
  D_HASH,
  D_LENGTH,
  D_NAME,
  D_NODE,
  findDentry,
  hashName,
  moveDentries,
  removeDentry,
} from '../../src/union/dentry-table.js'
import {
  freeReals,
  pathIn,
  Reals,
  readReals,
  releasePaths,
  topLayer,
  writeReals,
} from '../../src/union/dir-stack.js'
import {
  addLinked,
  allocNode,
  at,
  findLinked,
  freeNode,
  isLive,
  N_CHILDREN,
  N_DENTRY,
  N_GENERATION,
  N_INFO,
  N_INO,
  N_LAYER,
  N_LOOKUPS,
  removeLinked,
  T_DIR,
  T_REG,
} from '../../src/union/inode-table.js'
import { NameArena } from '../../src/union/name-arena.js'
import { slabStateBytes } from '../../src/union/slabs.js'
import { createTables, DENTRY_WORDS, H_SLOTS, ROOT, type UnionConfig } from '../../src/union/state.js'
import { Tables } from '../../src/union/tables.js'
import { Trimmer } from '../../src/union/trim.js'
import { checkTables } from './consistency.js'

function tables(maxNodes = 16384) {
  const config = { maxNodes, maxFds: 64, isUnlocked: false } as UnionConfig
  const state = createTables(config)
  const tables = new Tables(state)
  tables.nodes[at(ROOT) + N_INFO] = T_DIR
  tables.nodes[at(ROOT) + N_LOOKUPS] = 1
  return { state, tables }
}

/** A sequence of numbers below `limit` that is the same in every run. */
function dice(seed: number): (limit: number) => number {
  let x = seed
  return (limit) => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0
    return Math.floor((x / 2 ** 32) * limit)
  }
}

const bytesOf = (text: string) => new TextEncoder().encode(text)

t.test('blocks of the name arena never overlap, whatever their sizes', async (t) => {
  const {
    tables: { names },
  } = tables()
  const roll = dice(1)
  const live = new Map<number, number>()
  const sizes = [1, 7, 8, 9, 255, 256, 4096, 4152, 4153, 4160, 4161, 8192, 8193, 20000]
  for (let i = 0; i < 4000; i++) {
    if (roll(3) > 0 || live.size === 0) {
      const size = roll(2) === 0 ? sizes[roll(sizes.length)]! : 1 + roll(300)
      const ref = names.alloc(size)
      if (ref === 0) continue
      for (const [other, length] of live) {
        const isApart =
          names.offset(ref) >= names.offset(other) + length || names.offset(other) >= names.offset(ref) + size
        if (!isApart) t.fail(`${ref} and ${other} overlap`)
      }
      names.bytes.fill(0xee, names.offset(ref), names.offset(ref) + size)
      live.set(ref, size)
    } else {
      const [ref] = [...live][roll(live.size)]!
      names.free(ref)
      live.delete(ref)
    }
  }
  t.ok(live.size > 0)
})

t.test('a freed block is given out again for its size', async (t) => {
  const {
    tables: { names },
  } = tables()
  for (const size of [1, 8, 9, 300, 4152, 4160, 5000, 100_000]) {
    const ref = names.alloc(size)
    t.ok(ref < 0)
    names.free(ref)
    t.equal(names.alloc(size), ref, `${size} bytes`)
  }
})

t.test('a full name arena says so and stays whole', async (t) => {
  const names = new NameArena(
    new SharedArrayBuffer(1024),
    new SharedArrayBuffer(slabStateBytes(NameArena.shape(1024))),
  )
  names.slabs.reserve(1)
  // One of its two chunks is for blocks of 8 bytes, as unit 0 is in it.
  let count = 0
  while (names.alloc(16) !== 0) count++
  t.equal(count, 32)
  while (names.store(bytesOf('name'), 0, 4) < 0) count++
  t.equal(count, 32 + 63)
  for (const size of [1, 16, 100]) t.equal(names.alloc(size), 0)
  t.strictSame(names.slabs.inspect().problems, [])
})

t.test('a stored name is there with its NUL', async (t) => {
  const {
    tables: { names },
  } = tables()
  const ref = names.store(bytesOf('xxnamexx'), 2, 4)
  t.equal(Buffer.from(names.bytes.slice(names.offset(ref), names.offset(ref) + 5)).toString(), 'name\0')
})

t.test('the dentry table agrees with a map through random changes', async (t) => {
  const { state, tables: table } = tables(32768)
  const roll = dice(2)
  const model = new Map<string, number>()
  const parents = [ROOT]
  for (let i = 0; i < 20; i++) parents.push(allocNode(table, T_DIR))
  const firstSlots = table.header[H_SLOTS]
  const key = (parent: number, name: string) => `${parent}/${name}`
  for (let i = 0; i < 60_000; i++) {
    const parent = parents[roll(parents.length)]!
    const name = `${'x'.repeat(roll(4))}${roll(300)}`
    const bytes = bytesOf(name)
    const hash = hashName(parent, bytes, 0, bytes.length)
    const dentry = findDentry(table, parent, hash, bytes, 0, bytes.length)
    const known = model.get(key(parent, name))
    if ((dentry === 0 ? undefined : table.dentries[dentry * DENTRY_WORDS + D_NODE]) !== known)
      t.fail(`${name} is ${dentry}`)
    if (dentry === 0 && roll(3) > 0) {
      const node = allocNode(table, T_REG)
      if (addDentry(table, parent, hash, bytes, 0, bytes.length, node) === 0) throw new Error('full')
      table.nodes[at(node) + N_LOOKUPS] = 1
      model.set(key(parent, name), node)
    } else if (dentry !== 0 && roll(3) === 0) {
      removeDentry(table, dentry)
      freeNode(table, known!)
      model.delete(key(parent, name))
    }
  }
  t.ok(table.header[H_SLOTS]! > firstSlots!, 'it grew')
  for (const parent of parents) table.nodes[at(parent) + N_LOOKUPS] = 1
  // The parents themselves have no names here.
  const problems = checkTables(state).problems.filter((line) => !/has a name and has none/.test(line))
  t.strictSame(problems, [])
})

t.test('names of one hash in a row survive each other’s removal', async (t) => {
  const { tables: table } = tables(8192)
  const mask = table.header[H_SLOTS]! - 1
  // Names whose home is one of the last three slots: the run wraps around the end of the table.
  const names: { bytes: Uint8Array; hash: number; dentry: number }[] = []
  for (let i = 0; names.length < 40; i++) {
    const bytes = bytesOf(`n${i}`)
    const hash = hashName(ROOT, bytes, 0, bytes.length)
    if ((hash & mask) < mask - 2) continue
    const node = allocNode(table, T_REG)
    names.push({ bytes, hash, dentry: addDentry(table, ROOT, hash, bytes, 0, bytes.length, node) })
  }
  const roll = dice(3)
  while (names.length > 0) {
    const [gone] = names.splice(roll(names.length), 1)
    removeDentry(table, gone!.dentry)
    t.equal(findDentry(table, ROOT, gone!.hash, gone!.bytes, 0, gone!.bytes.length), 0)
    for (const { bytes, hash, dentry } of names) {
      if (findDentry(table, ROOT, hash, bytes, 0, bytes.length) !== dentry) t.fail('a name was lost')
    }
  }
  t.equal(table.nodes[at(ROOT) + N_CHILDREN], 0)
})

t.test('a node has all its names, and another can take them over', async (t) => {
  const { tables: table } = tables()
  const node = allocNode(table, T_REG)
  const heir = allocNode(table, T_REG)
  const add = (name: string) => {
    const bytes = bytesOf(name)
    return addDentry(table, ROOT, hashName(ROOT, bytes, 0, bytes.length), bytes, 0, bytes.length, node)
  }
  const dentries = [add('a'), add('b'), add('c')]
  removeDentry(table, dentries[1]!)
  moveDentries(table, node, heir)
  t.equal(table.nodes[at(node) + N_DENTRY], 0)
  t.strictSame(
    [dentries[0]!, dentries[2]!].map((d) => table.dentries[d * DENTRY_WORDS + D_NODE]),
    [heir, heir],
  )
  t.equal(table.nodes[at(ROOT) + N_CHILDREN], 2)
  const d = dentries[0]! * DENTRY_WORDS
  t.equal(table.dentries[d + D_LENGTH], 1)
  t.ok(table.dentries[d + D_NAME]! < 0)
  t.type(table.dentries[d + D_HASH], 'number')
})

t.test('a full table of nodes or names takes no more and loses nothing', async (t) => {
  const { state, tables: table } = tables(1024)
  let count = 0
  for (;;) {
    const node = allocNode(table, T_REG)
    if (node === 0) break
    const bytes = bytesOf(`name ${count}`)
    const dentry = addDentry(
      table,
      ROOT,
      hashName(ROOT, bytes, 0, bytes.length),
      bytes,
      0,
      bytes.length,
      node,
    )
    if (dentry === 0) throw new Error('no dentry')
    table.nodes[at(node) + N_LOOKUPS] = 1
    count++
  }
  t.equal(count, 1022)
  t.ok(table.header[H_SLOTS]! <= table.slots.length, 'no slot beyond the memory')
  t.strictSame(checkTables(state).problems, [])
})

t.test('a freed node is used again under another generation', async (t) => {
  const { tables: table } = tables()
  const node = allocNode(table, T_REG)
  const generation = table.nodes[at(node) + N_GENERATION]!
  t.ok(isLive(table, node))
  freeNode(table, node)
  t.notOk(isLive(table, node))
  t.equal(allocNode(table, T_DIR), node)
  t.equal(table.nodes[at(node) + N_GENERATION], generation + 1)
  t.equal(table.nodes[at(node) + N_INFO], T_DIR)
  for (const wrong of [0, -1, table.nodeSlabs.end, 2 ** 31, 2 ** 40, Number.NaN])
    t.notOk(isLive(table, wrong))
})

t.test('a generation wraps without turning negative', async (t) => {
  const { tables: table } = tables()
  const node = allocNode(table, T_REG)
  table.nodes[at(node) + N_GENERATION] = 0x7fffffff
  freeNode(table, node)
  allocNode(table, T_REG)
  t.equal(table.nodes[at(node) + N_GENERATION], 0)
})

t.test('linked nodes are found by ino and layer, and no longer once removed', async (t) => {
  const { tables: table } = tables()
  const roll = dice(4)
  const nodes: { node: number; lo: number; hi: number; layer: number }[] = []
  for (let i = 0; i < 3000; i++) {
    const node = allocNode(table, T_REG)
    const [lo, hi, layer] = [roll(50) - 25, roll(5) - 2, i]
    table.nodes.set([lo, hi], at(node) + N_INO)
    table.nodes[at(node) + N_LAYER] = layer
    addLinked(table, node)
    addLinked(table, node)
    nodes.push({ node, lo, hi, layer })
  }
  while (nodes.length > 0) {
    for (const { hi, layer, lo, node } of nodes.slice(0, 5))
      if (findLinked(table, lo, hi, layer) !== node) t.fail('not found')
    const [gone] = nodes.splice(roll(nodes.length), 1)
    removeLinked(table, gone!.node)
    removeLinked(table, gone!.node)
    if (findLinked(table, gone!.lo, gone!.hi, gone!.layer) !== 0) t.fail('still found')
    if (nodes.length > 50) for (const { node } of nodes.splice(50)) removeLinked(table, node)
  }
})

t.test('a directory’s reals are stored, read, replaced and freed', async (t) => {
  const { state, tables: table } = tables()
  const node = allocNode(table, T_DIR)
  table.nodes[at(node) + N_LOOKUPS] = 1
  const reals = new Reals()
  const out = new Reals()
  reals.push(3, 0)
  t.ok(writeReals(table, node, reals))
  readReals(table, node, out)
  t.strictSame([out.count, out.layers[0], out.paths[0], topLayer(table, node)], [1, 3, 0, 3])
  for (const count of [2, 5, 512]) {
    reals.count = 0
    for (let i = 0; i < count; i++)
      reals.push(i, i % 3 === 1 ? table.names.store(bytesOf(`path ${i}`), 0, 6) : 0)
    t.ok(writeReals(table, node, reals))
    readReals(table, node, out)
    t.strictSame(out.layers.slice(0, count), reals.layers.slice(0, count))
    t.strictSame(out.paths.slice(0, count), reals.paths.slice(0, count))
    t.equal(pathIn(table, node, 1), reals.paths[1])
    t.equal(pathIn(table, node, 0), 0)
    t.equal(pathIn(table, node, count), 0, 'a layer without it')
    freeReals(table, node)
  }
  reals.count = 0
  reals.push(1, table.names.store(bytesOf('unused'), 0, 6))
  releasePaths(table, reals)
  t.equal(reals.count, 0)
  t.equal(checkTables(state).usedUnits, 0, 'all memory is back')
})

/** Fills a table with nodes that have a name each; returns them. */
function fill(table: Tables, count: number, prefix = 'name '): { node: number; dentry: number }[] {
  return Array.from({ length: count }, (_, i) => {
    const node = allocNode(table, T_REG)
    const bytes = bytesOf(`${prefix}${i}`)
    const hash = hashName(ROOT, bytes, 0, bytes.length)
    table.nodes[at(node) + N_LOOKUPS] = 1
    return { node, dentry: addDentry(table, ROOT, hash, bytes, 0, bytes.length, node) }
  })
}

function drop(table: Tables, each: { node: number; dentry: number }): void {
  removeDentry(table, each.dentry)
  freeNode(table, each.node)
}

/** The system's view: pages of the tables that are in memory. */
function residentBytes(): number {
  return Number(/^RssAnon:\s*(\d+)/m.exec(readFileSync('/proc/self/status', 'latin1'))![1]) * 1024
}

t.test('what nobody uses goes back to the system, and what is used stays', async (t) => {
  const { state, tables: table } = tables(1 << 20)
  const count = 300_000
  const before = residentBytes()
  const all = fill(table, count)
  const filled = residentBytes()
  const kept = all.filter((_, i) => i % 50_000 === 7)
  for (const each of all) if (!kept.includes(each)) drop(table, each)
  new Trimmer(state, native).trim()
  const trimmed = residentBytes()
  t.ok(filled - before > count * 100, `${filled - before} bytes were taken`)
  t.ok(trimmed - before < (filled - before) / 3, `${trimmed - before} are left`)
  t.strictSame(checkTables(state).problems, [])
  for (const [i, { node, dentry }] of kept.entries()) {
    const bytes = bytesOf(`name ${i * 50_000 + 7}`)
    t.equal(findDentry(table, ROOT, hashName(ROOT, bytes, 0, bytes.length), bytes, 0, bytes.length), dentry)
    t.ok(isLive(table, node))
  }
  fill(table, 1)
  t.strictSame(checkTables(state).problems, [], 'and it is used again')
})

t.test('a nodeid never comes back with a generation that it had', async (t) => {
  const { state, tables: table } = tables(1 << 16)
  const trimmer = new Trimmer(state, native)
  const seen = new Set<string>()
  for (let round = 0; round < 4; round++) {
    const all = fill(table, 20_000)
    for (const { node } of all) {
      const pair = `${node}:${table.nodes[at(node) + N_GENERATION]}`
      if (seen.has(pair)) t.fail(`${pair} again`)
      seen.add(pair)
    }
    for (const each of all) drop(table, each)
    if (round % 2 === 0) trimmer.trim()
  }
  t.equal(seen.size, 80_000)
})

t.test('tables agree with themselves through random use with trims between', async (t) => {
  const { state, tables: table } = tables(1 << 16)
  const trimmer = new Trimmer(state, native)
  const roll = dice(5)
  let live: { node: number; dentry: number }[] = []
  const big: number[] = []
  for (let round = 0; round < 12; round++) {
    live.push(...fill(table, roll(9000), `r${round}-`))
    const stays = roll(4)
    live = live.filter((each) => {
      if (roll(4) <= stays) return true
      drop(table, each)
      return false
    })
    for (let i = 0; i < 5; i++) {
      const ref = table.names.alloc(1 + roll(60_000))
      if (ref !== 0) big.push(ref)
    }
    while (big.length > 6) table.names.free(big.splice(roll(big.length), 1)[0]!)
    trimmer.trim()
    // Big blocks belong to nobody that the checker knows.
    t.strictSame(checkTables(state).problems, [], `round ${round}`)
  }
  for (const each of live) drop(table, each)
  for (const ref of big) table.names.free(ref)
  trimmer.trim()
  t.equal(checkTables(state).usedUnits, 0)
  t.ok(table.nodeSlabs.end <= 1024, 'the tables are small again')
})
