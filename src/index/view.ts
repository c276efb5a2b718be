// An index as it is read: mapped from its file, each block proved by its checksum before the first look
// at it. Hot: no allocation, no throw, no system call.
//
// Whatever is wrong is noted in `damage`, and every question from then on gets DAMAGED.

import {
  BLOCK,
  DIR_COUNT,
  DIR_ENTRY,
  DIR_FIRST,
  DIR_LAYERS,
  DIR_LIST,
  DIR_WORDS,
  E_DIR,
  E_HASH,
  E_LENGTH,
  E_NAME,
  ENTRY_WORDS,
  H_BYTES,
  H_DIRS,
  H_DIRS_AT,
  H_ENTRIES,
  H_ENTRIES_AT,
  H_FLAGS,
  H_KIND,
  H_LAYERS,
  H_LIST_WORDS,
  H_LISTS_AT,
  H_MAGIC,
  H_NAME_BYTES,
  H_NAMES_AT,
  H_SLOTS,
  H_SLOTS_AT,
  H_STAMPS_AT,
  H_SUM,
  H_SUMS_AT,
  H_SUMS_SUM,
  H_VERSION,
  hashIn,
  MAGIC,
  STAMP_WORDS,
  VERSION,
} from './format.js'
import { hash64 } from './hash.js'
import type { Stamp } from './stamp.js'

export const DAMAGED = -1
/**
 * Blocks that are proved with one of them: a fault of the system brings in as many pages, what is asked next lies
 * beside, and native/at-once.cc looks at proved ones only. A power of two.
 */
const TOGETHER = 16

export class IndexView {
  readonly words: Int32Array
  readonly bytes: Uint8Array
  readonly layers: number
  readonly flags: number
  readonly dirs: number
  readonly entryCount: number
  readonly names: number
  /** What is wrong, once something is. */
  damage: string | undefined

  readonly #buffer: ArrayBuffer
  readonly #sums: BigUint64Array
  /** For each block of the file: 1 when it was proved. None is any more once something is damaged. */
  readonly ready: Uint8Array
  readonly #firstBlock: number
  readonly #dirsAt: number
  readonly #listsAt: number
  readonly #listWords: number
  readonly #slotsAt: number
  readonly #mask: number
  readonly #entriesAt: number
  readonly #nameBytes: number
  readonly #stampsAt: number
  /** Word that counts unreadable pages, -1 when nothing does; see sys/native.ts mapFile(). */
  readonly faults: number
  readonly #onDamage: (damage: string) => void

