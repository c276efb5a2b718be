// `load`: what a path (or a stream) holds is found out by looking: a directory with an OCI layout, an
// archive of one, a docker-archive, compressed or not.

import { createReadStream, createWriteStream, existsSync, statSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type AddedImage, addFromSource } from './add-image.js'
import { compressionOf, readPlain } from './compression.js'
import { StoreError } from './errors.js'
import { ArchiveFiles, DirectoryFiles, type Files } from './files.js'
import { knownLayer } from './image-table.js'
import type { Platform } from './platform.js'
import type { SourceImage } from './source.js'
import { readDockerArchive } from './source-docker.js'
import { readOciImage, readOciLayout } from './source-oci.js'
import type { Operation } from './store.js'

/** Where an image comes from: a path, or bytes that can't be sought in. */
export type LoadInput = { readonly path: string } | { readonly stream: Readable }

/** Brings all images of an archive or layout into the store. */
export async function load(
  operation: Operation,
  input: LoadInput,
  platform?: Platform,
): Promise<AddedImage[]> {
  const { files, name } = await openFiles(operation, input)
  return addFromSource(operation, await readSources(operation, files, name, platform))
}

/** Brings the image of a tag of an OCI layout into the store; without a tag its only image. */
export async function loadFromLayout(
  operation: Operation,
  path: string,
  tag: string | undefined,
  platform?: Platform,
): Promise<AddedImage[]> {
  if (!existsSync(join(path, 'oci-layout'))) throw new StoreError('NOT_FOUND', 'there is no OCI layout')
  const image = readOciImage(new DirectoryFiles(path), repositoryFrom(path), tag, platform)
  return addFromSource(operation, [image])
}

async function readSources(
  operation: Operation,
  files: Files,
  name: string,
  platform: Platform | undefined,
): Promise<SourceImage[]> {
  // skopeo's docker-archive has no layout marker, newer `docker save` has both: the layout says more,
  // but its names are in manifest.json as well, which every tool writes.
  if (files.size('manifest.json') !== undefined) {
    return readDockerArchive(files, (chainId) => knownLayer(operation.store, chainId), platform)
  }
  if (files.size('oci-layout') !== undefined) return readOciLayout(files, name, platform)
  throw new StoreError(
    'INVALID',
    'neither an OCI layout nor a docker-archive (no oci-layout, no manifest.json in it)',
  )
}

async function openFiles(operation: Operation, input: LoadInput): Promise<{ files: Files; name: string }> {
  if ('stream' in input) {
    return {
      files: new ArchiveFiles(await plainCopy(operation, await spool(operation, input.stream))),
      name: 'stdin',
    }
  }
  const path = resolve(input.path)
  const stat = statSync(path)
  const name = repositoryFrom(path)
  if (stat.isDirectory()) {
    if (!existsSync(join(path, 'oci-layout')) && !existsSync(join(path, 'manifest.json'))) {
      throw new StoreError(
        'INVALID',
        'a directory without an OCI layout; mica import takes a root file system',
      )
    }
    return { files: new DirectoryFiles(path), name }
  }
  if (!stat.isFile()) return openFiles(operation, { stream: createReadStream(path) })
  return { files: new ArchiveFiles(await plainCopy(operation, path)), name }
}

/** Returns the path of the plain archive: itself, or an inflated copy. */
async function plainCopy(operation: Operation, path: string): Promise<string> {
  if (compressionOf(path) === 'none') return path
  const copy = join(operation.dir, 'archive.tar')
  await pipeline(Readable.from(readPlain(path)), createWriteStream(copy, { mode: 0o600 }), {
    ...(operation.signal !== undefined && { signal: operation.signal }),
  })
  return copy
}

async function spool(operation: Operation, stream: Readable): Promise<string> {
  const path = join(operation.dir, 'input')
  await pipeline(stream, createWriteStream(path, { mode: 0o600 }), {
    ...(operation.signal !== undefined && { signal: operation.signal }),
  })
  if (statSync(path).size === 0) throw new StoreError('INVALID', 'nothing came in')
  return path
}

/** Returns a repository name for what has only a tag: the file's name, without what can't be in one. */
export function repositoryFrom(path: string): string {
  const bare = basename(path)
    .toLowerCase()
    .replace(/\.(?:tar|tgz|oci)(?:\.[a-z0-9]+)?$/, '')
  return bare.replace(/[^a-z0-9]+/g, '-').replace(/^-+|-+$/g, '') || 'image'
}
