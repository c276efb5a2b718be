// Directories that are no longer anything's: renamed away at once, deleted one after another in the background,
// so that removing takes the same time whatever the size. What a crash leaves here goes at the next start.

import { readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { O_DIRECTORY } from '../base/open-flags.js'
import { native } from '../sys/native.js'
import type { Say } from './background.js'

/** A garbage collection removes one after another. */
const DELAY_MS = 200

export class Trash {
  readonly #dir: string
  readonly #say: Say
  readonly #waiting = new Set<string>()
  #working: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined

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
    this.#add(target)
  }

  /** Ends when all is deleted that is here, or could not be. */
  async empty(): Promise<void> {
    this.#fill()
    if (this.#waiting.size > 0) this.#begin()
    while (this.#working !== undefined) await this.#working
  }

  /** Stops; what is left stays for the next start. */
  async close(): Promise<void> {
    clearTimeout(this.#timer)
    this.#waiting.clear()
    await this.#working
  }

  #fill(): void {
    for (const name of readdirSync(this.#dir)) this.#add(join(this.#dir, name))
  }

  #add(path: string): void {
    this.#waiting.add(path)
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#begin(), DELAY_MS).unref()
  }

  #begin(): void {
    clearTimeout(this.#timer)
    this.#working ??= this.#work().finally(() => {
      this.#working = undefined
    })
  }

  async #work(): Promise<void> {
    for (const path of this.#waiting) {
      try {
        await remove(path)
      } catch (error) {
        this.#say(`can't delete ${path}: ${(error as Error).message}`)
      }
      this.#waiting.delete(path)
    }
  }
}

async function remove(path: string): Promise<void> {
  const fd = native.openPath(Buffer.from(path), O_DIRECTORY, 0)
  if (fd >= 0) {
    await native.removeTreeSoon(fd)
    native.close(fd)
  }
  // Empty now, or of another kind; says what is wrong.
  rmSync(path, { recursive: true, force: true })
}
