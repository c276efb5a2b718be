// `import`: a root file system (an archive, or a directory) becomes an image of one layer.

import { createReadStream, createWriteStream, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { request } from 'undici'
import type { AddedImage } from './add-image.js'
import { close, openRoot } from './at.js'
import { addLayer, type CommitOptions, type NewLayer, sourceDateEpoch } from './commit.js'
import { compressionOf, readPlain } from './compression.js'
import { Hasher } from './digest.js'
import { StoreError } from './errors.js'
import { packTreeLayer } from './pack.js'
import { hostPlatform, type Platform } from './platform.js'
import type { Operation } from './store.js'

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
  if (typeof source !== 'string') return describe(await spool(operation, source))
  if (/^https?:\/\//.test(source)) return describe(await spool(operation, await download(operation, source)))
  const path = resolve(source)
  if (!statSync(path).isDirectory()) return describe(await spool(operation, createReadStream(path)))
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

async function download({ signal }: Operation, url: string): Promise<Readable> {
  const answer = await request(url, { signal: signal ?? null })
  if (answer.statusCode === 200) return answer.body
  await answer.body.dump()
  throw new StoreError('REGISTRY', `the server answered ${answer.statusCode}`)
}

/** Copies what may change while we read it, or can be read only once. */
async function spool({ dir, signal }: Operation, stream: Readable): Promise<string> {
  const path = join(dir, 'archive')
  await pipeline(stream, createWriteStream(path, { mode: 0o600 }), {
    ...(signal !== undefined && { signal }),
  })
  return path
}

async function describe(given: string): Promise<NewLayer> {
  const { path, compression } = await forLayers(given)
  const [whole, plain] = [new Hasher(), new Hasher()]
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) whole.update(chunk as Buffer)
  for await (const chunk of readPlain(path)) plain.update(chunk)
  return {
    path,
    size: whole.size,
    digest: whole.digest(),
    diffId: plain.digest(),
    compression,
  }
}

/** What is compressed as no layer may be becomes plain. */
async function forLayers(path: string): Promise<Pick<NewLayer, 'path' | 'compression'>> {
  const compression = compressionOf(path)
  if (compression !== 'xz' && compression !== 'bzip2') return { path, compression }
  const plain = `${path}.plain`
  await pipeline(Readable.from(readPlain(path)), createWriteStream(plain, { mode: 0o600 }))
  return { path: plain, compression: 'none' }
}
