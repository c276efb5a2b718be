// An index in the making: tables that grow, and their form as a file.

import {
  BLOCK,
  BYTES_MAX,
  DIR_ENTRY,
  DIR_WORDS,
  E_DIR,
  E_HASH,
  E_LENGTH,
  E_NAME,
  E_TYPE,
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

export class IndexTable {
  entries = new Int32Array(ENTRY_WORDS * 256)
  entryCount = 0
  dirs = new Int32Array(DIR_WORDS * 64)
  dirCount = 1
  names: Uint8Array = new Uint8Array(4096)
  nameBytes = 0
  lists: number[] = []
  slots = new Int32Array(1024)
  flags = 0

  /** Adds an entry without attributes; returns its number. It can be found by its name from then on. */
  addEntry(dir: number, name: Uint8Array, at: number, length: number, type: number): number {
    const entry = this.entryCount++
    const w = entry * ENTRY_WORDS
    if (w + ENTRY_WORDS > this.entries.length) this.entries = grown(this.entries)
    while (this.nameBytes + length > this.names.length) {
      const names = new Uint8Array(this.names.length * 2)
      names.set(this.names)
      this.names = names
    }
    for (let i = 0; i < length; i++) this.names[this.nameBytes + i] = name[at + i]!
    this.entries[w + E_DIR] = dir
    this.entries[w + E_HASH] = hashIn(dir, name, at, length)
    this.entries[w + E_NAME] = this.nameBytes
    this.entries[w + E_LENGTH] = length
    this.entries[w + E_TYPE] = type
    this.nameBytes += length
    if (entry > 0) this.#insert(entry)
    return entry
  }

  /** Makes a directory of an entry; returns its number. */
  addDir(entry: number): number {
    const dir = this.dirCount++
    if ((dir + 1) * DIR_WORDS > this.dirs.length) this.dirs = grown(this.dirs)
    this.dirs[dir * DIR_WORDS + DIR_ENTRY] = entry
    return dir
  }

  /** Returns the entry of a name, or 0. */
  find(dir: number, name: Uint8Array, at: number, length: number): number {
    const hash = hashIn(dir, name, at, length)
    const mask = this.slots.length - 1
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const entry = this.slots[slot]!
      if (entry === 0) return 0
      const w = entry * ENTRY_WORDS
      if (this.entries[w + E_HASH] !== hash || this.entries[w + E_DIR] !== dir) continue
      if ((this.entries[w + E_LENGTH]! & 0xffff) !== length) continue
      const from = this.entries[w + E_NAME]!
      let i = 0
      while (i < length && this.names[from + i] === name[at + i]) i++
      if (i === length) return entry
    }
  }

  #insert(entry: number): void {
    if (this.entryCount * 2 > this.slots.length) {
      this.slots = new Int32Array(this.slots.length * 2)
      for (let each = 1; each < entry; each++) this.#place(each)
    }
    this.#place(entry)
  }

  #place(entry: number): void {
    const mask = this.slots.length - 1
    let slot = this.entries[entry * ENTRY_WORDS + E_HASH]! & mask
    while (this.slots[slot] !== 0) slot = (slot + 1) & mask
    this.slots[slot] = entry
  }

  /** Returns the file of this index. Throws a RangeError when it would be too large. */
  toFile(kind: number, stamps: Stamp): Uint8Array {
    const sections: [count: number, at: number, data: Int32Array | Uint8Array][] = [
      [H_LAYERS, H_STAMPS_AT, stamps],
      [H_DIRS, H_DIRS_AT, this.dirs.subarray(0, this.dirCount * DIR_WORDS)],
      [H_LIST_WORDS, H_LISTS_AT, Int32Array.from(this.lists)],
      [H_SLOTS, H_SLOTS_AT, this.slots],
      [H_ENTRIES, H_ENTRIES_AT, this.entries.subarray(0, this.entryCount * ENTRY_WORDS)],
      [H_NAME_BYTES, H_NAMES_AT, this.names.subarray(0, this.nameBytes)],
    ]
    const dataBytes = sections.reduce((sum, [, , data]) => sum + aligned(data.byteLength), 0)
    const sumsAt = BLOCK
    const dataAt = sumsAt + aligned((dataBytes / BLOCK) * 8)
    const bytes = dataAt + dataBytes
    if (bytes > BYTES_MAX) throw new RangeError('too many files for an index')
    const file = new Uint8Array(bytes)
    const header = new Int32Array(file.buffer, 0, BLOCK / 4)
    header[H_MAGIC] = MAGIC
    header[H_VERSION] = VERSION
    header[H_KIND] = kind
    header[H_BYTES] = bytes
    header[H_FLAGS] = this.flags
    header[H_SUMS_AT] = sumsAt
    let at = dataAt
    for (const [countWord, atWord, data] of sections) {
      header[countWord] = data.length
      header[atWord] = at
      file.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at)
      at += aligned(data.byteLength)
    }
    header[H_LAYERS] = stamps.length / STAMP_WORDS
    header[H_DIRS] = this.dirCount
    header[H_ENTRIES] = this.entryCount
    seal(file, sumsAt, dataAt)
    return file
  }
}

/** Fills in all checksums. */
function seal(file: Uint8Array, sumsAt: number, dataAt: number): void {
  const view = new DataView(file.buffer)
  for (let at = dataAt, sum = sumsAt; at < file.length; at += BLOCK, sum += 8) {
    view.setBigUint64(sum, hash64(file.subarray(at, at + BLOCK)), true)
  }
  view.setBigUint64(H_SUMS_SUM * 4, hash64(file.subarray(sumsAt, dataAt)), true)
  view.setBigUint64(H_SUM * 4, hash64(file.subarray(0, H_SUM * 4)), true)
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / BLOCK) * BLOCK
}

function grown(array: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  const next = new Int32Array(array.length * 2)
  next.set(array)
  return next
}
