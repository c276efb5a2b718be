// Files in memory: one mapping for all who have a file mapped, and what happens when the file is cut.

import { closeSync, openSync, readFileSync, renameSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { EBADF, EINVAL } from '../../src/base/errno.js'
import { native } from '../../src/sys/native.js'
import { sandbox } from './sandbox.js'

const PAGE = 4096
const { path } = sandbox()

function mapped(name: string): ArrayBuffer {
  const fd = openSync(join(path, name), 'r')
  const buffer = native.mapFile(fd)
  closeSync(fd)
  if (typeof buffer === 'number') throw new Error(`mapFile: ${buffer}`)
  return buffer
}

/** How often a file is in this process's memory. */
function mappingsOf(name: string): number {
  const lines = readFileSync('/proc/self/maps', 'utf8').split('\n')
  return lines.filter((line) => line.endsWith(` ${join(path, name)}`)).length
}

/** The resident kilobytes of a file's mapping. */
function residentOf(name: string): number {
  const text = readFileSync('/proc/self/smaps', 'utf8').split(` ${join(path, name)}\n`)[1] ?? ''
  return Number(/^Rss:\s+(\d+)/m.exec(text)?.[1])
}

t.test('a file is mapped once, for all threads', async (t) => {
  writeFileSync(join(path, 'one'), 'x'.repeat(2 * PAGE + 1))
  const [first, second] = [mapped('one'), mapped('one')]
  t.equal(first.byteLength, 4 * PAGE, 'whole pages, and one more')
  t.equal(Buffer.from(second).toString('latin1', 0, 2 * PAGE + 3), `${'x'.repeat(2 * PAGE + 1)}\0\0`)
  t.equal(mappingsOf('one'), 1)
  const program = async (addon: string, file: string): Promise<void> => {
    const { openSync, readFileSync } = await import('node:fs')
    const { parentPort } = await import('node:worker_threads')
    const { native } = await import(addon)
    const bytes = new Uint8Array(native.mapFile(openSync(file, 'r')))
    const lines = readFileSync('/proc/self/maps', 'utf8').split('\n')
    parentPort!.postMessage([bytes[0], lines.filter((line) => line.endsWith(` ${file}`)).length])
  }
  const addon = new URL('../../src/sys/native.js', import.meta.url).href
  const args = [addon, join(path, 'one')].map((each) => JSON.stringify(each)).join()
  const thread = new Worker(`void (${program})(${args})`, { eval: true })
  t.strictSame(await new Promise((resolve) => thread.once('message', resolve)), [0x78, 1])
  await new Promise((resolve) => thread.once('exit', resolve))
  t.equal(new Uint8Array(first)[2 * PAGE], 0x78, 'it outlives a thread that had it')
})

t.test('another file of the same name is another mapping', async (t) => {
  writeFileSync(join(path, 'same'), 'a')
  const before = mapped('same')
  writeFileSync(join(path, 'new'), 'b')
  renameSync(join(path, 'new'), join(path, 'same'))
  t.equal(new Uint8Array(mapped('same'))[0], 0x62)
  t.equal(new Uint8Array(before)[0], 0x61)
})

t.test('pages that are released come back from the file', async (t) => {
  writeFileSync(join(path, 'big'), 'y'.repeat(64 * PAGE))
  const bytes = new Uint8Array(mapped('big'))
  t.equal(
    bytes.reduce((sum, byte) => sum + byte, 0),
    64 * PAGE * 0x79,
  )
  t.equal(residentOf('big'), 256)
  t.equal(native.releasePages(bytes, 0, bytes.length - PAGE), 0)
  t.equal(residentOf('big'), 0)
  t.equal(bytes[63 * PAGE], 0x79)
})

t.test('a page that is gone is zeros, and counted for all', async (t) => {
  writeFileSync(join(path, 'cut'), 'z'.repeat(3 * PAGE))
  const [first, second] = [mapped('cut'), mapped('cut')]
  const faults = (buffer: ArrayBuffer): number => new Int32Array(buffer)[(3 * PAGE) / 4]!
  t.equal(faults(first), 0)
  truncateSync(join(path, 'cut'), PAGE)
  t.equal(new Uint8Array(first)[2 * PAGE], 0)
  t.equal(new Uint8Array(first)[0], 0x7a)
  t.equal(faults(first), 1)
  t.equal(faults(second), 1)
})

t.test('what can not be mapped is an errno', async (t) => {
  t.equal(native.mapFile(-1), -EBADF)
  writeFileSync(join(path, 'empty'), '')
  const fd = openSync(join(path, 'empty'), 'r')
  t.equal(native.mapFile(fd), -EINVAL)
  closeSync(fd)
})
