// docker-archive: what `docker save`, `podman save` and skopeo write. manifest.json lists configs,
// names and layer files; there are no digests of compressed layers in it, so we make the manifest.

import { detectCompression } from './compression.js'
import { type Descriptor, parseJsonObject } from './descriptor.js'
import { type Digest, digestOf, Hasher } from './digest.js'
import { StoreError } from './errors.js'
import type { Files } from './files.js'
import { type ImageConfig, parseImageConfig } from './image-config.js'
import { OCI_CONFIG, OCI_LAYER, OCI_MANIFEST } from './media-types.js'
import type { Platform } from './platform.js'
import { checkPlatform } from './platform-choice.js'
import { formatReference, parseReference, withDefaultTag } from './reference.js'
import type { SourceImage, SourceLayer } from './source.js'

type Item = {
  readonly Config: string
  readonly RepoTags: readonly string[]
  readonly Layers: readonly string[]
}

/** Knows a layer's descriptor from the store, where the same layer is there already. */
export type KnownLayer = (chainId: Digest) => Descriptor | undefined

function parseItems(bytes: Buffer): Item[] {
  let value: unknown
  try {
    value = JSON.parse(bytes.toString())
  } catch {
    throw new StoreError('INVALID', 'manifest.json is no JSON')
  }
  if (!Array.isArray(value))
    throw new StoreError(
      'INVALID',
      "manifest.json is no list; of skopeo's dir: make an OCI layout: skopeo copy dir:DIR oci:OTHER:TAG",
    )
  return value.map((each) => {
    const { Config, RepoTags, Layers } = (each ?? {}) as Record<string, unknown>
    if (
      typeof Config !== 'string' ||
      !Array.isArray(Layers) ||
      Layers.some((layer) => typeof layer !== 'string')
    ) {
      throw new StoreError('INVALID', 'manifest.json has an entry without Config and Layers')
    }
    const tags = Array.isArray(RepoTags) ? RepoTags.filter((tag) => typeof tag === 'string') : []
    return { Config, RepoTags: tags, Layers }
  })
}

async function describeLayer(
  files: Files,
  name: string,
  at: number,
  config: ImageConfig,
  known: KnownLayer,
): Promise<SourceLayer> {
  const size = files.size(name)
  if (size === undefined) throw new StoreError('NOT_FOUND', `layer ${name} is missing`)
  const open = (offset: number): AsyncIterable<Buffer> => files.stream(name, offset)
  const here = known(config.chainIds[at]!)
  if (here !== undefined) return { descriptor: here, open }
  const compression = detectCompression(files.head(name, 8))
  if (compression === 'none') {
    return { descriptor: { mediaType: OCI_LAYER, digest: config.diffIds[at]!, size }, open }
  }
  if (compression === 'xz' || compression === 'bzip2')
    throw new StoreError(
      'UNSUPPORTED',
      `layer ${name} is ${compression}; gzip, zstd and plain tar are understood`,
    )
  const hasher = new Hasher()
  for await (const chunk of files.stream(name)) hasher.update(chunk)
  return { descriptor: { mediaType: `${OCI_LAYER}+${compression}`, digest: hasher.digest(), size }, open }
}

/** Returns an OCI manifest for a config and layers, always the same bytes for the same ones. */
export function makeManifest(config: Buffer, layers: readonly Descriptor[]): Buffer {
  const plain = ({ mediaType, digest, size }: Descriptor): object => ({ mediaType, digest, size })
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      config: plain({ mediaType: OCI_CONFIG, digest: digestOf(config), size: config.length }),
      layers: layers.map(plain),
    }),
  )
}

function fullName(tag: string): string | undefined {
  try {
    return formatReference(withDefaultTag(parseReference(tag)))
  } catch {
    return undefined
  }
}

/** Returns the images of an archive. */
export async function readDockerArchive(
  files: Files,
  known: KnownLayer,
  wanted: Platform | undefined,
): Promise<SourceImage[]> {
  const images: SourceImage[] = []
  for (const item of parseItems(files.read('manifest.json'))) {
    const bytes = files.read(item.Config)
    // The name is the digest in what docker writes; it is checked where it is one.
    const named = /(?:^|\/)([0-9a-f]{64})(?:\.json)?$/.exec(item.Config)?.[1]
    if (named !== undefined && digestOf(bytes) !== `sha256:${named}`) {
      throw new StoreError(
        'DIGEST',
        `wrong digest: config ${item.Config} has the content of ${digestOf(bytes)}`,
      )
    }
    parseJsonObject(bytes, 'the image config')
    const config = parseImageConfig(bytes)
    checkPlatform(config.platform, wanted)
    if (config.diffIds.length !== item.Layers.length) {
      throw new StoreError(
        'INVALID',
        `the config has ${config.diffIds.length} layers, manifest.json ${item.Layers.length}`,
      )
    }
    const layers: SourceLayer[] = []
    for (const [at, name] of item.Layers.entries()) {
      layers.push(await describeLayer(files, name, at, config, known))
    }
    const manifest = makeManifest(
      bytes,
      layers.map(({ descriptor }) => descriptor),
    )
    images.push({
      names: item.RepoTags.map(fullName).filter((name) => name !== undefined),
      manifest: { bytes: manifest, mediaType: OCI_MANIFEST },
      config: bytes,
      layers,
    })
  }
  if (images.length === 0) throw new StoreError('NOT_FOUND', 'there is no image in it')
  return images
}
