// Room in a shared table, handed out in units and taken back: chunks of units, each for blocks of one
// size, with a free list of its own. So a chunk in which nothing is used is known at once, and its pages
// can go back to the system (see trim.ts).
//
// All functions need the table lock. A free block's link lies in the block; what else is in it means
// nothing: pages that were given back read as zeros.

/** Words of the state: chunks in use so far, first chunk that may be nobody's. Then a list for each class. */
const S_END = 0
const S_HINT = 1
export const S_LISTS = 8
/** A chunk's words. */
export const C_HEAD = 0 // first free block, 0: none
export const C_FRESH = 1 // where blocks begin that were never used
export const C_LIMIT = 2 // first unit beyond
export const C_LIVE = 3 // blocks in use
export const C_NEXT = 4 // chunk + 1: the next with room in the list of its class; a run's length in chunks
const C_CLASS = 5 // class + 1, or one of the following
export const C_SIZE = 6 // units of a block; of nobody's chunk: 1 when its pages are ours still
export const CHUNK_WORDS = 8

const NOBODYS = 0
const RUN = -1 // one block over several chunks: its first
const RUN_MORE = -2
const AWAY = -3 // on its way back to the system

export type SlabShape = {
  /** Units in all. */
  readonly units: number
  /** Units of a chunk, a power of two. */
  readonly chunkUnits: number
  readonly classes: number
}

/** Returns a shape with chunks of `chunkUnits`, or smaller ones for a small table. */
export function slabShape(units: number, chunkUnits: number, classes: number): SlabShape {
  const many = 2 ** Math.floor(Math.log2(Math.max(64, units / 256)))
  return { units, chunkUnits: Math.min(chunkUnits, many), classes }
}

/** Returns the bytes that the state of such a table takes. */
export function slabStateBytes({ units, chunkUnits, classes }: SlabShape): number {
  return (firstChunk(classes) + Math.ceil(units / chunkUnits) * CHUNK_WORDS) * 4
}

function firstChunk(classes: number): number {
  return (S_LISTS + classes + 7) & ~7
}

export class Slabs {
  readonly #words: Int32Array
  readonly #stride: number
  readonly #link: number
  readonly #state: Int32Array
  readonly #shift: number
  readonly #units: number
  readonly #classes: number
  readonly #first: number
  readonly #chunks: number

  /** `words`: the table, `stride` words a unit; `link`: the word of a free unit that the list may use. */
  constructor(shape: SlabShape, state: SharedArrayBuffer, words: Int32Array, stride: number, link: number) {
    this.#words = words
    this.#stride = stride
    this.#link = link
    this.#state = new Int32Array(state)
    this.#shift = Math.log2(shape.chunkUnits)
    this.#units = shape.units
    this.#classes = shape.classes
    this.#first = firstChunk(shape.classes)
    this.#chunks = Math.ceil(shape.units / shape.chunkUnits)
  }

  /** Takes the first `count` units (of class 0, one unit each) for good. Once, when the table is new. */
  reserve(count: number): void {
    const c = this.#open(0, 1)
    this.#state[c + C_FRESH] = count
    this.#state[c + C_LIVE] = count
  }

  /** First unit beyond all that were ever used since the last trim. */
  get end(): number {
    const last = this.#state[S_END]! - 1
    if (last < 0) return 0
    const c = this.#at(last)
    const limit = Math.min((last + 1) << this.#shift, this.#units)
    return this.#state[c + C_CLASS]! > 0 ? this.#state[c + C_FRESH]! : limit
  }

  #at(chunk: number): number {
    return this.#first + chunk * CHUNK_WORDS
  }

  /** Returns the first unit of a block of `size` units, at most a chunk's; 0 when there is no room. */
  alloc(cls: number, size: number): number {
    const s = this.#state
    let list = S_LISTS + cls
    let chunk = s[list]!
    if (chunk === 0) {
      if (this.#open(cls, size) === 0) {
        // A block of a larger class is better than none.
        do {
          if (++list === S_LISTS + this.#classes) return 0
        } while (s[list] === 0)
      }
      chunk = s[list]!
    }
    const c = this.#at(chunk - 1)
    let unit = s[c + C_HEAD]!
    if (unit !== 0) s[c + C_HEAD] = this.#words[unit * this.#stride + this.#link]!
    else {
      unit = s[c + C_FRESH]!
      s[c + C_FRESH] = unit + s[c + C_SIZE]!
    }
    s[c + C_LIVE]!++
    if (this.#isFull(c)) s[list] = s[c + C_NEXT]!
    return unit
  }

  free(unit: number): void {
    const s = this.#state
    const chunk = unit >>> this.#shift
    const c = this.#at(chunk)
    if (s[c + C_CLASS] === RUN) {
      this.#freeRun(chunk)
      return
    }
    const wasFull = this.#isFull(c)
    this.#words[unit * this.#stride + this.#link] = s[c + C_HEAD]!
    s[c + C_HEAD] = unit
    s[c + C_LIVE]!--
    if (wasFull) this.#enlist(chunk, c)
  }

  #isFull(c: number): boolean {
    const s = this.#state
    return s[c + C_HEAD] === 0 && s[c + C_FRESH]! + s[c + C_SIZE]! > s[c + C_LIMIT]!
  }

  #enlist(chunk: number, c: number): void {
    const s = this.#state
    const list = S_LISTS + s[c + C_CLASS]! - 1
    s[c + C_NEXT] = s[list]!
    s[list] = chunk + 1
  }

