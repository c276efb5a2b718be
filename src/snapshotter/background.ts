// Work that nobody waits for, one piece after another in a thread of its own, which stays for a while when there is
// no more. What a piece does is in background-worker.ts.

import { Worker } from 'node:worker_threads'
import type { Done, Job } from './background-worker.js'

export type Say = (line: string) => void

/** A thread's start costs more than a small job. */
const LINGER_MS = 2000

export class Background {
  readonly #say: Say
  readonly #delayMs: number
  /** By verb and path: nothing is to be done twice. */
  readonly #waiting = new Map<string, { readonly job: Job; due: number }>()
  #working: Promise<void> | undefined
  #worker: Worker | undefined
  #timer: NodeJS.Timeout | undefined
  #leaving: NodeJS.Timeout | undefined

  /** A job begins `delayMs` after it was added, if it is still wanted then. */
  constructor(say: Say, delayMs: number) {
    this.#say = say
    this.#delayMs = delayMs
  }

  add(job: Job): void {
    this.#waiting.set(`${job.verb} ${job.path}`, { job, due: Date.now() + this.#delayMs })
    this.#wait()
  }

  /** Takes back what is not begun. */
  drop(verb: Job['verb'], path: string): void {
    this.#waiting.delete(`${verb} ${path}`)
  }

  /** Begins at once, and ends when there is nothing more to do. */
  async idle(): Promise<void> {
    while (this.#working !== undefined || this.#waiting.size > 0) {
      for (const each of this.#waiting.values()) each.due = 0
      this.#begin()
      await this.#working
    }
  }

  /** Forgets what is not begun, and ends what is. */
  async close(): Promise<void> {
    clearTimeout(this.#timer)
    this.#waiting.clear()
    await this.#leave()
    await this.idle()
  }

  #wait(): void {
    if (this.#waiting.size === 0) return
    const due = Math.min(...[...this.#waiting.values()].map((each) => each.due))
    this.#timer ??= setTimeout(() => this.#begin(), Math.max(0, due - Date.now())).unref()
  }

  #begin(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#working ??= this.#work()
      .catch((error: Error) => {
        this.#waiting.clear()
        this.#say(`work in the background is left undone: ${error.message}`)
      })
      .finally(() => {
        this.#working = undefined
        this.#wait()
      })
  }

  async #work(): Promise<void> {
    clearTimeout(this.#leaving)
    for (const [key, { job, due }] of this.#waiting) {
      if (due > Date.now()) continue
      const worker = this.#thread()
      worker.ref()
      const failure = await run(worker, job)
      worker.unref()
      this.#waiting.delete(key)
      if (failure !== undefined) this.#say(`can't ${job.verb} ${job.path}: ${failure}`)
    }
    this.#leaving = setTimeout(() => void this.#leave(), LINGER_MS).unref()
  }

  #thread(): Worker {
    if (this.#worker !== undefined) return this.#worker
    const worker = new Worker(new URL('./background-worker.js', import.meta.url))
    worker.once('exit', () => {
      if (this.#worker === worker) this.#worker = undefined
    })
    this.#worker = worker
    return worker
  }

  async #leave(): Promise<void> {
    clearTimeout(this.#leaving)
    const worker = this.#worker
    this.#worker = undefined
    await worker?.terminate()
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