  /**
   * Takes a file in memory; `faults`: index of the word that counts unreadable pages, -1 without one.
   * Throws an Error with the reason when it can't be the index it says to be.
   */
  constructor(buffer: ArrayBuffer, kind: number, faults = -1, onDamage: (damage: string) => void = () => {}) {
    this.#buffer = buffer
    this.#onDamage = onDamage
    this.faults = faults
    const size = faults < 0 ? buffer.byteLength : faults * 4
    if (size < BLOCK) throw new Error('it is too short')
    this.words = new Int32Array(buffer)
    this.bytes = new Uint8Array(buffer)
    const h = this.words
    if (h[H_MAGIC] !== MAGIC) throw new Error('it is no index')
    if (h[H_VERSION] !== VERSION) throw new Error(`it has format ${h[H_VERSION]}, ${VERSION} is needed`)
    const sum = new BigUint64Array(buffer, H_SUM * 4, 1)[0]!
    if (hash64(this.bytes.subarray(0, H_SUM * 4)) !== sum) throw new Error('its header is damaged')
    if (h[H_KIND] !== kind) throw new Error('it is of another kind')
    if (h[H_BYTES]! !== size) throw new Error(`it has ${size} bytes, ${h[H_BYTES]} are needed`)
    const sumsAt = h[H_SUMS_AT]!
    this.#stampsAt = h[H_STAMPS_AT]!
    const sums = this.bytes.subarray(sumsAt, this.#stampsAt)
    const ofSums = new BigUint64Array(buffer, H_SUMS_SUM * 4, 1)[0]!
    if (hash64(sums) !== ofSums) throw new Error('its checksums are damaged')
    this.#firstBlock = this.#stampsAt / BLOCK
    this.#sums = new BigUint64Array(buffer, sumsAt, size / BLOCK - this.#firstBlock)
    this.ready = new Uint8Array(size / BLOCK)
    this.layers = h[H_LAYERS]!
    this.flags = h[H_FLAGS]!
    this.dirs = h[H_DIRS]!
    this.entryCount = h[H_ENTRIES]!
    this.names = h[H_NAMES_AT]!
    this.#dirsAt = h[H_DIRS_AT]! >> 2
    this.#listsAt = h[H_LISTS_AT]! >> 2
    this.#listWords = h[H_LIST_WORDS]!
    this.#slotsAt = h[H_SLOTS_AT]! >> 2
    this.#mask = h[H_SLOTS]! - 1
    this.#entriesAt = h[H_ENTRIES_AT]! >> 2
    this.#nameBytes = h[H_NAME_BYTES]!
  }

  /** The stamps of the layers, top first; undefined when they are damaged. */
  stamps(): Stamp | undefined {
    const bytes = this.layers * STAMP_WORDS * 4
    if (!this.#prove(this.#stampsAt, bytes)) return undefined
    return this.words.subarray(this.#stampsAt >> 2, (this.#stampsAt + bytes) >> 2)
  }

  /** Proves every block; returns whether all are as they were written. */
  proveAll(): boolean {
    return this.#prove(this.#stampsAt, this.ready.length * BLOCK - this.#stampsAt)
  }

  /** Returns the entry of a name (> 0), 0 when the directory has none, or DAMAGED. */
  find(dir: number, name: Uint8Array, at: number, length: number): number {
    const hash = hashIn(dir, name, at, length)
    const { words } = this
    let slot = hash & this.#mask
    for (let tries = 0; tries <= this.#mask; tries++) {
      const s = this.#slotsAt + slot
      if (!this.#isReady(s)) return DAMAGED
      const entry = words[s]!
      if (entry === 0) return 0
      const w = this.entry(entry)
      if (w < 0) return DAMAGED
      if (
        words[w + E_HASH] === hash &&
        words[w + E_DIR] === dir &&
        (words[w + E_LENGTH]! & 0xffff) === length
      ) {
        const from = this.name(w)
        if (from < 0) return DAMAGED
        let i = 0
        while (i < length && this.bytes[from + i] === name[at + i]) i++
        if (i === length) return entry
      }
      slot = (slot + 1) & this.#mask
    }
    return this.#damaged('its hash table is full')
  }

  /** Returns the first word of an entry, or DAMAGED. */
  entry(entry: number): number {
    if (entry < 0 || entry >= this.entryCount) return this.#damaged('an entry is out of bounds')
    const w = this.#entriesAt + entry * ENTRY_WORDS
    return this.#isReady(w) ? w : DAMAGED
  }

  /** Returns where the name of the entry at word `w` begins in `bytes`, or DAMAGED. */
  name(w: number): number {
    const at = this.words[w + E_NAME]!
    const length = this.words[w + E_LENGTH]! & 0xffff
    if (at < 0 || at + length > this.#nameBytes) return this.#damaged('a name is out of bounds')
    const from = this.names + at
    return this.#prove(from, length) ? from : DAMAGED
  }

  /**
   * Proves all entries of the directory at word `d`, and their names. Returns both as they lie here and the
   * number of the first byte of the names, or undefined when something is damaged.
   */
  entriesOf(d: number): { entries: Uint8Array; names: Uint8Array; firstName: number } | undefined {
    const count = this.count(d)
    if (count === 0) return { entries: new Uint8Array(0), names: new Uint8Array(0), firstName: 0 }
    const first = this.first(d)
    const from = this.entry(first)
    const last = from < 0 ? DAMAGED : this.entry(first + count - 1)
    if (last < 0 || last !== from + (count - 1) * ENTRY_WORDS) return undefined
    const bytes = count * ENTRY_WORDS * 4
    // They were added one after another, and so were their names.
    const firstName = this.words[from + E_NAME]!
    const nameBytes = this.words[last + E_NAME]! + (this.words[last + E_LENGTH]! & 0xffff) - firstName
    if (firstName < 0 || nameBytes < 0 || firstName + nameBytes > this.#nameBytes) return undefined
    const namesFrom = this.names + firstName
    if (!this.#prove(from * 4, bytes) || !this.#prove(namesFrom, nameBytes)) return undefined
    return {
      entries: this.bytes.subarray(from * 4, from * 4 + bytes),
      names: this.bytes.subarray(namesFrom, namesFrom + nameBytes),
      firstName,
    }
  }

  /** Returns the first word of a directory's record, or DAMAGED. */
  dir(dir: number): number {
    if (dir <= 0 || dir >= this.dirs) return this.#damaged('a directory is out of bounds')
    const w = this.#dirsAt + dir * DIR_WORDS
    return this.#isReady(w) ? w : DAMAGED
  }

  /** Returns the word of a directory's own entry, or DAMAGED. */
  ownEntry(dir: number): number {
    const d = this.dir(dir)
    return d < 0 ? DAMAGED : this.entry(this.words[d + DIR_ENTRY]!)
  }

  /** The first entry of the directory at word `d`, and how many there are. */
  first(d: number): number {
    return this.words[d + DIR_FIRST]!
  }

  count(d: number): number {
    return this.words[d + DIR_COUNT]!
  }

  /** Returns the word where the layers of the directory at word `d` begin, or DAMAGED. */
  list(d: number): number {
    const at = this.words[d + DIR_LIST]!
    const count = this.layerCount(d)
    if (at < 0 || at + count > this.#listWords) return this.#damaged('a list is out of bounds')
    const w = this.#listsAt + at
    return this.#prove(w * 4, count * 4) ? w : DAMAGED
  }

  layerCount(d: number): number {
    return this.words[d + DIR_LAYERS]! & 0xffff
  }

  #isReady(word: number): boolean {
    if (this.faults >= 0 && this.words[this.faults] !== 0) this.#damaged('a part of it can not be read')
    if (this.damage !== undefined) return false
    const block = word >>> 10
    return this.ready[block] === 1 || this.#proveBlock(block)
  }

  /** Proves the blocks of a range of bytes. */
  #prove(from: number, bytes: number): boolean {
    const last = (from + Math.max(bytes, 1) - 1) >>> 12
    for (let block = from >>> 12; block <= last; block++) if (!this.#isReady(block << 10)) return false
    return true
  }

  #proveBlock(block: number): boolean {
    if (!this.#isSound(block)) {
      this.#damaged(`block ${block} is damaged`)
      return false
    }
    this.ready[block] = 1
    const first = block & ~(TOGETHER - 1)
    for (let other = first; other < first + TOGETHER; other++) {
      if (this.ready[other] === 0 && this.#isSound(other)) this.ready[other] = 1
    }
    return true
  }

  #isSound(block: number): boolean {
    const expected = this.#sums[block - this.#firstBlock]
    return expected !== undefined && hash64(new Uint8Array(this.#buffer, block * BLOCK, BLOCK)) === expected
  }

  #damaged(damage: string): number {
    if (this.damage === undefined) {
      this.damage = damage
      this.ready.fill(0)
      this.#onDamage(damage)
    }
    return DAMAGED
  }
}
