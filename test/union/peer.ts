// A second worker of a union, in a thread of its own, that does one request at a chosen moment: while
// the first is in the middle of something. So a race is a test that always goes the same way.

import { MessageChannel, Worker } from 'node:worker_threads'
import type { UnionState } from '../../src/union/state.js'

export type Step = {
  verb: 'lookup' | 'chmod' | 'open' | 'release' | 'forget' | 'unlink' | 'end'
  node: number
  name?: string
  mode?: number
  flags?: number
  handle?: number
}

export class Peer {
  readonly #worker: Worker
  readonly #words = new Int32Array(new SharedArrayBuffer(16))
  readonly #port: MessageChannel['port1']

  constructor(state: UnionState) {
    const { port1, port2 } = new MessageChannel()
    this.#port = port1
    const signal = this.#words.buffer
    this.#worker = new Worker(new URL('./peer-worker.js', import.meta.url), {
      workerData: { port: port2, signal, state },
      transferList: [port2],
    })
    this.#port.unref()
    Atomics.wait(this.#words, 3, 0, 10_000)
  }

  /** Has the peer do one request and returns its result. Throws when it does not come to an end. */
  run(step: Step): number {
    this.start(step)
    return this.join()
  }

  /**
   * Has the peer begin a request and gives it time to end, in vain when it has to wait for what this
   * thread is in the middle of.
   */
  start(step: Step): void {
    Atomics.store(this.#words, 1, 0)
    this.#port.postMessage(step)
    Atomics.store(this.#words, 0, 1)
    Atomics.notify(this.#words, 0)
    Atomics.wait(this.#words, 1, 0, 25)
  }

  /** What start() began has come to its end. */
  get hasEnded(): boolean {
    return Atomics.load(this.#words, 1) === 1
  }

  /** The result of what start() began. */
  join(): number {
    if (Atomics.wait(this.#words, 1, 0, 10_000) === 'timed-out') throw new Error('the other worker hangs')
    return this.#words[2]!
  }

  async end(): Promise<void> {
    this.run({ verb: 'end', node: 0 })
    await this.#worker.terminate()
    this.#port.close()
  }
}
