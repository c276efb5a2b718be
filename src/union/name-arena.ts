// Memory for names, paths and lists in one shared buffer: blocks of 8-byte units, one free list
// per size class, the link in a free block's first word.
//
// Callers hold the table lock for alloc() and free(). A reference is -(unit): it is what
// sys/native.ts takes as a `ref`, so a stored name goes to a system call without a copy.

const CLASSES = 520 // units of 8 bytes: blocks up to 4160 bytes, then powers of two
const BIG_CLASSES = 20

export class NameArena {
  static readonly HEADER_WORDS = 1 + CLASSES + BIG_CLASSES

  static initialize(header: Int32Array, at: number): void {
    header[at] = 1 // unit 0 is never given out: reference 0 means "none"
  }

  readonly bytes: Uint8Array
  readonly words: Int32Array
  readonly #header: Int32Array
  readonly #at: number
  readonly #units: number

  constructor(buffer: SharedArrayBuffer, header: Int32Array, at: number) {
    this.bytes = new Uint8Array(buffer)
    this.words = new Int32Array(buffer)
    this.#header = header
    this.#at = at
    this.#units = buffer.byteLength >>> 3
  }

  /** Returns a reference (< 0) to at least `size` bytes, or 0 when the arena is full. */
  alloc(size: number): number {
    const header = this.#header
    const list = this.#at + 1 + classOf(size)
    const free = header[list]!
    if (free !== 0) {
      header[list] = this.words[free << 1]!
      return -free
    }
    const unit = header[this.#at]!
    const next = unit + unitsOf(size)
    if (next > this.#units) return 0
    header[this.#at] = next
    return -unit
  }

  /** Gives a block of `size` bytes (as asked for in alloc) back. */
  free(ref: number, size: number): void {
    const list = this.#at + 1 + classOf(size)
    this.words[-ref << 1] = this.#header[list]!
    this.#header[list] = -ref
  }

  /** Byte offset of a reference in `bytes`. */
  offset(ref: number): number {
    return -ref * 8
  }

  /** Stores `length` bytes and a NUL; returns the reference, 0 when full. Free with length + 1. */
  store(from: Uint8Array, at: number, length: number): number {
    const ref = this.alloc(length + 1)
    if (ref === 0) return 0
    const to = -ref * 8
    const bytes = this.bytes
    for (let i = 0; i < length; i++) bytes[to + i] = from[at + i]!
    bytes[to + length] = 0
    return ref
  }
}

function classOf(size: number): number {
  const units = (size + 7) >>> 3
  return units < CLASSES ? units : CLASSES + 31 - Math.clz32(units - 1) - 8
}

function unitsOf(size: number): number {
  const units = (size + 7) >>> 3
  return units < CLASSES ? units : 1 << (32 - Math.clz32(units - 1))
}