  /** Makes a chunk one of a class. Returns its place in the state, or 0. */
  #open(cls: number, size: number): number {
    const chunk = this.#find(1)
    if (chunk < 0) return 0
    const s = this.#state
    const c = this.#at(chunk)
    s[c + C_CLASS] = cls + 1
    s[c + C_SIZE] = size
    s[c + C_HEAD] = 0
    s[c + C_LIVE] = 0
    s[c + C_FRESH] = chunk << this.#shift
    s[c + C_LIMIT] = Math.min((chunk + 1) << this.#shift, this.#units)
    this.#enlist(chunk, c)
    return c
  }

  /** Returns the first of `count` chunks in a row that are nobody's, or -1. */
  #find(count: number): number {
    const found = this.#look(count)
    if (found >= 0 || !this.#disband()) return found
    return this.#look(count)
  }

  #look(count: number): number {
    const s = this.#state
    let inRow = 0
    let isFirst = true
    let chunk = s[S_HINT]!
    for (; chunk < s[S_END]!; chunk++) {
      if (s[this.#at(chunk) + C_CLASS] !== NOBODYS) {
        inRow = 0
        continue
      }
      if (isFirst && count > 1) s[S_HINT] = chunk
      isFirst = false
      if (++inRow < count) continue
      if (count === 1) s[S_HINT] = chunk + 1
      return chunk - count + 1
    }
    if (isFirst) s[S_HINT] = chunk
    const start = chunk - inRow
    if (start + count > this.#chunks) return -1
    s[S_END] = start + count
    return start
  }

  /** Takes their class from all chunks in which nothing is used. Returns whether there was one. */
  #disband(): boolean {
    let isAny = false
    for (const chunk of this.#unused(this.#chunks)) {
      const c = this.#at(chunk)
      this.#state[c + C_CLASS] = NOBODYS
      this.#state[c + C_SIZE] = 1
      this.#state[S_HINT] = Math.min(this.#state[S_HINT]!, chunk)
      isAny = true
    }
    return isAny
  }

