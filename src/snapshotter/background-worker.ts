// The thread that does what nobody waits for: one job a message, one answer each.

import { readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { parentPort } from 'node:worker_threads'
import { O_DIRECTORY } from '../base/open-flags.js'
import { openStack, writeLayerIndex } from '../index/files.js'
import { prepareHash } from '../index/hash.js'
import { joinStamps, keyOf, type Stamp, stampOfFd } from '../index/stamp.js'
import { native } from '../sys/native.js'

export type Job =
  /** Make the index of the layer whose tree this is. */
  | { readonly verb: 'index'; readonly path: string; readonly file: string }
  /** Make the index of a stack of layers: their trees, top first. */
  | { readonly verb: 'stack'; readonly path: string; readonly dir: string; readonly trees: readonly string[] }
  /** Remove the kept indexes in a directory that are of none of these stacks (stamps top first). */
  | { readonly verb: 'sweep'; readonly path: string; readonly stacks: readonly (readonly Stamp[])[] }

export type Done = { readonly failure: string | undefined }

/** A mount may be writing a file that is younger. */
const SETTLED_MS = 60_000

async function index(tree: string, file: string): Promise<void> {
  const fd = native.openPath(Buffer.from(tree), O_DIRECTORY, 0)
  // Removed meanwhile.
  if (fd < 0) return
  try {
    await writeLayerIndex(fd, file)
  } finally {
    native.close(fd)
  }
}

async function stack(dir: string, trees: readonly string[]): Promise<string | undefined> {
  const words: string[] = []
  const fds: number[] = []
  try {
    for (const path of trees) {
      const fd = native.openPath(Buffer.from(path), O_DIRECTORY, 0)
      // Removed meanwhile.
      if (fd < 0) return undefined
      fds.push(fd)
    }
    const layers = trees.map((path, i) => ({ fd: fds[i]!, path, stamp: stampOfFd(fds[i]!) }))
    const index = await openStack(dir, layers, (line) => void words.push(line))
    if (index !== undefined) native.close(index.fd)
    return words[0]
  } finally {
    for (const fd of fds) native.close(fd)
  }
}

async function sweep(dir: string, stacks: readonly (readonly Stamp[])[]): Promise<void> {
  const names = readdirSync(dir)
  if (names.length === 0) return
  await prepareHash()
  const known = new Set(
    stacks.flatMap((stamps) => [keyOf(joinStamps(stamps)), keyOf(joinStamps([stamps[0]!]))]),
  )
  for (const name of names) {
    const path = join(dir, name)
    if (known.has(name.split('.')[0]!)) continue
    const stat = statSync(path, { throwIfNoEntry: false })
    if (stat !== undefined && Date.now() - stat.mtimeMs > SETTLED_MS) rmSync(path, { force: true })
  }
}

async function work(job: Job): Promise<string | undefined> {
  try {
    if (job.verb === 'index') await index(job.path, job.file)
    else if (job.verb === 'stack') return await stack(job.dir, job.trees)
    else await sweep(job.path, job.stacks)
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

parentPort!.on('message', (job: Job) => {
  void work(job).then((failure) => parentPort!.postMessage({ failure } satisfies Done))
})
