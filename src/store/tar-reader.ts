// A tar archive pushed in piece by piece, its members handed out as they come: synchronous, so that
// one loop reads, hashes and writes. Never holds more than one header's worth of data.
//
// Order of calls for a member: entry(), data()*, end(). After the two zero blocks everything is
// ignored, as Go's archive/tar does; an archive that stops between members is complete.

import { showName } from './at.js'
import { StoreError } from './errors.js'
import { BLOCK, padding, type SparsePart, type TarEntry } from './tar-entry.js'
import {
  applyPax,
  checkIds,
  checkSparse,
  decodeHeader,
  decodePax,
  gnuSparse,
  gnuSparseMore,
  invalidTar,
  isMemberFlag,
  isZeroBlock,
  type PaxRecords,
  pairs,
  paxSparse,
} from './tar-header.js'

/** GNU tar's, of the whole archive. */
const VOLUME_LABEL = 'V'

export interface TarHandler {
  entry(entry: TarEntry): void
  /** The next bytes of the file, without those of holes. Only valid during the call. */
  data(bytes: Buffer): void
  end(): void
}

/** Longest PAX header or long name; Go has the same limit. */
const SPECIAL_MAX = 1 << 20
const SPARSE_PARTS_MAX = 1 << 17

type State = 'header' | 'special' | 'sparse-block' | 'sparse-map' | 'data' | 'skip' | 'ended'

export class TarReader {
  readonly #handler: TarHandler
  #state: State = 'header'
  /** Bytes of a block, or of a special member, that have come so far. */
  #held = Buffer.alloc(BLOCK)
  #heldLength = 0
  #wanted = BLOCK
  /** Bytes of member data, then of padding, still to come. */
  #left = 0
  #pad = 0
  #flag = ''
  #global: PaxRecords = new Map()
  #pax: PaxRecords | null = null
  #longName: string | null = null
  #longLink: string | null = null
  #entry: TarEntry | null = null
  #parts: SparsePart[] = []
  #realSize = 0
  #zeroBlocks = 0
  #isAny = false

  constructor(handler: TarHandler) {
    this.#handler = handler
  }

