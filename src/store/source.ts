// What all media have in common: an image that can be brought into the store, and how its blobs are got.

import type { Descriptor } from './descriptor.js'

/** A layer of a source image. */
export type SourceLayer = {
  readonly descriptor: Descriptor
  /** Its bytes as the descriptor has them, from an offset on. */
  open(offset: number): AsyncIterable<Uint8Array> | Promise<AsyncIterable<Uint8Array>>
}

export type SourceImage = {
  /** Full references (`docker.io/library/alpine:latest`) that it is to have. */
  readonly names: readonly string[]
  readonly manifest: { readonly bytes: Buffer; readonly mediaType: string }
  readonly config: Buffer
  /** Base first. */
  readonly layers: readonly SourceLayer[]
  /** How a failed read is treated; files have none. */
  readonly isRetryable?: (error: unknown) => boolean
  readonly verb?: 'copying' | 'downloading'
  /** Names by digest that it is to have: repository, and what was asked for or answered there. */
  readonly repoDigests?: readonly { readonly repository: string; readonly digest: string }[]
}
