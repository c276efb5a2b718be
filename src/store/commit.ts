// `commit` and `import`: a new image out of a container's changes, or out of a root file system. The
// same input gives the same layer; with SOURCE_DATE_EPOCH the same image.

import { join } from 'node:path'
import { type AddedImage, addFromSource } from './add-image.js'
import { close, openRoot } from './at.js'
import { adoptBlob, blobPath, blobSize, readBlob } from './blob-store.js'
import type { ChangeRoots } from './changes.js'
import type { LayerCompression } from './compression.js'
import { applyChanges } from './config-change.js'
import { type Container, containerPaths, lowersOf } from './containers.js'
import type { Descriptor } from './descriptor.js'
import type { Digest } from './digest.js'
import { StoreError } from './errors.js'
import { readManifest } from './image-table.js'
import { OCI_LAYER, OCI_MANIFEST } from './media-types.js'
import { type Packed, packChanges } from './pack.js'
import { formatReference, parseReference, withDefaultTag } from './reference.js'
import type { SourceLayer } from './source.js'
import { makeManifest } from './source-docker.js'
import type { Operation, Store } from './store.js'

export type CommitOptions = {
  readonly author?: string | undefined
  readonly message?: string | undefined
  /** Dockerfile instructions. */
  readonly changes?: readonly string[]
  /** What is noted as the layer's origin. */
  readonly createdBy: string
}

/** Returns SOURCE_DATE_EPOCH in seconds. Throws INVALID when it is no number. */
export function sourceDateEpoch(env: NodeJS.ProcessEnv = process.env): number | undefined {
  const text = env.SOURCE_DATE_EPOCH
  if (text === undefined || text === '') return undefined
  if (!/^[0-9]{1,12}$/.test(text))
    throw new StoreError('INVALID', 'SOURCE_DATE_EPOCH is no number of seconds')
  return Number(text)
}

/** Opens the trees of a container; `merged` is where it is mounted, if it is. See ChangeRoots for `placeholders`. */
export function openChangeRoots(
  store: Store,
  container: Container,
  merged: string | undefined,
  placeholders: ReadonlySet<string>,
): ChangeRoots & { close(): void } {
  const { upper } = containerPaths(store, container.id)
  const lowers = lowersOf(store, container.image).map((path) => openRoot(path))
  const roots = {
    upper: openRoot(upper),
    lowers,
    merged: merged === undefined ? -1 : openRoot(merged),
    placeholders,
  }
  return {
    ...roots,
    close: () => {
      for (const fd of [roots.upper, roots.merged, ...lowers]) if (fd >= 0) close(fd)
    },
  }
}

/** Makes an image of a container's image and its changes. */
export async function commitContainer(
  operation: Operation,
  container: Container,
  merged: string | undefined,
  reference: string | undefined,
  { placeholders, ...options }: CommitOptions & Pick<ChangeRoots, 'placeholders'>,
): Promise<AddedImage> {
  const { store } = operation
  const epoch = sourceDateEpoch()
  const path = join(operation.dir, 'layer')
  const roots = openChangeRoots(store, container, merged, placeholders)
  let packed: Packed
  try {
    packed = await packChanges(roots, path, { clampTime: epoch })
  } finally {
    roots.close()
  }
  const base = baseOf(store, container.image)
  return addLayer(
    operation,
    base,
    packed.members === 0 ? undefined : { ...packed, path, compression: 'gzip' as const },
    reference,
    options,
  )
}

export type Base = { readonly config: Record<string, unknown>; readonly layers: readonly Descriptor[] }

function baseOf(store: Store, image: Digest): Base {
  const sql = 'SELECT digest FROM manifests WHERE image = ? ORDER BY added_ms DESC LIMIT 1'
  const manifest = store.db.prepare<[string], { digest: Digest }>(sql).get(image)!.digest
  const { layers } = readManifest(store, manifest)
  for (const { digest } of layers) {
    if (blobSize(store.layout, digest) === undefined) {
      throw new StoreError('NOT_FOUND', `the store lacks layer blob ${digest}; mica fsck says more`)
    }
  }
  return { config: JSON.parse(readBlob(store.layout, image).toString()) as Record<string, unknown>, layers }
}

/** docker's names for layer types in OCI's words. */
function ociLayer(layer: Descriptor): Descriptor {
  const [, ending = ''] = /diff\.tar(?:\.(gzip|zstd))?$/.exec(layer.mediaType) ?? []
  const isDocker = layer.mediaType.startsWith('application/vnd.docker.')
  if (!isDocker) return layer
  return { ...layer, mediaType: ending === '' ? OCI_LAYER : `${OCI_LAYER}+${ending}` }
}

/** A layer's archive in a file of the operation's own, which becomes the blob. */
export type NewLayer = {
  readonly diffId: Digest
  readonly digest: Digest
  /** Of the file. */
  readonly size: number
  readonly path: string
  readonly compression: LayerCompression | 'none'
}

/** Adds an image that is `base` with one more layer (if any) and an altered config. */
export async function addLayer(
  operation: Operation,
  base: Base,
  layer: NewLayer | undefined,
  reference: string | undefined,
  { author, message, changes = [], createdBy }: CommitOptions,
): Promise<AddedImage> {
  const names = reference === undefined ? [] : [nameOf(reference)]
  const epoch = sourceDateEpoch()
  const created = (epoch === undefined ? new Date() : new Date(epoch * 1000)).toISOString()
  const rootfs = base.config.rootfs as { diff_ids: string[] }
  const entry = {
    created,
    created_by: createdBy,
    ...(author !== undefined && { author }),
    ...(message !== undefined && { comment: message }),
    ...(layer === undefined && { empty_layer: true }),
  }
  const config = Buffer.from(
    JSON.stringify({
      ...base.config,
      created,
      ...(author !== undefined && { author }),
      config: applyChanges(base.config.config, changes),
      rootfs: {
        type: 'layers',
        diff_ids: [...rootfs.diff_ids, ...(layer === undefined ? [] : [layer.diffId])],
      },
      history: [...((base.config.history as unknown[] | undefined) ?? []), entry],
    }),
  )
  const layers = base.layers.map(ociLayer)
  if (layer !== undefined) {
    const ending = layer.compression === 'none' ? '' : `+${layer.compression}`
    layers.push({ mediaType: OCI_LAYER + ending, digest: layer.digest, size: layer.size })
    adoptBlob(operation, layer)
  }
  const source = {
    names,
    manifest: { bytes: makeManifest(config, layers), mediaType: OCI_MANIFEST },
    config,
    layers: layers.map(
      (descriptor): SourceLayer => ({ descriptor, open: () => kept(operation, descriptor) }),
    ),
  }
  const [added] = await addFromSource(operation, [source])
  return added!
}

function kept({ store }: Operation, { digest }: Descriptor): never {
  throw new StoreError('NOT_FOUND', `the store lacks blob ${blobPath(store.layout, digest)}`)
}

function nameOf(reference: string): string {
  const parsed = parseReference(reference)
  if (parsed.digest !== undefined)
    throw new StoreError('INVALID', 'an image that is made has no digest in its name')
  return formatReference(withDefaultTag(parsed))
}
