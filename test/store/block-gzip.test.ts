// gzip in blocks: every gunzip reads it, and the same bytes always give the same.

import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { gunzipSync, gzipSync } from 'node:zlib'
import t from 'tap'
import { BLOCK, BlockGzip } from '../../src/store/block-gzip.js'
import { needs } from './mica.js'

/** Text of a kind that deflates, with repetitions across blocks. */
function text(length: number): Buffer {
  const lines: string[] = []
  for (let at = 0, total = 0; total < length; at++) {
    const line = `${createHash('md5')
      .update(String(at % 20_000))
      .digest('hex')} line ${at}\n`
    lines.push(line)
    total += line.length
  }
  return Buffer.from(lines.join('')).subarray(0, length)
}

async function packed(bytes: Buffer, step: number): Promise<Buffer> {
  const parts: Buffer[] = []
  const gzip = new BlockGzip(async (part) => {
    await new Promise((done) => setImmediate(done))
    parts.push(part)
  })
  // One buffer for all, as a reader of files has.
  const shared = Buffer.alloc(step)
  for (let at = 0; at < bytes.length; at += step) {
    const count = bytes.copy(shared, 0, at, at + step)
    await gzip.write(shared.subarray(0, count))
  }
  await gzip.end()
  return Buffer.concat(parts)
}

t.test('what goes in comes out, however it is cut', async (t) => {
  const all = text(3 * BLOCK + 5)
  for (const length of [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, all.length]) {
    const bytes = all.subarray(0, length)
    const gzipped = await packed(bytes, 300_000)
    t.ok(gunzipSync(gzipped).equals(bytes), `${length} bytes`)
    t.ok((await packed(bytes, 65_537)).equals(gzipped), 'the same whatever the pieces')
    t.ok(gzipped.length <= gzipSync(bytes, { level: 4 }).length * 1.01 + 20, 'no larger than in one')
  }
})

t.test('other programs read it as one member', { skip: needs('gzip', 'python3') }, async (t) => {
  const bytes = text(2 * BLOCK + 77)
  const gzipped = await packed(bytes, 1 << 20)
  t.ok(execFileSync('gzip', ['-dc'], { input: gzipped, maxBuffer: 1 << 26 }).equals(bytes))
  const script =
    'import sys,zlib; d=zlib.decompressobj(31); b=d.decompress(sys.stdin.buffer.read()); sys.stdout.write(f"{len(b)} {d.eof} {len(d.unused_data)}")'
  t.equal(execFileSync('python3', ['-c', script], { input: gzipped }).toString(), `${bytes.length} True 0`)
})

t.test('a sink that fails ends it', async (t) => {
  const gzip = new BlockGzip(() => Promise.reject(new Error('full')))
  await t.rejects(
    (async () => {
      for (let at = 0; at < 8; at++) await gzip.write(Buffer.alloc(BLOCK))
      await gzip.end()
    })(),
    /full/,
  )
})
