// The process of questions/dispatch.ts: DIRECTORIES FILES LOWER… in its arguments, samples as JSON out.
//
// Two passes over the same layers, each with tables of its own: the first one only warms the compiler.
// What a pass allocates is the growth of the heap, so node must run with a young generation that no pass
// fills. Putting the request into the arena is part of what is timed.

import { Session } from '../src/fuse/session.js'
import { createSessionShared } from '../src/fuse/session-shared.js'
import { openLayers } from '../src/mount/layers.js'
import { defaultOptions } from '../src/mount/options.js'
import { unionConfig } from '../src/mount/union-config.js'
import { native } from '../src/sys/native.js'
import { createUnionState, UnionFileSystem } from '../src/union/union-fs.js'
import { CTL, CTL_OUT, CTL_OUT_CAPACITY, createArena, IN, OUT, OUT_CAPACITY } from '../src/vfs/arena.js'

const LOOKUP = 1
const FORGET = 2
const GETATTR = 3
const HEADER = 40
const ROOT = 1
const HOUR_MS = 3_600_000
const AGAIN = 5

type Sample = { value: number }

/** Sends requests as a kernel would and times them. */
class Client {
  readonly #arena = createArena()
  readonly #session: Session

  constructor(lowers: readonly string[], maxFds: number) {
    const options = { ...defaultOptions(), lower: lowers, readOnly: true, maxNodes: 1 << 18 }
    const state = createUnionState(unionConfig(options, openLayers(options, ''), -1, 1, { maxFds, share: 1 }))
    const arena = this.#arena
    arena.u32[(CTL >> 2) + CTL_OUT] = OUT
    arena.u32[(CTL >> 2) + CTL_OUT_CAPACITY] = OUT_CAPACITY
    this.#session = new Session({
      arena,
      fs: new UnionFileSystem(state, arena),
      shared: createSessionShared(1),
      worker: 0,
      negotiate: { data: 'cache', hasAcl: false, transport: 'dev-fuse', maxStackDepth: 1 },
      ...{ entryTimeoutMs: HOUR_MS, attrTimeoutMs: HOUR_MS, negativeTimeoutMs: HOUR_MS },
      log: (line) => {
        throw new Error(line)
      },
    })
  }

  /** Returns the reply's length or -errno. */
  send(opcode: number, node: number, body: Uint8Array): number {
    const { bytes, u32 } = this.#arena
    const head = IN >> 2
    const length = HEADER + body.length
    u32[head] = length
    u32[head + 1] = opcode
    u32[head + 4] = node
    u32[head + 5] = 0
    bytes.set(body, IN + HEADER)
    return this.#session.dispatch(length)
  }

  /** The nodeid of an answered LOOKUP. */
  foundNode(): number {
    return this.#arena.u32[OUT >> 2]!
  }
}

const collect = (globalThis as { gc?: () => void }).gc ?? (() => {})

function name(text: string): Uint8Array {
  return Buffer.from(`${text}\0`, 'latin1')
}

function numbered(stem: string, index: number): Uint8Array {
  return name(`${stem}-${String(index).padStart(4, '0')}.conf`)
}

function pass(
  lowers: readonly string[],
  dirs: number,
  files: number,
  maxFds: number,
): Record<string, Sample> {
  const client = new Client(lowers, maxFds)
  const samples: Record<string, Sample> = {}
  const count = dirs * files
  const nodes = new Int32Array(count)
  const parents = new Int32Array(dirs)
  for (let d = 0; d < dirs; d++) {
    if (client.send(LOOKUP, ROOT, name(`d${String(d).padStart(4, '0')}`)) < 0)
      throw new Error(`no directory ${d}`)
    parents[d] = client.foundNode()
  }
  const entries = Array.from({ length: files }, (_, f) => numbered('entry', f))
  const absent = Array.from({ length: files }, (_, f) => numbered('absent', f))
  const attrs = new Uint8Array(16)
  const forgotten = new Uint8Array(8)
  new DataView(forgotten.buffer).setUint32(0, 1 + AGAIN, true)

  const time = (id: string, repeats: number, one: (i: number) => boolean): void => {
    collect()
    const heap = process.memoryUsage().heapUsed
    const begin = process.hrtime.bigint()
    let wrong = 0
    for (let repeat = 0; repeat < repeats; repeat++) {
      for (let i = 0; i < count; i++) if (!one(i)) wrong++
    }
    const ns = Number(process.hrtime.bigint() - begin)
    const grown = process.memoryUsage().heapUsed - heap
    if (wrong > 0) throw new Error(`${id}: ${wrong} wrong answers`)
    samples[id] = { value: ns / (count * repeats) }
    samples[`${id}-bytes`] = { value: Math.max(0, grown) / (count * repeats) }
  }
  const look = (names: readonly Uint8Array[], i: number): number =>
    client.send(LOOKUP, parents[Math.floor(i / files)]!, names[i % files]!)

  time('lookup-first', 1, (i) => {
    const isFound = look(entries, i) > 0
    nodes[i] = client.foundNode()
    return isFound
  })
  time('lookup-again', AGAIN, (i) => look(entries, i) > 0)
  time('lookup-missing', 1, (i) => look(absent, i) > 0 && client.foundNode() === 0)
  time('getattr', AGAIN, (i) => client.send(GETATTR, nodes[i]!, attrs) > 0)
  time('forget', 1, (i) => client.send(FORGET, nodes[i]!, forgotten) !== 0)
  return samples
}

const [dirs, files, ...lowers] = process.argv.slice(2)
const maxFds = native.raiseFileLimit()
pass(lowers, Number(dirs), Number(files), maxFds)
process.stdout.write(`${JSON.stringify(pass(lowers, Number(dirs), Number(files), maxFds))}\n`)
