// An image in a registry as a source: its manifest now, its blobs when they are asked for.

import { DOCUMENT_MAX, documentType, parseIndex, parseJsonObject, parseManifest } from '../descriptor.js'
import { type Digest, digestOf, parseDigest } from '../digest.js'
import { StoreError } from '../errors.js'
import { bytesOf, isNetworkError } from '../http.js'
import { parseImageConfig } from '../image-config.js'
import { ACCEPTED_MANIFESTS, isIndexType } from '../media-types.js'
import { nearest } from '../nearest.js'
import { choosePlatform, hostPlatform, type Platform } from '../platform.js'
import { checkPlatform, noPlatform } from '../platform-choice.js'
import { DEFAULT_TAG, formatReference, type Reference, repositoryOf } from '../reference.js'
import type { SourceImage } from '../source.js'
import { listTags } from './catalog.js'
import type { RegistryClient } from './client.js'

type Document = { readonly bytes: Buffer; readonly mediaType: string; readonly digest: Digest }

function pullScope(path: string): string {
  return `repository:${path}:pull`
}

/** Returns tags of a repository that may be meant; none where the registry does not tell. */
async function tagsNear(client: RegistryClient, path: string, tag: string): Promise<string[]> {
  try {
    return nearest(tag, (await listTags(client, { path })) ?? [])
  } catch {
    return []
  }
}

async function fetchDocument(client: RegistryClient, path: string, name: string): Promise<Document> {
  const answer = await client.ask(`${path}/manifests/${name}`, {
    headers: { accept: ACCEPTED_MANIFESTS.join(', ') },
    accept: [200, 404],
    scope: pullScope(path),
  })
  if (answer.status === 404) {
    const isDigest = name.includes(':')
    const { message } = await client.failure(answer, `${path}${isDigest ? '@' : ':'}${name}`)
    const near = isDigest ? [] : await tagsNear(client, path, name)
    throw new StoreError('NOT_FOUND', `${message}${near.length === 0 ? '' : `; there is ${near.join(', ')}`}`)
  }
  const bytes = await bytesOf(answer.body, DOCUMENT_MAX)
  const digest = digestOf(bytes)
  if (name.includes(':') && digest !== name) {
    throw new StoreError('DIGEST', `wrong digest: asked for ${name}, ${client.domain} sent ${digest}`)
  }
  const told = answer.headers['content-type']
  const type = typeof told === 'string' ? told.split(';')[0]!.trim() : undefined
  return { bytes, mediaType: documentType(parseJsonObject(bytes, 'the manifest'), type), digest }
}

async function fetchManifest(
  client: RegistryClient,
  path: string,
  top: Document,
  wanted: Platform | undefined,
): Promise<Document> {
  if (!isIndexType(top.mediaType)) return top
  const { manifests } = parseIndex(parseJsonObject(top.bytes, 'the index'), top.mediaType)
  const chosen = choosePlatform(manifests, wanted ?? hostPlatform())
  if (chosen === undefined) throw noPlatform(manifests, wanted)
  const found = await fetchDocument(client, path, chosen.digest)
  if (isIndexType(found.mediaType)) throw new StoreError('INVALID', 'the index leads to another index')
  return found
}

/** Returns blob bytes from an offset on; a server that can't do ranges sends all, and we skip. */
async function openBlob(
  client: RegistryClient,
  path: string,
  digest: Digest,
  offset: number,
): Promise<AsyncIterable<Uint8Array>> {
  const answer = await client.ask(`${path}/blobs/${digest}`, {
    headers: { 'accept-encoding': 'identity', ...(offset > 0 && { range: `bytes=${offset}-` }) },
    accept: [200, 206],
    scope: pullScope(path),
    // Who reads the bytes tries again.
    networkRetries: 0,
  })
  const isPartial = answer.status === 206
  if (isPartial && !String(answer.headers['content-range'] ?? '').startsWith(`bytes ${offset}-`)) {
    throw new StoreError('REGISTRY', `${client.domain} sent another part of the blob than the one asked for`)
  }
  return isPartial || offset === 0 ? answer.body : skip(answer.body, offset)
}

async function* skip(chunks: AsyncIterable<Uint8Array>, count: number): AsyncGenerator<Uint8Array> {
  let left = count
  for await (const chunk of chunks) {
    if (left >= chunk.length) left -= chunk.length
    else {
      yield left === 0 ? chunk : chunk.subarray(left)
      left = 0
    }
  }
}

/** Returns the image that a reference with tag or digest names, ready to be brought in. */
export async function pullSource(
  client: RegistryClient,
  reference: Reference,
  wanted: Platform | undefined,
): Promise<{ source: SourceImage; digest: Digest }> {
  const { path, tag = DEFAULT_TAG, digest } = reference
  const top = await fetchDocument(client, path, digest ?? tag)
  const document = await fetchManifest(client, path, top, wanted)
  const manifest = parseManifest(parseJsonObject(document.bytes, 'the manifest'), document.mediaType)
  const configAnswer = await client.ask(`${path}/blobs/${manifest.config.digest}`, {
    accept: [200],
    scope: pullScope(path),
  })
  const config = await bytesOf(configAnswer.body, DOCUMENT_MAX)
  if (digestOf(config) !== parseDigest(manifest.config.digest, 'the config')) {
    throw new StoreError(
      'DIGEST',
      `wrong digest: config ${manifest.config.digest} has the content of ${digestOf(config)}`,
    )
  }
  checkPlatform(parseImageConfig(config).platform, wanted)
  const repository = repositoryOf(reference)
  return {
    digest: top.digest,
    source: {
      names: reference.tag === undefined ? [] : [formatReference({ ...reference, digest: undefined })],
      manifest: { bytes: document.bytes, mediaType: manifest.mediaType },
      config,
      layers: manifest.layers.map((descriptor) => ({
        descriptor,
        open: (offset) => openBlob(client, path, descriptor.digest, offset),
      })),
      isRetryable: isNetworkError,
      verb: 'downloading',
      repoDigests: [...new Set([top.digest, document.digest])].map((each) => ({ repository, digest: each })),
    },
  }
}
