// The indexes by which mica answers for many layers as fast as for one (src/index): a layer's is made
// when it is committed and lies beside its tree; that of a stack is made when its top layer has been that
// for a while, or by the first mount that needs it, is kept in a directory of the root, and is swept when
// the top layer is gone.
//
// Nothing depends on them: what is missing or not right is made anew, or done without.

import { readdirSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { makePath } from '../base/make-path.js'
import { BESIDE } from '../index/files.js'
import { type Stamp, stampOf } from '../index/stamp.js'
import { Background, type Say } from './background.js'
import type { Metadata } from './metadata.js'
import { indexDir, treeDir } from './mounts.js'

/** While an image is unpacked the next layer begins sooner, and the one below is the top no more. */
const DELAY_MS = 200

export class Indexes {
  readonly #root: string
  readonly #metadata: Metadata
  readonly #background: Background

  constructor(root: string, metadata: Metadata, say: Say) {
    this.#root = root
    this.#metadata = metadata
    this.#background = new Background(say, DELAY_MS)
    makePath(indexDir(root), 0o700)
  }

  /** Has the indexes made that the first mount on a layer, which does not change any more, asks for. */
  add(id: number): void {
    const [tree, below, ...more] = [id, ...this.#metadata.lineage(id)].map((each) =>
      treeDir(this.#root, each),
    )
    this.#background.add({ verb: 'index', path: tree!, file: join(dirname(tree!), BESIDE) })
    // While an image is unpacked each layer is the top one for a moment.
    if (below !== undefined) this.#background.drop('stack', below)
    const trees = below === undefined ? [tree!] : [tree!, below, ...more]
    this.#background.add({ verb: 'stack', path: tree!, dir: indexDir(this.#root), trees })
  }

  /** A layer is about to be unpacked on this one, which is the top no more. */
  goOn(id: number): void {
    this.#background.drop('stack', treeDir(this.#root, id))
  }

  /** Has indexes of stacks removed that no mount can ask for any more. */
  sweep(): void {
    const path = indexDir(this.#root)
    if (readdirSync(path).length === 0) return
    const stamps = new Map<number, Stamp | undefined>()
    const stamp = (id: number): Stamp | undefined => {
      if (!stamps.has(id)) {
        const stat = statSync(treeDir(this.#root, id), { bigint: true, throwIfNoEntry: false })
        stamps.set(id, stat && stampOf(stat))
      }
      return stamps.get(id)
    }
    const stacks = [...this.#metadata.ids()].map((id) => [id, ...this.#metadata.lineage(id)].map(stamp))
    this.#background.add({
      verb: 'sweep',
      path,
      stacks: stacks.filter((stack): stack is Stamp[] => !stack.includes(undefined)),
    })
  }

  idle(): Promise<void> {
    return this.#background.idle()
  }

  close(): Promise<void> {
    return this.#background.close()
  }
}