  /** As alloc() for a block of any size: whole chunks. Given back by free(). */
  allocRun(size: number): number {
    const count = (size + (1 << this.#shift) - 1) >>> this.#shift
    const s = this.#state
    const chunk = this.#find(count)
    if (chunk < 0) return 0
    if ((chunk << this.#shift) + size > this.#units) return 0
    for (let i = 0; i < count; i++) {
      const c = this.#at(chunk + i)
      s[c + C_CLASS] = i === 0 ? RUN : RUN_MORE
      s[c + C_LIMIT] = Math.min((chunk + i + 1) << this.#shift, this.#units)
    }
    s[this.#at(chunk) + C_NEXT] = count
    return chunk << this.#shift
  }

  #freeRun(chunk: number): void {
    const s = this.#state
    const count = s[this.#at(chunk) + C_NEXT]!
    for (let i = 0; i < count; i++) {
      const c = this.#at(chunk + i)
      s[c + C_CLASS] = NOBODYS
      s[c + C_SIZE] = 1
      s[c + C_LIVE] = 0
    }
    s[S_HINT] = Math.min(s[S_HINT]!, chunk)
  }

  // -- giving back ---------------------------------------------------------------------------

  /** Returns how many chunks takeUnused() would find. Without the lock: about. */
  countUnused(): number {
    const s = this.#state
    let count = 0
    for (let chunk = 0; chunk < s[S_END]!; chunk++) if (this.#isUnused(this.#at(chunk))) count++
    return count
  }

  #isUnused(c: number): boolean {
    const s = this.#state
    return s[c + C_CLASS] === NOBODYS ? s[c + C_SIZE] === 1 : s[c + C_CLASS]! > 0 && s[c + C_LIVE] === 0
  }

  /** Returns up to `most` chunks in which nothing is used, taken from the lists of their classes. */
  #unused(most: number): number[] {
    const s = this.#state
    const chunks: number[] = []
    s.fill(0, S_LISTS, S_LISTS + this.#classes)
    // Downwards, so that the lists begin with the lowest chunks, and the others empty themselves.
    for (let chunk = s[S_END]! - 1; chunk >= 0; chunk--) {
      const c = this.#at(chunk)
      if (chunks.length < most && this.#isUnused(c)) chunks.push(chunk)
      else if (s[c + C_CLASS]! > 0 && !this.#isFull(c)) this.#enlist(chunk, c)
    }
    return chunks
  }

  /** Takes up to `most` chunks with nothing in use out of reach, the last first, for putBack(). */
  takeUnused(most: number): number[] {
    const chunks = this.#unused(most)
    for (const chunk of chunks) this.#state[this.#at(chunk) + C_CLASS] = AWAY
    return chunks
  }

  /** The pages of these chunks were given back: they are nobody's. */
  putBack(chunks: readonly number[]): void {
    const s = this.#state
    for (const chunk of chunks) {
      const c = this.#at(chunk)
      s[c + C_CLASS] = NOBODYS
      s[c + C_SIZE] = 0
      s[S_HINT] = Math.min(s[S_HINT]!, chunk)
    }
    while (s[S_END]! > 0 && s[this.#at(s[S_END]! - 1) + C_CLASS] === NOBODYS) s[S_END]!--
    s[S_HINT] = Math.min(s[S_HINT]!, s[S_END]!)
  }

  /** First unit of a chunk. */
  unitOf(chunk: number): number {
    return chunk << this.#shift
  }

  /** Calls for each run of units that may be in use, upwards: chunks with nothing in them are left out. */
  forUsed(call: (from: number, to: number) => void): void {
    const s = this.#state
    for (let chunk = 0; chunk < s[S_END]!; chunk++) {
      const c = this.#at(chunk)
      if (s[c + C_CLASS]! > 0 && s[c + C_LIVE]! > 0) call(chunk << this.#shift, s[c + C_FRESH]!)
    }
  }

  /** Returns the units below `end` that are free, how many are used in all, and what is wrong. For tests. */
  inspect(): { free: Set<number>; used: number; problems: string[] } {
    const s = this.#state
    const free = new Set<number>()
    const addFree = (from: number, to: number): void => {
      for (let unit = from; unit < to; unit++) free.add(unit)
    }
    let used = 0
    const problems: string[] = []
    const enlisted = new Set<number>()
    for (let cls = 0; cls < this.#classes; cls++) {
      for (let chunk = s[S_LISTS + cls]!; chunk !== 0; chunk = s[this.#at(chunk - 1) + C_NEXT]!) {
        if (enlisted.has(chunk - 1)) {
          problems.push(`chunk ${chunk - 1} is in two lists`)
          break
        }
        enlisted.add(chunk - 1)
        if (s[this.#at(chunk - 1) + C_CLASS] !== cls + 1)
          problems.push(`chunk ${chunk - 1} is in a wrong list`)
      }
    }
    for (let chunk = 0; chunk < s[S_END]!; chunk++) {
      const c = this.#at(chunk)
      const cls = s[c + C_CLASS]!
      const from = chunk << this.#shift
      if (cls === RUN || cls === RUN_MORE) used += 1 << this.#shift
      if (cls === RUN || cls === RUN_MORE) continue
      if (cls === AWAY) problems.push(`chunk ${chunk} is away`)
      if (cls <= 0) {
        addFree(from, Math.min((chunk + 1) << this.#shift, this.#units))
        continue
      }
      const size = s[c + C_SIZE]!
      if (this.#isFull(c) === enlisted.has(chunk)) problems.push(`chunk ${chunk} is wrongly listed`)
      let count = 0
      for (let unit = s[c + C_HEAD]!; unit !== 0; unit = this.#words[unit * this.#stride + this.#link]!) {
        if (unit < from || unit >= s[c + C_FRESH]! || ++count > 1 << this.#shift) {
          problems.push(`the free list of chunk ${chunk} is broken`)
          break
        }
        addFree(unit, unit + size)
      }
      if (from + (s[c + C_LIVE]! + count) * size !== s[c + C_FRESH]) {
        problems.push(`chunk ${chunk} counts ${s[c + C_LIVE]} wrongly`)
      }
      if (chunk < s[S_END]! - 1) addFree(s[c + C_FRESH]!, s[c + C_LIMIT]!)
      used += s[c + C_LIVE]! * size
    }
    return { free, used, problems }
  }
}
