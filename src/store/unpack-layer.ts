// One layer from its blob to a tree: read, inflate, hash and write in one pass. Runs in a worker
// thread (unpack-pool.ts) or in the caller's.

import { mkdirSync } from 'node:fs'
import { close, openRoot } from './at.js'
import { readPlain } from './compression.js'
import { type Digest, Hasher } from './digest.js'
import { StoreError } from './errors.js'
import { indexLayer } from './layer-index.js'
import { removeTree } from './store.js'
import { TarReader } from './tar-reader.js'
import { DEFAULT_LIMITS, LayerUnpacker, type UnpackLimits } from './unpack.js'
import { NeedsLowers } from './unpack-path.js'

export type UnpackRequest = {
  /** Path of the blob, compressed or not. */
  readonly blob: string
  /** Directory to make; the tree becomes its content. */
  readonly tree: string
  /** What the plain archive's digest has to be. */
  readonly diffId: Digest
  /** Paths of the layers below, top first; resolves when they are complete. */
  readonly lowers: Promise<readonly string[]>
  readonly limits?: UnpackLimits
  readonly onBytes?: (bytes: number) => void
}

export type Unpacked = {
  /** Bytes of the layer's files. */
  readonly size: number
  readonly entries: number
  /** Owners that its files could not get, as `uid:gid`. */
  readonly lostOwners: readonly string[]
}

const TREE_MODE = 0o755

/** Unpacks; throws DIGEST when the archive is not the one that the diff id names. Leaves the tree as it is then. */
export async function unpackLayer(request: UnpackRequest): Promise<Unpacked> {
  try {
    return await unpackOnce(request, null)
  } catch (error) {
    if (!(error instanceof NeedsLowers)) throw error
  }
  // Something in it can only be placed with the layers below at hand: rare, so once more is cheap.
  removeTree(request.tree)
  return unpackOnce(request, await request.lowers)
}

async function unpackOnce(request: UnpackRequest, known: readonly string[] | null): Promise<Unpacked> {
  const { blob, tree, diffId, limits = DEFAULT_LIMITS } = request
  mkdirSync(tree, { mode: TREE_MODE })
  const fds = [openRoot(tree)]
  const openLowers = (paths: readonly string[]): number[] => {
    const opened = paths.map((path) => openRoot(path))
    fds.push(...opened)
    return opened
  }
  let unpacker: LayerUnpacker | undefined
  try {
    const early = known === null ? null : openLowers(known)
    unpacker = new LayerUnpacker(fds[0]!, early, limits)
    await readLayer(blob, diffId, unpacker, request.onBytes)
    unpacker.finish(early ?? openLowers(await request.lowers))
    await indexLayer(fds[0]!, tree)
    const { bytes, entries, lostOwners } = unpacker
    return { size: bytes, entries, lostOwners: [...lostOwners] }
  } finally {
    unpacker?.close()
    for (const fd of fds) close(fd)
  }
}

/** Streams the blob's archive into a handler and checks its digest. */
async function readLayer(
  blob: string,
  diffId: Digest,
  unpacker: LayerUnpacker,
  onBytes: ((bytes: number) => void) | undefined,
): Promise<void> {
  const hasher = new Hasher()
  const reader = new TarReader(unpacker)
  for await (const chunk of readPlain(blob)) {
    hasher.update(chunk)
    reader.push(chunk)
    onBytes?.(hasher.size)
  }
  // To Go's reader nothing at all is an archive without members, so there are layers that are.
  if (hasher.size > 0) reader.finish()
  const actual = hasher.digest()
  if (actual !== diffId) {
    throw new StoreError(
      'DIGEST',
      `the layer is not the one that the config names: ${diffId} is asked for, this is ${actual}`,
    )
  }
}
