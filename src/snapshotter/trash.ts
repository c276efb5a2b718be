// Directories that are no longer anything's: renamed away at once, deleted by a thread of its own, so
// that removing takes the same time whatever the size. What a crash leaves here goes at the next start.

import { readdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { Swept } from './trash-worker.js'

export type Say = (line: string) => void

export class Trash {
  readonly #dir: string
  readonly #say: Say
  readonly #waiting = new Set<string>()
  #working: Promise<void> | undefined
  #worker: Worker | undefined

  /** Begins with what is there. */
  constructor(dir: string, say: Say) {
    this.#dir = dir
    this.#say = say
    this.#fill()
  }

  /** Moves a directory of the same file system here; quietly when there is none. Throws for other errors. */
  put(path: string, name: string): void {
    const target = join(this.#dir, `${name}-${process.hrtime.bigint().toString(36)}`)
    try {
      renameSync(path, target)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
      throw error
    }
    this.#waiting.add(target)
    this.#begin()
  }

  /** Ends when all is deleted that is here, or could not be. */
  async empty(): Promise<void> {
    this.#fill()
    while (this.#working !== undefined) await this.#working
  }

  /** Lets go of the thread; what is left stays for the next start. */
  async close(): Promise<void> {
    this.#waiting.clear()
    await this.#worker?.terminate()
    while (this.#working !== undefined) await this.#working
  }

  #fill(): void {
    for (const name of readdirSync(this.#dir)) this.#waiting.add(join(this.#dir, name))
    if (this.#waiting.size > 0) this.#begin()
  }

  #begin(): void {
    this.#working ??= this.#work()
      .catch((error: Error) => {
        this.#waiting.clear()
        this.#say(`what was removed is not deleted: ${error.message}`)
      })
      .finally(() => {
        this.#working = undefined
        // Put here while the thread was ending.
        if (this.#waiting.size > 0) this.#begin()
      })
  }

  async #work(): Promise<void> {
    const worker = new Worker(new URL('./trash-worker.js', import.meta.url))
    this.#worker = worker
    let isEnded = false
    worker.once('exit', () => {
      isEnded = true
    })
    try {
      for (const path of this.#waiting) {
        if (isEnded) break
        const failure = await sweep(worker, path)
        this.#waiting.delete(path)
        if (failure !== undefined) this.#say(`${path} can't be deleted: ${failure}`)
      }
    } finally {
      this.#worker = undefined
      await worker.terminate()
    }
  }
}

/** Returns why it failed, undefined when it did not. */
function sweep(worker: Worker, path: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const end = (failure: string | undefined): void => {
      worker.off('message', onMessage).off('error', onError).off('exit', onExit)
      resolve(failure)
    }
    const onMessage = ({ failure }: Swept): void => end(failure)
    const onError = (error: Error): void => end(error.message)
    // By close(); the next start goes on.
    const onExit = (): void => end(undefined)
    worker.on('message', onMessage).on('error', onError).on('exit', onExit)
    worker.postMessage(path)
  })
}
