// Work that nobody waits for, one piece after another in a thread of its own, which is there only while there
// is work. What a piece does is in background-worker.ts.

import { Worker } from 'node:worker_threads'
import type { Done, Job } from './background-worker.js'

export type Say = (line: string) => void

export class Background {
  readonly #say: Say
  readonly #delayMs: number
  /** By verb and path: nothing is to be done twice. */
  readonly #waiting = new Map<string, Job>()
  #working: Promise<void> | undefined
  #worker: Worker | undefined
  #timer: NodeJS.Timeout | undefined

  /** Work begins when nothing was added for `delayMs`: a thread's start costs more than a small job. */
  constructor(say: Say, delayMs: number) {
    this.#say = say
    this.#delayMs = delayMs
  }

  add(job: Job): void {
    this.#waiting.set(`${job.verb} ${job.path}`, job)
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#begin(), this.#delayMs)
    this.#timer.unref()
  }

  /** Takes back what is not begun. */
  drop(verb: Job['verb'], path: string): void {
    this.#waiting.delete(`${verb} ${path}`)
  }

  /** Begins at once, and ends when there is nothing more to do. */
  async idle(): Promise<void> {
    if (this.#waiting.size > 0) this.#begin()
    while (this.#working !== undefined) await this.#working
  }

  /** Forgets what is not begun, and ends what is. */
  async close(): Promise<void> {
    clearTimeout(this.#timer)
    this.#waiting.clear()
    await this.#worker?.terminate()
    await this.idle()
  }

  #begin(): void {
    clearTimeout(this.#timer)
    this.#working ??= this.#work()
      .catch((error: Error) => {
        this.#waiting.clear()
        this.#say(`work in the background is left undone: ${error.message}`)
      })
      .finally(() => {
        this.#working = undefined
        // Added while the thread was ending.
        if (this.#waiting.size > 0) this.#begin()
      })
  }

  async #work(): Promise<void> {
    const worker = new Worker(new URL('./background-worker.js', import.meta.url))
    this.#worker = worker
    let isEnded = false
    worker.once('exit', () => {
      isEnded = true
    })
    try {
      for (const [key, job] of this.#waiting) {
        if (isEnded) break
        const failure = await run(worker, job)
        this.#waiting.delete(key)
        if (failure !== undefined) this.#say(`can't ${job.verb} ${job.path}: ${failure}`)
      }
    } finally {
      this.#worker = undefined
      await worker.terminate()
    }
  }
}

/** Returns why it failed, undefined when it did not. */
function run(worker: Worker, job: Job): Promise<string | undefined> {
  return new Promise((resolve) => {
    const end = (failure: string | undefined): void => {
      worker.off('message', onMessage).off('error', onError).off('exit', onExit)
      resolve(failure)
    }
    const onMessage = ({ failure }: Done): void => end(failure)
    const onError = (error: Error): void => end(error.message)
    // By close(); the next start goes on.
    const onExit = (): void => end(undefined)
    worker.on('message', onMessage).on('error', onError).on('exit', onExit)
    worker.postMessage(job)
  })
}
