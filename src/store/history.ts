// `history`: an image's layers as the config tells of them, newest first, with their sizes.

import type { Digest } from './digest.js'
import { layersOf, readConfig } from './image-table.js'
import type { Store } from './store.js'

export type HistoryLine = {
  /** Of the image for its newest line; other lines are no images of their own. */
  readonly id: Digest | undefined
  readonly created: string
  readonly createdBy: string
  readonly comment: string
  /** Bytes of the layer's files; 0 where the line made none. */
  readonly size: number
  /** Undefined where the line made no layer. */
  readonly chainId: Digest | undefined
}

/** Returns the lines, newest first. Layers that the history forgets come last, as base layers. */
export function imageHistory(store: Store, image: Digest): HistoryLine[] {
  const config = readConfig(store, image)
  const layers = layersOf(store, image)
  const told = config.history.filter(({ empty_layer }) => empty_layer !== true).length
  // Layers without a line of history are taken to be the oldest.
  let next = Math.max(0, layers.length - told)
  const lines: HistoryLine[] = layers.slice(0, next).map(({ size, chain_id }) => ({
    id: undefined,
    created: config.created,
    createdBy: '',
    comment: '',
    size,
    chainId: chain_id,
  }))
  for (const entry of config.history) {
    const layer = entry.empty_layer === true ? undefined : layers[next++]
    lines.push({
      id: undefined,
      created: typeof entry.created === 'string' ? entry.created : '',
      createdBy: typeof entry.created_by === 'string' ? entry.created_by : '',
      comment: typeof entry.comment === 'string' ? entry.comment : '',
      size: layer?.size ?? 0,
      chainId: layer?.chain_id,
    })
  }
  lines.reverse()
  return lines.map((line, at) => (at === 0 ? { ...line, id: image } : line))
}
