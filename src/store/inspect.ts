// `inspect`: all that is known about an image, in the members that docker's inspect has.

import { blobSize } from './blob-store.js'
import type { Digest } from './digest.js'
import {
  type FoundImage,
  imageSize,
  layersOf,
  readConfig,
  readManifest,
  repoDigestsOf,
  tagsOf,
} from './image-table.js'
import { layerTree } from './layout.js'
import { familiar } from './reference.js'
import type { Store } from './store.js'

/** Returns the JSON object for an image. */
export function inspectImage(store: Store, { id, manifest }: FoundImage): Record<string, unknown> {
  const config = readConfig(store, id)
  const { layers, mediaType } = readManifest(store, manifest)
  const trees = layersOf(store, id)
  return {
    Id: id,
    RepoTags: tagsOf(store, id).map(({ reference }) => familiar(reference)),
    RepoDigests: repoDigestsOf(store, id).map(familiar),
    Created: config.created,
    Author: config.author,
    Os: config.platform.os,
    Architecture: config.platform.architecture,
    ...(config.platform.variant !== undefined && { Variant: config.platform.variant }),
    Config: config.raw.config ?? {},
    Size: imageSize(store, id),
    Manifest: { Digest: manifest, MediaType: mediaType },
    RootFS: { Type: 'layers', Layers: config.diffIds },
    Layers: layers.map((layer, at) => ({
      Digest: layer.digest,
      MediaType: layer.mediaType,
      CompressedSize: layer.size,
      IsKept: blobSize(store.layout, layer.digest as Digest) !== undefined,
      DiffId: config.diffIds[at],
      ChainId: config.chainIds[at],
      Size: trees[at]?.size,
      Entries: trees[at]?.entries,
      Path: layerTree(store.layout, config.chainIds[at]!),
    })),
  }
}
