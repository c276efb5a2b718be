// Compressed bytes to plain ones. What they are is told by their first bytes, never by a name or a
// media type: registries and tools get those wrong. xz and bzip2, which root file systems come in and no layer
// of an image, are read through the programs of these names.

import { spawn } from 'node:child_process'
import { closeSync, createReadStream, openSync, readSync } from 'node:fs'
import { pipeline } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { ZSTDDecoder } from 'zstddec/stream'
import { StoreError } from './errors.js'

export type Compression = 'none' | LayerCompression | ByProgram
/** What a layer of an image may be compressed by. */
export type LayerCompression = 'gzip' | 'zstd'
type ByProgram = 'xz' | 'bzip2'

const CHUNK = 256 * 1024
const MAGIC_BYTES = 6
const ZSTD_SKIPPABLE = 0x184d2a50

/** Returns what a stream that begins with these bytes is. Throws UNSUPPORTED for zip. */
export function detectCompression(head: Uint8Array): Compression {
  const bytes = Buffer.from(head.buffer, head.byteOffset, head.length)
  const begins = (hex: string): boolean => bytes.subarray(0, hex.length / 2).toString('hex') === hex
  if (begins('1f8b')) return 'gzip'
  if (begins('28b52ffd')) return 'zstd'
  if (bytes.length >= 4 && (bytes.readUInt32LE(0) & 0xfffffff0) >>> 0 === ZSTD_SKIPPABLE) return 'zstd'
  if (begins('fd377a585a00')) return 'xz'
  if (begins('425a68')) return 'bzip2'
  if (begins('504b0304'))
    throw new StoreError('UNSUPPORTED', 'this is zip; gzip, zstd, xz, bzip2 and plain tar are understood')
  return 'none'
}

/** Returns the compression of a file's content. */
export function compressionOf(path: string): Compression {
  const fd = openSync(path, 'r')
  try {
    const head = Buffer.alloc(MAGIC_BYTES)
    return detectCompression(head.subarray(0, readSync(fd, head, 0, MAGIC_BYTES, 0)))
  } finally {
    closeSync(fd)
  }
}

/**
 * Returns a file's plain bytes, chunk by chunk, each valid until the next is asked for. Throws INVALID
 * for damaged data. gzip is inflated in a thread of its own, zstd in this one.
 */
export function readPlain(path: string): AsyncIterable<Buffer> {
  const compression = compressionOf(path)
  if (compression === 'zstd') return readZstd(path)
  if (compression === 'xz' || compression === 'bzip2') return readByProgram(compression, path)
  const file = createReadStream(path, { highWaterMark: compression === 'none' ? 2 * CHUNK : CHUNK })
  if (compression === 'none') return file
  const gunzip = createGunzip({ chunkSize: 2 * CHUNK })
  // The consumer sees the error, too.
  pipeline(file, gunzip, () => {})
  return named(gunzip)
}

async function* readByProgram(program: ByProgram, path: string): AsyncGenerator<Buffer> {
  const fd = openSync(path, 'r')
  const child = spawn(program, ['-dc'], { stdio: [fd, 'pipe', 'pipe'] })
  closeSync(fd)
  let said = ''
  child.stderr!.on('data', (chunk: Buffer) => {
    said += chunk
  })
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on('error', () =>
      reject(
        new StoreError('UNSUPPORTED', `this is ${program}, and there is no program ${program} to read it`),
      ),
    )
    child.on('close', resolve)
  })
  ended.catch(() => {})
  try {
    yield* child.stdout as AsyncIterable<Buffer>
    const status = await ended
    const words = said
      .trim()
      .split('\n')[0]!
      .replace(/^.*?: (?:\(stdin\): )?/, '')
    if (status !== 0) throw new StoreError('INVALID', `damaged ${program} data: ${words}`)
  } finally {
    child.kill()
  }
}

/** Says `damaged gzip data` where zlib says `incorrect data check`. */
async function* named(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  try {
    yield* chunks
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code?.startsWith('Z_') !== true) throw error
    throw new StoreError('INVALID', `damaged gzip data: ${message}`, { cause: error })
  }
}

/** How often the decoder may give nothing without asking for more; it does so for ever after an error. */
const EMPTY_MAX = 3

async function* readZstd(path: string): AsyncGenerator<Buffer> {
  const decoder = new ZSTDDecoder()
  await decoder.init()
  const fd = openSync(path, 'r')
  let empty = 0
  function* input(): Generator<Uint8Array> {
    const buffer = Buffer.allocUnsafe(CHUNK)
    for (;;) {
      const length = readSync(fd, buffer, 0, CHUNK, null)
      if (length === 0) return
      empty = 0
      yield buffer.subarray(0, length)
    }
  }
  try {
    for (const chunk of decoder.decodeStreaming(input())) {
      empty = chunk.length === 0 ? empty + 1 : 0
      if (empty > EMPTY_MAX) throw new StoreError('INVALID', 'damaged zstd data')
      if (chunk.length > 0) yield Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length)
    }
  } catch (error) {
    if (error instanceof StoreError) throw error
    throw new StoreError('INVALID', `damaged zstd data: ${(error as Error).message}`, { cause: error })
  } finally {
    closeSync(fd)
  }
}
