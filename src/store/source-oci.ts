// OCI image layouts: a directory, or an archive of one. image-spec image-layout.md.

import { type Descriptor, documentType, parseIndex, parseJsonObject, parseManifest } from './descriptor.js'
import { digestOf, hexOf } from './digest.js'
import { StoreError } from './errors.js'
import type { Files } from './files.js'
import { parseImageConfig } from './image-config.js'
import { isIndexType, OCI_INDEX } from './media-types.js'
import { choosePlatform, hostPlatform, type Platform } from './platform.js'
import { checkPlatform, noPlatform } from './platform-choice.js'
import { DEFAULT_TAG, formatReference, parseReference, withDefaultTag } from './reference.js'
import type { SourceImage } from './source.js'

const REF_NAME = 'org.opencontainers.image.ref.name'
const CONTAINERD_NAME = 'io.containerd.image.name'
const DEPTH_MAX = 4

function blobName({ digest }: Descriptor): string {
  return `blobs/sha256/${hexOf(digest)}`
}

function readDocument(files: Files, descriptor: Descriptor, what: string): Buffer {
  const name = blobName(descriptor)
  if (files.size(name) === undefined)
    throw new StoreError('NOT_FOUND', `${what} ${descriptor.digest} is missing`)
  const bytes = files.read(name)
  const actual = digestOf(bytes)
  if (actual !== descriptor.digest) {
    throw new StoreError('DIGEST', `wrong digest: ${what} ${descriptor.digest} has the content of ${actual}`)
  }
  return bytes
}

/** Returns the full reference that an annotation means; `fallback` is the repository of a bare tag. */
function nameOf(descriptor: Descriptor, fallback: string): string[] {
  const { annotations = {} } = descriptor
  const full = annotations[CONTAINERD_NAME]
  const ref = annotations[REF_NAME]
  const candidates = [full, ref !== undefined && /[/:]/.test(ref) ? ref : undefined]
  if (ref !== undefined) candidates.push(`${fallback}:${ref}`)
  else if (full === undefined) candidates.push(`${fallback}:${DEFAULT_TAG}`)
  for (const candidate of candidates) {
    if (candidate === undefined) continue
    try {
      const { digest: _, ...reference } = withDefaultTag(parseReference(candidate))
      return [formatReference({ ...reference, tag: reference.tag ?? DEFAULT_TAG, digest: undefined })]
    } catch {
      // Annotations are free text; an image without a usable name is loaded without one.
    }
  }
  return []
}

/** Follows indexes to the manifest for a platform. */
function findManifest(
  files: Files,
  descriptor: Descriptor,
  wanted: Platform | undefined,
  depth = 0,
): Descriptor {
  if (!isIndexType(descriptor.mediaType)) return descriptor
  if (depth > DEPTH_MAX) throw new StoreError('INVALID', 'indexes are nested too deeply')
  const fields = parseJsonObject(readDocument(files, descriptor, 'index'), 'the index')
  const { manifests } = parseIndex(fields, descriptor.mediaType)
  const chosen =
    choosePlatform(manifests, wanted ?? hostPlatform()) ?? (manifests.length === 1 ? manifests[0] : undefined)
  if (chosen === undefined) throw noPlatform(manifests, wanted)
  return findManifest(files, chosen, wanted, depth + 1)
}

function readImage(
  files: Files,
  entry: Descriptor,
  repository: string,
  wanted: Platform | undefined,
): SourceImage {
  const descriptor = findManifest(files, entry, wanted)
  const bytes = readDocument(files, descriptor, 'manifest')
  const fields = parseJsonObject(bytes, 'the manifest')
  const mediaType = documentType(fields, descriptor.mediaType)
  const manifest = parseManifest(fields, mediaType)
  const config = readDocument(files, manifest.config, 'config')
  checkPlatform(parseImageConfig(config).platform, wanted)
  for (const layer of manifest.layers) {
    const size = files.size(blobName(layer))
    if (size === undefined) throw new StoreError('NOT_FOUND', `layer ${layer.digest} is missing`)
    if (size !== layer.size) {
      throw new StoreError('DIGEST', `layer ${layer.digest} is to have ${layer.size} bytes and has ${size}`)
    }
  }
  return {
    names: nameOf(entry, repository),
    manifest: { bytes, mediaType: manifest.mediaType },
    config,
    layers: manifest.layers.map((layer) => ({
      descriptor: layer,
      open: (offset) => files.stream(blobName(layer), offset),
    })),
  }
}

function readIndex(files: Files): readonly Descriptor[] {
  const marker = parseJsonObject(files.read('oci-layout'), 'oci-layout')
  if (marker.imageLayoutVersion !== '1.0.0') {
    throw new StoreError(
      'UNSUPPORTED',
      `OCI layout version ${String(marker.imageLayoutVersion)}; only 1.0.0 is known`,
    )
  }
  const { manifests } = parseIndex(
    parseJsonObject(files.read('index.json'), 'index.json'),
    OCI_INDEX,
    'index.json',
  )
  if (manifests.length === 0) throw new StoreError('NOT_FOUND', 'there is no image in it')
  return manifests
}

/** Returns the images of a layout. `repository` names those that have only a tag there. */
export function readOciLayout(files: Files, repository: string, wanted: Platform | undefined): SourceImage[] {
  return readIndex(files).map((each) => readImage(files, each, repository, wanted))
}

/** Returns the image of a tag; without one the layout's only image. */
export function readOciImage(
  files: Files,
  repository: string,
  tag: string | undefined,
  platform?: Platform,
): SourceImage {
  const all = readIndex(files)
  const tags = all.map(({ annotations }) => annotations?.[REF_NAME])
  const found = tag === undefined ? (all.length === 1 ? 0 : -1) : tags.indexOf(tag)
  const known = tags.filter((each) => each !== undefined).join(', ')
  if (found >= 0) return readImage(files, all[found]!, repository, platform)
  throw new StoreError(
    'NOT_FOUND',
    tag === undefined ? `it has several images; name one of ${known}` : `no image ${tag} in it, but ${known}`,
  )
}
