// gzip on several processors, as pigz does it: blocks are deflated at the same time in libuv's threads, each
// with the end of the one before as its dictionary, and written in their order as one member. What comes out
// depends on what went in alone, not on how it was cut or how many threads there are.

import { availableParallelism } from 'node:os'
import { promisify } from 'node:util'
import { constants, crc32, deflateRaw } from 'node:zlib'

export const BLOCK = 256 << 10
const LEVEL = 4
/** How far deflate looks back. */
const WINDOW = 32 << 10
/** No name, no time, from Unix: RFC 1952. */
const HEADER = Buffer.from('1f8b0800000000000003', 'hex')
/** Room for a block that can't be made smaller, so that a thread is entered once a block. */
const ROOM = BLOCK + (BLOCK >> 6)
/** So many that threads have work while this one reads and hashes. */
const AT_ONCE = Math.min(availableParallelism(), 4) * 4

const deflate = promisify(deflateRaw)

export class BlockGzip {
  readonly #sink: (bytes: Buffer) => Promise<void>
  readonly #running: Promise<Buffer>[] = [Promise.resolve(HEADER)]
  #block = Buffer.allocUnsafeSlow(BLOCK)
  #length = 0
  #dictionary: Buffer | undefined
  #crc = 0
  #size = 0

  /** `sink` takes what comes out, one call after the other. */
  constructor(sink: (bytes: Buffer) => Promise<void>) {
    this.#sink = sink
  }

  /** Copies the bytes. */
  async write(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const count = bytes.copy(this.#block, this.#length, at)
      at += count
      this.#length += count
      if (this.#length === BLOCK) await this.#start(constants.Z_SYNC_FLUSH)
    }
  }

  async end(): Promise<void> {
    await this.#start(constants.Z_FINISH)
    const trailer = Buffer.alloc(8)
    trailer.writeUInt32LE(this.#crc, 0)
    trailer.writeUInt32LE(this.#size % 2 ** 32, 4)
    this.#running.push(Promise.resolve(trailer))
    await this.#drain(0)
  }

  async #start(finishFlush: number): Promise<void> {
    const block = this.#block.subarray(0, this.#length)
    this.#crc = crc32(block, this.#crc)
    this.#size += block.length
    const dictionary = this.#dictionary
    const running = deflate(block, {
      level: LEVEL,
      finishFlush,
      chunkSize: ROOM,
      ...(dictionary !== undefined && { dictionary }),
    })
    // It is awaited in its turn; until then a failure is no unhandled one.
    running.catch(() => {})
    this.#running.push(running)
    this.#dictionary = block.subarray(-WINDOW)
    if (finishFlush !== constants.Z_FINISH) this.#block = Buffer.allocUnsafeSlow(BLOCK)
    this.#length = 0
    await this.#drain(AT_ONCE)
  }

  async #drain(left: number): Promise<void> {
    while (this.#running.length > left) await this.#sink(await this.#running.shift()!)
  }
}
