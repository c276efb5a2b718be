// An image to a registry: blobs that it lacks, mounted from another repository of the same registry where
// that has them, else uploaded in chunks; then the manifest.

import { createReadStream } from 'node:fs'
import { blobPath, blobSize } from '../blob-store.js'
import type { Digest } from '../digest.js'
import { StoreError } from '../errors.js'
import { dump, isNetworkError } from '../http.js'
import { type FoundImage, readManifest, repoDigestsOf } from '../image-table.js'
import { DEFAULT_TAG, type Reference, repositoryOf } from '../reference.js'
import type { Operation } from '../store.js'
import type { Answer, RegistryClient } from './client.js'

const CHUNK = 8 << 20
const UPLOADS = 3
const TRIES = 5
const BACKOFF_MS = 500

type Target = { readonly client: RegistryClient; readonly path: string; readonly scope: string }
type Blob = { readonly digest: Digest; readonly size: number }

/** Uploads an image under a reference's tag (or digest). Returns the manifest's digest. */
export async function pushImage(
  operation: Operation,
  client: RegistryClient,
  reference: Reference,
  image: FoundImage,
): Promise<Digest> {
  const { store } = operation
  const { path } = reference
  const { bytes, mediaType, layers, config } = readManifest(store, image.manifest)
  // One token for both: and for reading where we mount from.
  const target = { client, path, scope: `repository:${path}:pull,push` }
  const from = mountSources(operation, client.domain, path, image)
  const waiting = [
    ...new Map([...layers, config].map(({ digest, size }) => [digest, { digest, size }])).values(),
  ]
  const work = async (): Promise<void> => {
    for (let blob = waiting.shift(); blob !== undefined; blob = waiting.shift()) {
      await pushBlob(operation, target, blob, from)
    }
  }
  await Promise.all(Array.from({ length: UPLOADS }, work))
  const answer = await client.ask(`${path}/manifests/${reference.tag ?? image.manifest ?? DEFAULT_TAG}`, {
    method: 'PUT',
    headers: { 'content-type': mediaType },
    body: () => bytes,
    length: bytes.length,
    accept: [201, 202],
    scope: target.scope,
  })
  await dump(answer.body)
  store.db
    .prepare('INSERT OR REPLACE INTO repo_digests VALUES (?, ?, ?)')
    .run(repositoryOf(reference), image.manifest, image.id)
  return image.manifest
}

/** Repositories of the same registry that are known to have this image. */
function mountSources({ store }: Operation, domain: string, path: string, image: FoundImage): string[] {
  const own = `${domain}/`
  return repoDigestsOf(store, image.id)
    .map((each) => each.slice(0, each.indexOf('@')))
    .filter((repository) => repository.startsWith(own) && repository !== `${own}${path}`)
    .map((repository) => repository.slice(own.length))
}

async function pushBlob(
  operation: Operation,
  target: Target,
  blob: Blob,
  from: readonly string[],
): Promise<void> {
  const { client, path, scope } = target
  const { onProgress, store } = operation
  const { digest } = blob
  const head = await client.ask(`${path}/blobs/${digest}`, { method: 'HEAD', accept: [200, 404], scope })
  await dump(head.body)
  if (head.status === 200) {
    onProgress({ id: digest, status: 'exists' })
    return
  }
  if (blobSize(store.layout, digest) === undefined) {
    throw new StoreError('NOT_FOUND', `the store lacks blob ${digest}; see mica fsck`)
  }
  for (let attempt = 1; ; attempt++) {
    try {
      await upload(operation, target, blob, from)
      onProgress({ id: digest, status: 'done' })
      return
    } catch (error) {
      if (attempt >= TRIES || !isNetworkError(error)) throw error
      await new Promise((done) => setTimeout(done, BACKOFF_MS * 2 ** attempt))
    }
  }
}

/** Begins an upload, with a mount tried first; undefined when the mount has done it. */
async function begin(
  { client, path, scope }: Target,
  digest: Digest,
  from: readonly string[],
): Promise<string | undefined> {
  const [source] = from
  const query =
    source === undefined ? '' : `?mount=${encodeURIComponent(digest)}&from=${encodeURIComponent(source)}`
  const answer = await client.ask(`${path}/blobs/uploads/${query}`, {
    method: 'POST',
    length: 0,
    accept: [201, 202],
    scope: source === undefined ? scope : `${scope} repository:${source}:pull`,
  })
  await dump(answer.body)
  return answer.status === 201 ? undefined : locationOf(client, answer)
}

function locationOf(client: RegistryClient, { headers, url }: Answer): string {
  const { location } = headers
  if (typeof location !== 'string')
    throw new StoreError('REGISTRY', `${client.domain} does not say where to upload to`)
  return new URL(location, url).href
}

async function upload(
  operation: Operation,
  target: Target,
  blob: Blob,
  from: readonly string[],
): Promise<void> {
  const { client, scope } = target
  const { digest, size } = blob
  const { store, signal, onProgress } = operation
  let location = await begin(target, digest, from)
  if (location === undefined) return
  const path = blobPath(store.layout, digest)
  for (let at = 0; at < size; ) {
    signal?.throwIfAborted()
    const end = Math.min(size, at + CHUNK)
    const start = at
    const answer = await client.ask(location, {
      method: 'PATCH',
      headers: { 'content-type': 'application/octet-stream', 'content-range': `${start}-${end - 1}` },
      body: () => createReadStream(path, { start, end: end - 1 }),
      length: end - start,
      accept: [202, 204],
      scope,
      // A chunk that came half is not to be sent again as if it had not.
      retries: 0,
    })
    await dump(answer.body)
    location = locationOf(client, answer)
    at = end
    onProgress({ id: digest, status: 'uploading', current: at, total: size })
  }
  const last = new URL(location)
  last.searchParams.set('digest', digest)
  const answer = await client.ask(last.href, {
    method: 'PUT',
    length: 0,
    accept: [201, 202, 204],
    scope,
    retries: 0,
  })
  await dump(answer.body)
}
