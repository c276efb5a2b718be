// `save`: images out of the store, in the three forms that other tools read. The same images give the
// same bytes.

import {
  createReadStream,
  createWriteStream,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { copyFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { pack } from 'tar-stream'
import { makePath } from '../base/make-path.js'
import { blobPath, blobSize, readBlob } from './blob-store.js'
import { readPlain } from './compression.js'
import type { Descriptor } from './descriptor.js'
import { type Digest, hexOf } from './digest.js'
import { StoreError } from './errors.js'
import { type FoundImage, readConfig, readManifest, tagsOf } from './image-table.js'
import { familiar, splitTag } from './reference.js'
import type { Operation, Store } from './store.js'

export type SaveFormat = 'docker-archive' | 'oci-archive' | 'oci-dir'
export const SAVE_FORMATS: readonly SaveFormat[] = ['docker-archive', 'oci-archive', 'oci-dir']

/** An image to save, and the names it is to have in the archive. */
export type Saved = { readonly image: FoundImage; readonly names: readonly string[] }

/** Where bytes go; resolves when it can take more. */
export type Write = (bytes: Uint8Array) => Promise<void>

/** Returns images with names: the name that each was asked for by, all of its names for an id. */
export function savedImages(store: Store, found: readonly FoundImage[]): Saved[] {
  const byImage = new Map<Digest, { image: FoundImage; names: Set<string> }>()
  for (const image of found) {
    const saved = byImage.get(image.id) ?? { image, names: new Set<string>() }
    const names =
      image.reference === undefined
        ? tagsOf(store, image.id).map(({ reference }) => reference)
        : [image.reference]
    for (const name of names) saved.names.add(name)
    byImage.set(image.id, saved)
  }
  return [...byImage.values()].map(({ image, names }) => ({ image, names: [...names].sort() }))
}

function keptBlob(store: Store, { digest }: Pick<Descriptor, 'digest'>): string {
  if (blobSize(store.layout, digest) === undefined)
    throw new StoreError('NOT_FOUND', `the store lacks blob ${digest}`)
  return blobPath(store.layout, digest)
}

/** Adds a file to an archive. */
type Add = (name: string, size: number, data: Readable) => Promise<void>

/**
 * Writes an archive of the files that `fill` adds. tar-stream does for these, whose names are digests and
 * ASCII; layers have names of any bytes, which only our own writer keeps.
 */
async function writeArchive(write: Write, fill: (add: Add) => Promise<void>): Promise<void> {
  const archive = pack()
  const written = (async () => {
    for await (const chunk of archive) await write(chunk as Uint8Array)
  })()
  written.catch((error: Error) => archive.destroy(error))
  try {
    await fill((name, size, data) =>
      pipeline(data, archive.entry({ name, size, mode: 0o644, mtime: new Date(0) })),
    )
    archive.finalize()
  } catch (error) {
    archive.destroy(error as Error)
    // What could not be written is the reason, where that is what went wrong.
    await written
    throw error
  }
  await written
}

const fileStream = (path: string): Readable => createReadStream(path, { highWaterMark: 1 << 20 })
const bytesStream = (bytes: Uint8Array): Readable => Readable.from([bytes])

/** Writes a docker-archive: `docker load`, podman, skopeo and mica read it. */
export async function saveDockerArchive(
  operation: Operation,
  images: readonly Saved[],
  write: Write,
): Promise<void> {
  const { store } = operation
  await writeArchive(write, async (add) => {
    const items: object[] = []
    const written = new Set<string>()
    for (const { image, names } of images) {
      const config = readConfig(store, image.id)
      const { layers } = readManifest(store, image.manifest)
      for (const [at, layer] of layers.entries()) {
        const name = `${hexOf(config.diffIds[at]!)}.tar`
        if (written.has(name)) continue
        written.add(name)
        const plain = await plainLayer(operation, keptBlob(store, layer))
        await add(name, statSync(plain).size, fileStream(plain))
      }
      const bytes = readBlob(store.layout, image.id)
      const configName = `${hexOf(image.id)}.json`
      if (!written.has(configName)) await add(configName, bytes.length, bytesStream(bytes))
      written.add(configName)
      items.push({
        Config: configName,
        RepoTags: names.map(familiar),
        Layers: config.diffIds.map((diffId) => `${hexOf(diffId)}.tar`),
      })
    }
    const manifest = Buffer.from(JSON.stringify(items))
    await add('manifest.json', manifest.length, bytesStream(manifest))
  })
}

/** A tar header tells the size first, so a compressed layer is inflated to a file. */
async function plainLayer({ dir, signal }: Operation, blob: string): Promise<string> {
  const path = join(dir, 'plain-layer')
  await pipeline(Readable.from(readPlain(blob)), createWriteStream(path, { mode: 0o600 }), {
    ...(signal !== undefined && { signal }),
  })
  return path
}

type Document = { readonly name: string; readonly bytes: Buffer }

/** What an OCI layout of these images holds: documents, and blobs by path. */
function ociParts(
  store: Store,
  images: readonly Saved[],
): { documents: Document[]; blobs: Map<string, string> } {
  const blobs = new Map<string, string>()
  const manifests: object[] = []
  for (const { image, names } of images) {
    const { bytes, mediaType, layers } = readManifest(store, image.manifest)
    for (const digest of [image.manifest, image.id, ...layers.map((layer) => layer.digest)]) {
      blobs.set(`blobs/sha256/${hexOf(digest)}`, keptBlob(store, { digest }))
    }
    const descriptor = { mediaType, digest: image.manifest, size: bytes.length }
    for (const name of names) {
      const annotations = {
        'io.containerd.image.name': name,
        'org.opencontainers.image.ref.name':
          images.length === 1 && names.length === 1 ? splitTag(name)[1] : familiar(name),
      }
      manifests.push({ ...descriptor, annotations })
    }
    if (names.length === 0) manifests.push(descriptor)
  }
  const json = (name: string, value: object): Document => ({
    name,
    bytes: Buffer.from(JSON.stringify(value)),
  })
  const documents = [
    json('oci-layout', { imageLayoutVersion: '1.0.0' }),
    json('index.json', { schemaVersion: 2, manifests }),
  ]
  return { documents, blobs: new Map([...blobs].sort(([a], [b]) => (a < b ? -1 : 1))) }
}

/** Writes an OCI layout as one archive. */
export async function saveOciArchive(
  { store }: Operation,
  images: readonly Saved[],
  write: Write,
): Promise<void> {
  const { documents, blobs } = ociParts(store, images)
  await writeArchive(write, async (add) => {
    for (const { name, bytes } of documents) await add(name, bytes.length, bytesStream(bytes))
    for (const [name, path] of blobs) await add(name, statSync(path).size, fileStream(path))
  })
}

/** Writes an OCI layout as a directory, which must be new or an OCI layout: then these images are added to it. */
export async function saveOciDirectory(
  { store }: Operation,
  images: readonly Saved[],
  dir: string,
): Promise<void> {
  const { documents, blobs } = ociParts(store, images)
  makePath(join(dir, 'blobs/sha256'))
  for (const [name, path] of blobs) {
    const target = join(dir, name)
    if (statSync(target, { throwIfNoEntry: false }) !== undefined) continue
    await copyFile(path, `${target}.part`)
    renameSync(`${target}.part`, target)
  }
  for (const { name, bytes } of documents) {
    const target = join(dir, name)
    const content = name === 'index.json' ? mergedIndex(target, bytes) : bytes
    writeFileSync(`${target}.part`, content)
    renameSync(`${target}.part`, target)
  }
}

const REF_NAME = 'org.opencontainers.image.ref.name'
type Entry = { annotations?: Record<string, string> }

/** Keeps the images of other names that the directory has. */
function mergedIndex(path: string, bytes: Buffer): Buffer {
  let before: { manifests?: Entry[] }
  try {
    before = JSON.parse(readFileSync(path, 'utf8')) as { manifests?: Entry[] }
  } catch {
    return bytes
  }
  const index = JSON.parse(bytes.toString()) as { manifests: Entry[] }
  const names = new Set(index.manifests.map(({ annotations }) => annotations?.[REF_NAME]))
  const others = (before.manifests ?? []).filter(({ annotations }) => !names.has(annotations?.[REF_NAME]))
  return Buffer.from(JSON.stringify({ ...before, ...index, manifests: [...others, ...index.manifests] }))
}
