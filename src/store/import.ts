// `import`: a root file system (an archive, or a directory) becomes an image of one layer.

import { createReadStream, createWriteStream, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { AddedImage } from './add-image.js'
import { close, openRoot } from './at.js'
import { addLayer, type CommitOptions, type NewLayer, sourceDateEpoch } from './commit.js'
import { compressionOf, readPlain } from './compression.js'
import { type Digest, Hasher } from './digest.js'
import { StoreError } from './errors.js'
import { dump, HttpClient, isCertificateError, isNetworkError, networkReason } from './http.js'
import { packTreeLayer } from './pack.js'
import { hostPlatform, type Platform } from './platform.js'
import type { Operation } from './store.js'

const REDIRECTS_MAX = 5
const READ_BYTES = 1 << 20

/** Makes an image; `source` is a path, a URL, or a stream. */
export async function importImage(
  operation: Operation,
  source: string | Readable,
  reference: string | undefined,
  options: CommitOptions,
  platform: Platform = hostPlatform(),
): Promise<AddedImage> {
  const layer = await layerOf(operation, source)
  const base = {
    config: { ...platform, config: {}, rootfs: { type: 'layers', diff_ids: [] }, history: [] },
    layers: [],
  }
  return addLayer(operation, base, layer, reference, options)
}

async function layerOf(operation: Operation, source: string | Readable): Promise<NewLayer> {
  if (typeof source !== 'string') return describe(operation, await spool(operation, source))
  if (/^https?:\/\//.test(source)) return describe(operation, await download(operation, source))
  const path = resolve(source)
  if (!statSync(path).isDirectory()) {
    const stream = createReadStream(path, { highWaterMark: READ_BYTES })
    return describe(operation, await spool(operation, stream))
  }
  const fd = openRoot(path)
  try {
    const packed = join(operation.dir, 'layer')
    return {
      ...(await packTreeLayer(fd, packed, { clampTime: sourceDateEpoch() })),
      path: packed,
      compression: 'gzip',
    }
  } finally {
    close(fd)
  }
}

/** Copies what an HTTP server gives for a URL into a file. */
async function download({ dir, signal }: Operation, first: string): Promise<Spooled> {
  const client = new HttpClient()
  try {
    let url = new URL(first)
    for (let hops = 0; ; hops++) {
      const { status, headers, body } = await client.request(url, {
        signal,
        headers: { 'user-agent': 'mica' },
      })
      if (status === 200) return await spool({ dir, signal }, body)
      await dump(body)
      if (headers.location === undefined || hops === REDIRECTS_MAX)
        throw new StoreError('REGISTRY', `the server answered ${status}`)
      url = new URL(headers.location, url)
    }
  } catch (error) {
    if (signal?.aborted || (!isNetworkError(error) && !isCertificateError(error))) throw error
    throw new StoreError('REGISTRY', networkReason(error as Error), { cause: error })
  } finally {
    client.close()
  }
}

type Spooled = { readonly path: string; readonly size: number; readonly digest: Digest }

/** Copies what may change while we read it, or can be read only once. */
async function spool(
  { dir, signal }: Pick<Operation, 'dir' | 'signal'>,
  stream: Readable,
  name = 'archive',
): Promise<Spooled> {
  const path = join(dir, name)
  const hasher = new Hasher()
  const hashed = async function* (chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of chunks) {
      hasher.update(chunk)
      yield chunk
    }
  }
  await pipeline(stream, hashed, createWriteStream(path, { mode: 0o600 }), {
    ...(signal !== undefined && { signal }),
  })
  return { path, size: hasher.size, digest: hasher.digest() }
}

/** Returns what an archive is as a layer. What is compressed as no layer may be becomes plain. */
async function describe(operation: Operation, spooled: Spooled): Promise<NewLayer> {
  const { path, digest } = spooled
  const compression = compressionOf(path)
  if (compression === 'xz' || compression === 'bzip2')
    return describe(operation, await spool(operation, Readable.from(readPlain(path)), 'plain'))
  let [diffId, size] = [digest, spooled.size]
  if (compression !== 'none') {
    const hasher = new Hasher()
    for await (const chunk of readPlain(path)) {
      operation.signal?.throwIfAborted()
      hasher.update(chunk)
    }
    size = hasher.size
    diffId = hasher.digest()
  }
  // As of a pipe whose other end has failed.
  if (size === 0) throw new StoreError('INVALID', 'not a tar archive: it is empty')
  return { ...spooled, diffId, compression }
}
