// Which index files are believed: only whole ones of these very layers, that nobody else can have written.
// Whatever is wrong, the answer is a new one, and one line that says why.

import {
  chmodSync,
  chownSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { checkLayerIndex, openStack, readStamps, writeLayerIndex } from '../../src/index/files.js'
import { stampOfFd } from '../../src/index/stamp.js'

const O_PATH = 0o10000000
const folder = mkdtempSync(join(tmpdir(), 'mica-index-'))
t.teardown(() => rmSync(folder, { recursive: true }))
const isRoot = process.getuid?.() === 0

let count = 0
/** Two layers and an index directory of their own. */
function layers(): { dir: string; lowers: string[] } {
  const base = join(folder, `${count++}`)
  const lowers = [join(base, 'a/fs'), join(base, 'b')]
  for (const [i, path] of lowers.entries()) {
    mkdirSync(join(path, 'd'), { recursive: true })
    for (let file = 0; file < 100; file++) writeFileSync(join(path, `d/file-${i}-${file}`), 'x')
  }
  return { dir: join(base, 'index'), lowers }
}

/** Opens the stack; returns what was logged, and how many entries there are (0: no index). */
async function open(dir: string, lowers: readonly string[]): Promise<{ told: string[]; entries: number }> {
  const told: string[] = []
  const opened = lowers.map((path) => {
    const fd = openSync(path, O_PATH)
    return { fd, path, stamp: stampOfFd(fd) }
  })
  const index = await openStack(dir, opened, (line) => told.push(line))
  for (const { fd } of opened) closeSync(fd)
  if (index !== undefined) closeSync(index.fd)
  const isWhole = index?.view.proveAll() === true
  return { told, entries: isWhole ? index.view.entryCount : 0 }
}

const stackIn = (dir: string): string => join(dir, readdirSync(dir).find((name) => name.endsWith('.stack'))!)

t.test('an index is made once and then opened', async (t) => {
  const { dir, lowers } = layers()
  t.strictSame(await open(dir, lowers), { told: [], entries: 202 })
  const before = readFileSync(stackIn(dir))
  t.equal(readdirSync(dir).length, 3, 'one of the stack, one of each layer, no drafts')
  t.strictSame(await open(dir, lowers), { told: [], entries: 202 })
  t.ok(readFileSync(stackIn(dir)).equals(before))
  t.equal(readStamps(stackIn(dir))?.length, 12)
})

t.test('another order of the same layers is another stack', async (t) => {
  const { dir, lowers } = layers()
  await open(dir, lowers)
  await open(dir, lowers.toReversed())
  t.equal(readdirSync(dir).length, 4, 'of the same layer indexes')
})

t.test('what is not right is said and made anew', async (t) => {
  const flip = (at: number) => (path: string) => {
    const bytes = readFileSync(path)
    bytes[at < 0 ? bytes.length + at : at]! ^= 1
    writeFileSync(path, bytes)
  }
  const rows: [title: string, harm: (path: string) => void, words: RegExp][] = [
    ['cut to nothing', (path) => truncateSync(path, 0), /can not be mapped/],
    ['cut to less than a header', (path) => truncateSync(path, 100), /header|short/],
    ['cut to its header', (path) => truncateSync(path, 4096), /bytes/],
    ['cut in the middle', (path) => truncateSync(path, 12288), /bytes/],
    ['longer than it should be', (path) => writeFileSync(path, Buffer.alloc(8192), { flag: 'a' }), /bytes/],
    ['of zeros', (path) => writeFileSync(path, Buffer.alloc(65536)), /no index/],
    ['text', (path) => writeFileSync(path, 'hello\n'.repeat(2000)), /no index/],
    ['another format', flip(4), /format/],
    ['damaged in its header', flip(40), /header is damaged/],
    ['damaged in its checksums', flip(4096), /checksums are damaged/],
    ['damaged in its stamps', flip(8192), /block 2 is damaged/],
    ['a layer’s', (path) => writeFileSync(path, readFileSync(layerBeside(path))), /another kind/],
    ['writable by others', (path) => chmodSync(path, 0o622), /other users may write/],
  ]
  if (isRoot) rows.push(['somebody else’s', (path) => chownSync(path, 1234, 0), /belongs to another user/])
  for (const [title, harm, words] of rows) {
    const { dir, lowers } = layers()
    await open(dir, lowers)
    const path = stackIn(dir)
    harm(path)
    const { told, entries } = await open(dir, lowers)
    t.equal(told.length, 1, title)
    t.match(told[0], words, title)
    t.equal(entries, 202, title)
    t.strictSame(
      await open(dir, lowers),
      { told: [], entries: 202 },
      `${title}: and it is right from then on`,
    )
  }
})

function layerBeside(path: string): string {
  const dir = join(path, '..')
  return join(dir, readdirSync(dir).find((name) => name.endsWith('.layer'))!)
}

t.test('a layer’s damaged index is not merged', async (t) => {
  const { dir, lowers } = layers()
  await open(dir, lowers)
  rmSync(stackIn(dir))
  const layer = layerBeside(join(dir, 'x'))
  const bytes = readFileSync(layer)
  bytes[bytes.length - 4000]! ^= 1
  writeFileSync(layer, bytes)
  const { told, entries } = await open(dir, lowers)
  t.equal(told.length, 1)
  t.match(told[0], /block \d+ is damaged; reading the layer/)
  t.equal(entries, 202)
})

t.test('a layer that is another directory by now has another index', async (t) => {
  const { dir, lowers } = layers()
  await open(dir, lowers)
  writeFileSync(join(lowers[1]!, 'new'), '')
  t.strictSame(await open(dir, lowers), { told: [], entries: 203 })
  rmSync(lowers[0]!, { recursive: true })
  mkdirSync(join(lowers[0]!, 'other'), { recursive: true })
  t.strictSame(await open(dir, lowers), { told: [], entries: 104 })
})

t.test('an index beside a layer’s tree is taken', async (t) => {
  const { dir, lowers } = layers()
  const [tree] = lowers as [string]
  const root = openSync(tree, O_PATH)
  await writeLayerIndex(root, join(tree, '../index'))
  t.equal(await checkLayerIndex(root, join(tree, '../index')), undefined)
  t.strictSame(await open(dir, lowers), { told: [], entries: 202 })
  t.equal(readdirSync(dir).length, 2, 'only the other layer was read')
  chmodSync(join(tree, 'd/file-0-1'), 0o600)
  t.match(await checkLayerIndex(root, join(tree, '../index')), /differs from the layer at \/d\/file-0-1/)
  closeSync(root)
})

t.test('a link in the place of an index is not followed', async (t) => {
  const { dir, lowers } = layers()
  await open(dir, lowers)
  const path = stackIn(dir)
  rmSync(path)
  const target = join(folder, 'target')
  writeFileSync(target, 'mine')
  symlinkSync(target, path)
  t.match(await open(dir, lowers), { told: [/symbolic link/i], entries: 202 })
  t.equal(readFileSync(target, 'utf8'), 'mine')
})

t.test('where none can be kept the answer is that there is none', async (t) => {
  const { lowers } = layers()
  const dir = join(folder, 'a-file')
  writeFileSync(dir, '')
  const { told, entries } = await open(dir, lowers)
  t.equal(entries, 0)
  t.ok(told.length >= 1)
})
