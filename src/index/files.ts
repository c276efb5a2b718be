// Index files on disk: made whole and renamed into place, read with care. A file is believed only when it
// is root's or our own, nobody else may write it, and its checksums and its layers' stamps are right.

import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { threadId } from 'node:worker_threads'
import { ENOENT, errnoReason } from '../base/errno.js'
import { makePath } from '../base/make-path.js'
import { native } from '../sys/native.js'
import {
  BLOCK,
  H_LAYERS,
  H_MAGIC,
  H_STAMPS_AT,
  H_VERSION,
  KIND_LAYER,
  KIND_STACK,
  MAGIC,
  STAMP_WORDS,
  VERSION,
} from './format.js'
import { prepareHash } from './hash.js'
import { differenceOf } from './index-compare.js'
import { scanLayer } from './layer-scan.js'
import { mergeLayers } from './stack-merge.js'
import { joinStamps, keyOf, type Stamp, stampOfFd } from './stamp.js'
import { IndexView } from './view.js'

/** The index of a layer whose tree is `fs` lies beside that, under this name. */
export const BESIDE = 'index'
const STACK = '.stack'
const LAYER = '.layer'
const OTHERS_MAY_WRITE = 0o022
const LAYERS_MAX = 4096

export type IndexedLayer = { readonly fd: number; readonly path: string; readonly stamp: Stamp }

/** An index that was opened: an fd of its file, for the workers to map. */
export type OpenIndex = { readonly fd: number; readonly path: string; readonly view: IndexView }

/**
 * Returns an index file to look at: a stack's is mapped, as it serves for long; a layer's is read once.
 * Throws an Error with the reason when it can't be believed.
 */
function viewFile(fd: number, kind: number, onDamage?: (damage: string) => void): IndexView {
  if (kind === KIND_LAYER) {
    const { buffer, byteOffset, byteLength } = readFileSync(fd)
    const own = buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer
    return new IndexView(own, kind, -1, onDamage)
  }
  const buffer = native.mapFile(fd)
  if (typeof buffer === 'number') throw new Error('it can not be mapped')
  return new IndexView(buffer, kind, buffer.byteLength / 4 - BLOCK / 4, onDamage)
}

/** Maps a stack's index for a worker. Needs: prepareHash(). */
export function viewStack(fd: number, onDamage: (damage: string) => void): IndexView {
  return viewFile(fd, KIND_STACK, onDamage)
}

/** Returns undefined when there is no such file. Throws an Error with the reason when it is not right. */
function openIndex(path: string, kind: number, stamps: Stamp): OpenIndex | undefined {
  // Not by Node, which on a thread closes what it opened once more at the thread's end: by then the number
  // may be another mount's file.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
  const fd = native.openPath(Buffer.from(path), flags, 0)
  if (fd === -ENOENT) return undefined
  if (fd < 0) throw new Error(errnoReason(fd))
  try {
    const { uid, mode } = fstatSync(fd)
    if (uid !== 0 && uid !== process.geteuid?.()) throw new Error('it belongs to another user')
    if ((mode & OTHERS_MAY_WRITE) !== 0) throw new Error('other users may write to it')
    const view = viewFile(fd, kind)
    const own = view.stamps()
    if (own === undefined) throw new Error(view.damage)
    if (own.length !== stamps.length || own.some((word, i) => word !== stamps[i])) {
      throw new Error('it is of other layers')
    }
    const root = view.dir(1)
    if (root < 0 || view.ownEntry(1) < 0 || view.list(root) < 0) throw new Error(view.damage)
    return { fd, path, view }
  } catch (error) {
    native.close(fd)
    throw error
  }
}

function writeFile(path: string, bytes: Uint8Array): void {
  // Threads of a server may make the same one.
  const draft = `${path}.${process.pid}-${threadId}.tmp`
  try {
    writeFileSync(draft, bytes, { mode: 0o600 })
    renameSync(draft, path)
  } catch (error) {
    rmSync(draft, { force: true })
    throw error
  }
}