  push(chunk: Buffer): void {
    let at = 0
    while (at < chunk.length && this.#state !== 'ended') {
      if (this.#state === 'data' || this.#state === 'skip') at += this.#pushData(chunk, at)
      else at += this.#pushHeld(chunk, at)
    }
  }

  /** Bytes of the current member and its padding that are still to come. */
  get left(): number {
    return this.#state === 'data' || this.#state === 'skip' ? this.#left + this.#pad : 0
  }

  /** Goes on as if `left` bytes had been pushed; for archives that can be sought in. */
  skipLeft(): void {
    if (this.#state === 'data') this.#endMember()
    this.#left = 0
    this.#pad = 0
    this.#hold('header', BLOCK)
  }

  get isEnded(): boolean {
    return this.#state === 'ended'
  }

  /** Call at the end of the stream. Throws INVALID when a member is cut off. */
  finish(): void {
    if (this.#state === 'ended') return
    const isBetween = this.#state === 'header' && this.#heldLength === 0 && this.#pax === null
    if (!isBetween) throw invalidTar('it ends in the middle of a member')
    if (!this.#isAny && this.#zeroBlocks === 0)
      throw new StoreError('INVALID', 'not a tar archive: it is empty')
  }

  #pushHeld(chunk: Buffer, at: number): number {
    // A whole block that lies in the chunk needs no copy.
    if (this.#state === 'header' && this.#heldLength === 0 && chunk.length - at >= BLOCK) {
      this.#header(chunk.subarray(at, at + BLOCK))
      return BLOCK
    }
    const length = Math.min(this.#wanted - this.#heldLength, chunk.length - at)
    chunk.copy(this.#held, this.#heldLength, at, at + length)
    this.#heldLength += length
    if (this.#heldLength === this.#wanted) {
      const bytes = this.#held.subarray(0, this.#wanted)
      this.#heldLength = 0
      if (this.#state === 'header') this.#header(bytes)
      else if (this.#state === 'special') this.#special(bytes)
      else if (this.#state === 'sparse-block') this.#sparseBlock(bytes)
      else this.#sparseMap(bytes)
    }
    return length
  }

  #hold(state: State, length: number): void {
    this.#state = state
    this.#wanted = length
    if (this.#held.length < length) this.#held = Buffer.alloc(length)
  }

  #pushData(chunk: Buffer, at: number): number {
    const { length } = chunk
    let from = at
    if (this.#left > 0) {
      const end = Math.min(length, at + this.#left)
      if (this.#state === 'data') this.#handler.data(chunk.subarray(at, end))
      this.#left -= end - at
      from = end
      if (this.#left > 0) return from - at
      if (this.#state === 'data') this.#endMember()
    }
    const skipped = Math.min(this.#pad, length - from)
    this.#pad -= skipped
    if (this.#pad === 0) this.#hold('header', BLOCK)
    return from + skipped - at
  }

  #endMember(): void {
    this.#state = 'skip'
    this.#handler.end()
  }

  #header(block: Buffer): void {
    if (isZeroBlock(block)) {
      if (++this.#zeroBlocks === 2) this.#state = 'ended'
      return
    }
    if (this.#zeroBlocks > 0) throw invalidTar('a zero block stands between members')
    const { flag, entry } = decodeHeader(block)
    this.#isAny = true
    this.#flag = flag
    if ('xgLK'.includes(flag)) {
      if (entry.size > SPECIAL_MAX)
        throw new StoreError('LIMIT', `a tar header is larger than ${SPECIAL_MAX} bytes`)
      if (entry.size === 0) this.#special(Buffer.alloc(0))
      else this.#hold('special', entry.size + padding(entry.size))
      this.#left = entry.size
      return
    }
    this.#member(flag, entry, block)
  }

  #special(bytes: Buffer): void {
    const data = bytes.subarray(0, this.#left)
    if (this.#flag === 'x') this.#pax = decodePax(data)
    else if (this.#flag === 'g') for (const [key, value] of decodePax(data)) this.#global.set(key, value)
    else {
      const end = data.indexOf(0)
      const name = data.toString('latin1', 0, end < 0 ? data.length : end)
      if (this.#flag === 'L') this.#longName = name
      else this.#longLink = name
    }
    this.#left = 0
    this.#hold('header', BLOCK)
  }

  #member(flag: string, entry: TarEntry, block: Buffer): void {
    const records: PaxRecords = new Map([...this.#global, ...(this.#pax ?? [])])
    if (this.#longName !== null) entry.name = this.#longName
    if (this.#longLink !== null) entry.linkName = this.#longLink
    applyPax(entry, records)
    this.#pax = null
    this.#longName = null
    this.#longLink = null
    // Of what is no file only the header counts, whatever size it tells (Go: isHeaderOnly).
    if (entry.type !== 'file') entry.size = 0
    // The oldest archives have no flag for directories.
    if (flag === '\0' && entry.name.endsWith('/')) entry.type = 'directory'
    checkIds(entry)
    if (!isMemberFlag(flag)) {
      if (flag !== VOLUME_LABEL) {
        const name = JSON.stringify(showName(entry.name.slice(0, 300)))
        throw new StoreError('INVALID', `member ${name}: of an unknown kind, ${JSON.stringify(flag)}`)
      }
      this.#skip(entry.size)
      return
    }
    this.#entry = entry
    if (flag === 'S') this.#gnuSparse(block)
    else if (!this.#paxSparse(records)) this.#begin()
  }

  #skip(size: number): void {
    this.#left = size
    this.#pad = padding(size)
    if (size > 0) this.#state = 'skip'
    else this.#hold('header', BLOCK)
  }

  /** The header is complete: hands the member out and sets up for its data. */
  #begin(): void {
    const entry = this.#entry!
    const { size } = entry
    this.#handler.entry(entry)
    this.#left = size
    this.#pad = padding(size)
    if (size === 0) {
      this.#handler.end()
      this.#hold('header', BLOCK)
    } else this.#state = 'data'
  }

  #gnuSparse(block: Buffer): void {
    const { parts, realSize, hasMore } = gnuSparse(block)
    this.#parts = parts
    this.#realSize = realSize
    if (hasMore) this.#hold('sparse-block', BLOCK)
    else this.#beginSparse()
  }

  #sparseBlock(block: Buffer): void {
    const { parts, hasMore } = gnuSparseMore(block)
    this.#parts.push(...parts)
    if (this.#parts.length > SPARSE_PARTS_MAX)
      throw new StoreError('LIMIT', 'a sparse map has too many pieces')
    if (!hasMore) this.#beginSparse()
  }

  #beginSparse(): void {
    const entry = this.#entry!
    entry.sparse = checkSparse(this.#parts, this.#realSize, entry.size)
    this.#begin()
  }

  /** Handles PAX sparse formats 0.0, 0.1 and 1.0; returns whether the member is one. */
  #paxSparse(records: PaxRecords): boolean {
    const get = (key: string): string | undefined => records.get(`GNU.sparse.${key}`)?.toString('latin1')
    const realSize = get('realsize') ?? get('size')
    if (realSize === undefined) return false
    this.#realSize = Number(realSize)
    if (!Number.isSafeInteger(this.#realSize) || this.#realSize < 0)
      throw invalidTar('a sparse size is no number')
    const name = get('name')
    if (name !== undefined) this.#entry!.name = name
    if (get('major') === '1') {
      if (this.#entry!.size < BLOCK) throw invalidTar('a sparse file has no map')
      this.#parts = []
      this.#mapText = ''
      this.#hold('sparse-map', BLOCK)
      return true
    }
    const map = paxSparse(records)
    if (map === undefined)
      throw new StoreError('UNSUPPORTED', 'a sparse file in tar format 0.0 is not understood')
    this.#parts = pairs(map)
    this.#beginSparse()
    return true
  }

  #mapText = ''

  /** Format 1.0: decimal lines at the start of the data (count, then offset and length each), padded. */
  #sparseMap(block: Buffer): void {
    const entry = this.#entry!
    this.#mapText += block.toString('latin1')
    entry.size -= BLOCK
    const lines = this.#mapText.split('\n')
    const count = lines.length > 1 ? Number(lines[0]) : 0
    if (!Number.isSafeInteger(count) || count < 0 || count > SPARSE_PARTS_MAX || entry.size < 0) {
      throw invalidTar('a sparse map is malformed')
    }
    if (lines.length - 1 < 1 + 2 * count) {
      if (entry.size < BLOCK) throw invalidTar('a sparse map is cut off')
      return
    }
    const numbers = lines.slice(1, 1 + 2 * count).map(Number)
    if (numbers.some((each) => !Number.isSafeInteger(each))) throw invalidTar('a sparse map is malformed')
    this.#parts = pairs(numbers)
    this.#beginSparse()
  }
}
