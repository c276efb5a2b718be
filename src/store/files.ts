// Named files to read an image from: a directory's, or a tar archive's without unpacking it.

import { closeSync, createReadStream, openSync, readSync, statSync } from 'node:fs'
import { join, posix } from 'node:path'
import { DOCUMENT_MAX } from './descriptor.js'
import { StoreError } from './errors.js'
import { BLOCK, type TarEntry } from './tar-entry.js'
import { TarReader } from './tar-reader.js'

export interface Files {
  /** Bytes of the file; undefined when there is none. Names have no leading `./`. */
  size(name: string): number | undefined
  /** A small document's content. Throws NOT_FOUND or LIMIT. */
  read(name: string): Buffer
  /** The content from `offset` on. Throws NOT_FOUND. */
  stream(name: string, offset?: number): AsyncIterable<Buffer>
  /** The first bytes, up to `length` of them. */
  head(name: string, length: number): Buffer
}

const STREAM_CHUNK = 512 * 1024

function missing(name: string): StoreError {
  return new StoreError('NOT_FOUND', `${name} is not in it`)
}

/** A part of a file on disk. */
type Range = { readonly path: string; readonly start: number; readonly size: number }

abstract class Ranges implements Files {
  protected abstract range(name: string): Range | undefined

  size(name: string): number | undefined {
    return this.range(name)?.size
  }

  #range(name: string): Range {
    const range = this.range(name)
    if (range === undefined) throw missing(name)
    return range
  }

  read(name: string): Buffer {
    const { size } = this.#range(name)
    if (size > DOCUMENT_MAX) throw new StoreError('LIMIT', `${name} is larger than ${DOCUMENT_MAX} bytes`)
    return this.head(name, size)
  }

  head(name: string, length: number): Buffer {
    const { path, start, size } = this.#range(name)
    const fd = openSync(path, 'r')
    try {
      const bytes = Buffer.alloc(Math.min(length, size))
      return bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, start))
    } finally {
      closeSync(fd)
    }
  }

  stream(name: string, offset = 0): AsyncIterable<Buffer> {
    const { path, start, size } = this.#range(name)
    if (offset >= size) return none()
    return createReadStream(path, {
      start: start + offset,
      end: start + size - 1,
      highWaterMark: STREAM_CHUNK,
    })
  }
}

async function* none(): AsyncGenerator<Buffer> {}

/** A directory's files. */
export class DirectoryFiles extends Ranges {
  readonly #dir: string

  constructor(dir: string) {
    super()
    this.#dir = dir
  }

  protected range(name: string): Range | undefined {
    // Names come from documents in the directory: they stay in it.
    const path = join(this.#dir, posix.join('/', name))
    const stat = statSync(path, { throwIfNoEntry: false })
    return stat?.isFile() ? { path, start: 0, size: stat.size } : undefined
  }
}

const LINKS_MAX = 10

/** The members of a plain tar archive. */
export class ArchiveFiles extends Ranges {
  readonly #path: string
  readonly #members = new Map<string, { start: number; size: number } | { target: string }>()

  constructor(path: string) {
    super()
    this.#path = path
    this.#scan()
  }

  protected range(name: string): Range | undefined {
    let at = posix.join('/', name)
    for (let i = 0; i < LINKS_MAX; i++) {
      const member = this.#members.get(at)
      if (member === undefined) return undefined
      if ('start' in member) return { path: this.#path, ...member }
      at = member.target
    }
    return undefined
  }

  /** Reads all headers, seeking over the data. */
  #scan(): void {
    const fd = openSync(this.#path, 'r')
    try {
      const block = Buffer.alloc(BLOCK)
      let at = 0
      const reader = new TarReader({
        entry: (entry) => this.#add(entry, at),
        data: () => {},
        end: () => {},
      })
      while (!reader.isEnded) {
        const length = readSync(fd, block, 0, BLOCK, at)
        at += length
        reader.push(block.subarray(0, length))
        if (length < BLOCK) break
        if (reader.left > 0) {
          at += reader.left
          reader.skipLeft()
        }
      }
      reader.finish()
      if (at > statSync(this.#path).size)
        throw new StoreError('INVALID', 'damaged tar archive: it is cut off')
    } finally {
      closeSync(fd)
    }
  }

  #add(entry: TarEntry, at: number): void {
    const name = posix.join('/', entry.name)
    if (entry.type === 'file' && entry.sparse === null)
      this.#members.set(name, { start: at, size: entry.size })
    // docker of old wrote a layer once and links to it.
    else if (entry.type === 'symlink') {
      this.#members.set(name, { target: posix.join(posix.dirname(name), entry.linkName) })
    } else if (entry.type === 'hardlink') this.#members.set(name, { target: posix.join('/', entry.linkName) })
  }
}
