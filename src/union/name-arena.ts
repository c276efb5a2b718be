// Memory for names, paths and lists in one shared buffer: blocks of 8-byte units, in slabs of one size
// class each (slabs.ts), large ones in whole chunks.
//
// Callers hold the table lock for alloc() and free(). A reference is -(unit): it is what
// sys/native.ts takes as a `ref`, so a stored name goes to a system call without a copy.

import { type SlabShape, Slabs, slabShape } from './slabs.js'

const UNIT_WORDS = 2
const CHUNK_UNITS = 4096
/** Classes: a unit apart up to FINE units, then STEP units apart up to a quarter of a chunk. */
export const FINE = 128
const STEP = 16
const LARGEST = CHUNK_UNITS / 4
const CLASSES = FINE + (LARGEST - FINE) / STEP

export class NameArena {
  static shape(bytes: number): SlabShape {
    return slabShape(Math.floor(bytes / 8), CHUNK_UNITS, CLASSES)
  }

  readonly bytes: Uint8Array
  readonly words: Int32Array
  readonly slabs: Slabs
  readonly #largest: number
  readonly #chunkUnits: number

  constructor(buffer: SharedArrayBuffer, state: SharedArrayBuffer) {
    this.bytes = new Uint8Array(buffer)
    this.words = new Int32Array(buffer)
    const shape = NameArena.shape(buffer.byteLength)
    this.slabs = new Slabs(shape, state, this.words, UNIT_WORDS, 0)
    this.#chunkUnits = shape.chunkUnits
    this.#largest = Math.min(LARGEST, shape.chunkUnits / 4)
  }

  /** Returns a reference (< 0) to at least `size` bytes, or 0 when the arena is full. */
  alloc(size: number): number {
    const units = (size + 7) >>> 3
    if (units > this.#largest) return 0 - this.slabs.allocRun(units)
    if (units <= FINE) return 0 - this.slabs.alloc(units - 1, units)
    const step = Math.ceil((units - FINE) / STEP)
    return 0 - this.slabs.alloc(FINE + step - 1, FINE + step * STEP)
  }

  /** Returns the units that a block of `size` bytes takes while there is room. */
  unitsOf(size: number): number {
    const units = (size + 7) >>> 3
    if (units > this.#largest) return Math.ceil(units / this.#chunkUnits) * this.#chunkUnits
    return units <= FINE ? units : FINE + Math.ceil((units - FINE) / STEP) * STEP
  }

  /** Gives a block back. */
  free(ref: number): void {
    this.slabs.free(-ref)
  }

  /** Byte offset of a reference in `bytes`. */
  offset(ref: number): number {
    return -ref * 8
  }

  /** Stores `length` bytes and a NUL; returns the reference, 0 when full. */
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
