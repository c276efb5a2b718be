// Threads that unpack layers, several at once. Layers must be handed in base first: a thread may
// wait for the layers below its own, which are then finished or under way in another thread.

import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { StoreError, type StoreErrorCode, SystemError } from './errors.js'
import { DEFAULT_LIMITS } from './unpack.js'
import type { Unpacked, UnpackRequest } from './unpack-layer.js'
import type { FromWorker, PlainError, ToWorker } from './unpack-worker.js'

const THREADS_MAX = 4

function fromPlain({ kind, message, code, syscall, path }: PlainError): Error {
  if (kind === 'store') return new StoreError(code as StoreErrorCode, message)
  return new SystemError(message, code, syscall, path)
}

export class UnpackPool {
  readonly #idle: Worker[] = []
  readonly #all = new Set<Worker>()
  readonly #size: number
  readonly #waiting: ((worker: Worker) => void)[] = []

  constructor(size = Math.min(THREADS_MAX, Math.max(2, availableParallelism()))) {
    this.#size = size
  }

  /** Takes a thread, waiting its turn; begin() must follow. */
  async take(): Promise<Worker> {
    const idle = this.#idle.pop()
    if (idle !== undefined) return idle
    if (this.#all.size < this.#size) {
      const worker = new Worker(new URL('./unpack-worker.js', import.meta.url))
      this.#all.add(worker)
      return worker
    }
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  /** Unpacks in a thread that take() gave, and gives it back. */
  run(worker: Worker, request: UnpackRequest): Promise<Unpacked> {
    const { blob, tree, diffId, lowers, limits = DEFAULT_LIMITS, onBytes } = request
    let isSettled = false
    const send = (message: ToWorker): void => {
      // The thread may have another layer by then.
      if (!isSettled) worker.postMessage(message)
    }
    return new Promise<Unpacked>((resolve, reject) => {
      const settle = (): void => {
        isSettled = true
        worker.off('message', onMessage)
        worker.off('error', onError)
        worker.off('exit', onExit)
      }
      const onMessage = (message: FromWorker): void => {
        if (message.type === 'bytes') {
          onBytes?.(message.bytes)
          return
        }
        settle()
        this.#give(worker)
        if (message.type === 'done') resolve(message.unpacked)
        else reject(fromPlain(message.error))
      }
      const onError = (error: Error): void => {
        settle()
        this.#all.delete(worker)
        reject(error)
      }
      const onExit = (): void => {
        settle()
        this.#all.delete(worker)
        reject(new StoreError('INTERRUPTED', 'interrupted'))
      }
      worker.on('message', onMessage)
      worker.on('error', onError)
      worker.on('exit', onExit)
      send({ type: 'unpack', blob, tree, diffId, limits })
      lowers.then(
        (paths) => send({ type: 'lowers', paths }),
        // The layer below failed; this one can't end, and the whole operation fails by that other error.
        () => {
          if (isSettled) return
          reject(new StoreError('INTERRUPTED', 'a layer below failed'))
          void worker.terminate()
        },
      )
    })
  }

  #give(worker: Worker): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#idle.push(worker)
    else next(worker)
  }

  /** Ends all threads, whatever they do; resolves when they write no more. */
  async close(): Promise<void> {
    await Promise.all([...this.#all].map((worker) => worker.terminate()))
  }
}
