// Descriptors, manifests and indexes: parsed from bytes that came from elsewhere, every field that
// is used checked. The bytes themselves stay the truth; nothing is ever written back from these.
// image-spec descriptor.md, manifest.md, image-index.md; docker's v2 schema 2 has the same fields.

import { type Digest, parseDigest } from './digest.js'
import { StoreError } from './errors.js'
import {
  DOCKER_LIST,
  DOCKER_MANIFEST,
  DOCKER_SCHEMA1,
  isConfigType,
  isIndexType,
  isManifestType,
  layerKind,
  OCI_INDEX,
  OCI_MANIFEST,
} from './media-types.js'
import { type Platform, parsePlatformObject } from './platform.js'

export type Descriptor = {
  readonly mediaType: string
  readonly digest: Digest
  /** Bytes. */
  readonly size: number
  readonly platform?: Platform
  readonly annotations?: Readonly<Record<string, string>>
}

export type Manifest = {
  readonly mediaType: string
  readonly config: Descriptor
  /** Base first. */
  readonly layers: readonly Descriptor[]
}

export type Index = { readonly mediaType: string; readonly manifests: readonly Descriptor[] }

/** Larger manifests, indexes and configs are refused (distribution-spec: registries take at least 4 MiB). */
export const DOCUMENT_MAX = 8 << 20
const LAYERS_MAX = 1000

type Fields = Record<string, unknown>

/** Returns the bytes as a JSON object. Throws INVALID. */
export function parseJsonObject(bytes: Uint8Array, what: string): Fields {
  if (bytes.length > DOCUMENT_MAX)
    throw new StoreError('LIMIT', `${what} is larger than ${DOCUMENT_MAX} bytes`)
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString())
  } catch {
    throw new StoreError('INVALID', `${what} is no JSON`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new StoreError('INVALID', `${what} is no JSON object`)
  }
  return value as Fields
}

function parseDescriptor(value: unknown, what: string): Descriptor {
  if (typeof value !== 'object' || value === null) throw new StoreError('INVALID', `${what} is missing`)
  const { mediaType, digest, size, platform, annotations } = value as Fields
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    throw new StoreError('INVALID', `${what} has no size`)
  }
  return {
    mediaType: typeof mediaType === 'string' ? mediaType : '',
    digest: parseDigest(digest, what),
    size,
    ...(platform !== undefined && { platform: parsePlatformObject(platform) }),
    ...(annotations !== undefined && { annotations: stringRecord(annotations) }),
  }
}

/** Returns those members of a JSON object that are strings. */
export function stringRecord(value: unknown): Record<string, string> {
  if (typeof value !== 'object' || value === null) return {}
  return Object.fromEntries(Object.entries(value).filter(([, each]) => typeof each === 'string'))
}

/** Returns what kind of document this is: by its own mediaType, else as told, else by its members. */
export function documentType(fields: Fields, told: string | undefined): string {
  const type = typeof fields.mediaType === 'string' ? fields.mediaType : told
  if (type !== undefined && (isIndexType(type) || isManifestType(type))) return type
  if (fields.schemaVersion === 1 || (type !== undefined && DOCKER_SCHEMA1.test(type))) {
    throw new StoreError(
      'UNSUPPORTED',
      'this is a docker schema 1 image, a format of before 2016; push it anew',
    )
  }
  if (Array.isArray(fields.manifests)) return OCI_INDEX
  if (Array.isArray(fields.layers)) return OCI_MANIFEST
  throw new StoreError('UNSUPPORTED', `neither an image nor an index: ${type ?? 'no media type'}`)
}

function checkSchema(fields: Fields, what: string): void {
  if (fields.schemaVersion !== 2) throw new StoreError('INVALID', `${what} has no schemaVersion 2`)
}

/** Returns a checked manifest. Throws INVALID or UNSUPPORTED (foreign and unknown layers). */
export function parseManifest(fields: Fields, mediaType: string, what = 'the manifest'): Manifest {
  checkSchema(fields, what)
  const config = parseDescriptor(fields.config, `the config of ${what}`)
  if (config.mediaType !== '' && !isConfigType(config.mediaType)) {
    throw new StoreError('UNSUPPORTED', `${what} is of no image but of ${config.mediaType}`)
  }
  if (!Array.isArray(fields.layers)) throw new StoreError('INVALID', `${what} has no layers`)
  if (fields.layers.length > LAYERS_MAX)
    throw new StoreError('LIMIT', `${what} has over ${LAYERS_MAX} layers`)
  const layers = fields.layers.map((each, at) => parseDescriptor(each, `layer ${at + 1} of ${what}`))
  for (const { mediaType: type, digest } of layers) {
    const kind = layerKind(type)
    if (kind === 'foreign') {
      throw new StoreError(
        'UNSUPPORTED',
        `layer ${digest} is foreign (${type}): its owner gives it out elsewhere`,
      )
    }
    if (kind === 'unknown') throw new StoreError('UNSUPPORTED', `layer ${digest} is of unknown type ${type}`)
  }
  return { mediaType: mediaType === DOCKER_MANIFEST ? DOCKER_MANIFEST : OCI_MANIFEST, config, layers }
}

/** Returns a checked index. Throws INVALID. */
export function parseIndex(fields: Fields, mediaType: string, what = 'the index'): Index {
  checkSchema(fields, what)
  if (!Array.isArray(fields.manifests)) throw new StoreError('INVALID', `${what} lists no manifests`)
  const manifests = fields.manifests.map((each, at) => parseDescriptor(each, `entry ${at + 1} of ${what}`))
  return { mediaType: mediaType === DOCKER_LIST ? DOCKER_LIST : OCI_INDEX, manifests }
}
