// Digests: `sha256:` and 64 hexadecimal digits, checked once where they come in.
// image-spec descriptor.md, "Digests". Other algorithms are refused: nothing in use has them.

import { createHash } from 'node:crypto'
import { StoreError } from './errors.js'

declare const brand: unique symbol
/** A checked digest: safe in a path, equal as a string when it is the same. */
export type Digest = string & { readonly [brand]: 'digest' }

const FORM = /^sha256:[0-9a-f]{64}$/

export function isDigest(text: unknown): text is Digest {
  return typeof text === 'string' && FORM.test(text)
}

/** Returns the text as a digest. Throws INVALID, saying what it was the digest of. */
export function parseDigest(text: unknown, what: string): Digest {
  if (isDigest(text)) return text
  const algorithm = typeof text === 'string' ? /^([a-z0-9+._-]+):[0-9a-f]{32,}$/i.exec(text)?.[1] : undefined
  if (algorithm !== undefined && algorithm !== 'sha256') {
    throw new StoreError('UNSUPPORTED', `${what} has a ${algorithm} digest; only sha256 is known`)
  }
  throw new StoreError('INVALID', `${what} has a malformed digest: ${String(text).slice(0, 80)}`)
}

/** Returns the digest of bytes. */
export function digestOf(bytes: Uint8Array | string): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}` as Digest
}

/** Returns the 64 digits. */
export function hexOf(digest: Digest): string {
  return digest.slice('sha256:'.length)
}

/** Returns the first 12 digits, as people know images. */
export function shortId(digest: string): string {
  return digest.replace(/^sha256:/, '').slice(0, 12)
}

/** A running digest, with the number of bytes that went in. */
export class Hasher {
  readonly #hash = createHash('sha256')
  size = 0

  update(bytes: Uint8Array): void {
    this.#hash.update(bytes)
    this.size += bytes.length
  }

  /** Ends it. */
  digest(): Digest {
    return `sha256:${this.#hash.digest('hex')}` as Digest
  }
}

/** Returns the chain ids of diff ids, base first (image-spec config.md, "Layer ChainID"). */
export function chainIds(diffIds: readonly Digest[]): Digest[] {
  const chains: Digest[] = []
  for (const diffId of diffIds) {
    const below = chains.at(-1)
    chains.push(below === undefined ? diffId : digestOf(`${below} ${diffId}`))
  }
  return chains
}
