// Directories that are no longer anything's: renamed away at once, deleted in the background, so that
// removing takes the same time whatever the size. What a crash leaves here goes at the next start.

import { readdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { Background, type Say } from './background.js'

/** A garbage collection removes one after another. */
const DELAY_MS = 200

export class Trash {
  readonly #dir: string
  readonly #background: Background

  /** Begins with what is there. */
  constructor(dir: string, say: Say) {
    this.#dir = dir
    this.#background = new Background(say, DELAY_MS)
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
    this.#background.add({ verb: 'delete', path: target })
  }

  /** Ends when all is deleted that is here, or could not be. */
  async empty(): Promise<void> {
    this.#fill()
    await this.#background.idle()
  }

  /** Stops; what is left stays for the next start. */
  close(): Promise<void> {
    return this.#background.close()
  }

  #fill(): void {
    for (const name of readdirSync(this.#dir)) {
      this.#background.add({ verb: 'delete', path: join(this.#dir, name) })
    }
  }
}
