// A worker on a ring for io-uring.test.ts: the tree of memory-fs.ts, with names that throw, park, and
// that park again whenever they are woken. What it logs and counts it tells the test.

import { parentPort, workerData } from 'node:worker_threads'
import { IoUringTransport, type RingQueue, ringBytes } from '../../src/fuse/io-uring.js'
import { Session } from '../../src/fuse/session.js'
import { native } from '../../src/sys/native.js'
import { createArena } from '../../src/vfs/arena.js'
import { memoryFs } from './memory-fs.js'
import type { Answer } from './wire.js'

export type RingWorkerData = {
  device: number
  event: number
  queues: RingQueue[]
  shared: SharedArrayBuffer
  worker: number
  key: number
  /** What keys of parked requests belong to. */
  names: Uint8Array
}

const { device, event, queues, shared, worker, key, names } = workerData as RingWorkerData
const arena = createArena(ringBytes(queues))
native.attach(arena.bytes, names)
const fs = memoryFs(arena)
const lookup = fs.answers.lookup as Exclude<Answer, number>
let isWoken = false
fs.answers.lookup = (...args) => {
  const [, name, length] = args as number[]
  const text = Buffer.from(arena.bytes.buffer).toString('latin1', name!, name! + length!)
  if (text.startsWith('throws')) throw new Error('no cheese')
  if (text.startsWith('parks') || (text === 'hello.txt' && !isWoken)) {
    isWoken = text === 'hello.txt'
    const result = native.park(key)
    parentPort!.postMessage({ parked: text })
    return result
  }
  return lookup(...args)
}
const session = new Session({
  ...{ arena, fs, shared, worker, log: (line: string) => parentPort!.postMessage({ log: line }) },
  ...{ entryTimeoutMs: 3_600_000, attrTimeoutMs: 3_600_000, negativeTimeoutMs: 3_600_000 },
  negotiate: { data: 'cache', hasAcl: false, transport: 'io-uring', maxStackDepth: 1 },
})
const transport = new IoUringTransport(device, event, queues, arena)
try {
  transport.start(session)
  parentPort!.postMessage({ started: 0 })
} catch (error) {
  parentPort!.postMessage({ started: (error as { errno: number }).errno })
}
void transport.whenEnded.then((end) => parentPort!.postMessage({ end }))