/** Writes the index of one layer to `path`. `root`: an fd of its tree. */
export async function writeLayerIndex(root: number, path: string): Promise<void> {
  await prepareHash()
  // The stamp first: a change that comes in between makes the index invalid, not wrong.
  const stamp = stampOfFd(root)
  writeFile(path, scanLayer(root).toFile(KIND_LAYER, stamp))
}

/** Returns why an index file of a layer is not right, undefined when it is. All of it is looked at. */
export async function checkLayerIndex(root: number, path: string): Promise<string | undefined> {
  await prepareHash()
  try {
    const stamp = stampOfFd(root)
    const opened = openIndex(path, KIND_LAYER, stamp)
    if (opened === undefined) return 'it is missing'
    native.close(opened.fd)
    if (!opened.view.proveAll()) return opened.view.damage
    return differenceOf(
      new IndexView(scanLayer(root).toFile(KIND_LAYER, stamp).buffer as ArrayBuffer, KIND_LAYER),
      opened.view,
    )
  } catch (error) {
    return (error as Error).message
  }
}

/** Returns why an index file is not right in itself, undefined when it is. */
export async function checkFile(path: string): Promise<string | undefined> {
  await prepareHash()
  let fd = -1
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    const view = viewFile(fd, path.endsWith(STACK) ? KIND_STACK : KIND_LAYER)
    view.proveAll()
    return view.damage
  } catch (error) {
    return (error as Error).message
  } finally {
    if (fd >= 0) closeSync(fd)
  }
}

/** Returns which layers an index file says it is of, nothing proved; undefined when it is none. */
export function readStamps(path: string): Stamp | undefined {
  let fd = -1
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    const header = new Int32Array(BLOCK / 4)
    if (readSync(fd, header, 0, BLOCK, 0) !== BLOCK || header[H_MAGIC] !== MAGIC) return undefined
    const count = header[H_LAYERS]!
    if (header[H_VERSION] !== VERSION || count < 1 || count > LAYERS_MAX) return undefined
    const stamps = new Int32Array(count * STAMP_WORDS)
    const bytes = readSync(fd, stamps, 0, stamps.byteLength, header[H_STAMPS_AT]!)
    return bytes === stamps.byteLength ? stamps : undefined
  } catch {
    return undefined
  } finally {
    if (fd >= 0) closeSync(fd)
  }
}

/**
 * Opens the index of a stack of layers (top first) that is kept in directory `dir`; makes it, and those of
 * layers, where they are missing or not right. Undefined, with a word to `log`, when it can't be had.
 */
export async function openStack(
  dir: string,
  layers: readonly IndexedLayer[],
  log: (line: string) => void,
): Promise<OpenIndex | undefined> {
  await prepareHash()
  const stamps = joinStamps(layers.map(({ stamp }) => stamp))
  const path = join(dir, keyOf(stamps) + STACK)
  try {
    const known = openIndex(path, KIND_STACK, stamps)
    if (known !== undefined) return known
  } catch (error) {
    log(`index ${path}: ${(error as Error).message}; making it anew`)
  }
  try {
    makePath(dir, 0o700)
    const views = layers.map((layer) => layerView(dir, layer, log))
    writeFile(path, mergeLayers(views).toFile(KIND_STACK, stamps))
    return openIndex(path, KIND_STACK, stamps)
  } catch (error) {
    log(`index ${path}: ${(error as Error).message}; going on without`)
    return undefined
  }
}

/** Returns the index of one layer: from beside it, from `dir`, or made anew and kept there. */
function layerView(dir: string, { fd, path, stamp }: IndexedLayer, log: (line: string) => void): IndexView {
  const kept = join(dir, keyOf(stamp) + LAYER)
  const places = basename(path) === 'fs' ? [join(dirname(path), BESIDE), kept] : [kept]
  for (const place of places) {
    try {
      const known = openIndex(place, KIND_LAYER, stamp)
      if (known === undefined) continue
      native.close(known.fd)
      if (known.view.proveAll()) return known.view
      throw new Error(known.view.damage)
    } catch (error) {
      log(`index ${place}: ${(error as Error).message}; reading the layer`)
    }
  }
  const file = scanLayer(fd).toFile(KIND_LAYER, stamp)
  writeFile(kept, file)
  return new IndexView(file.buffer as ArrayBuffer, KIND_LAYER)
}
