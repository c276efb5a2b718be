// A worker thread for dev-fuse.test.ts: parks every request the first time, answers it with two
// bytes the second time. Never stops by itself.

import { parentPort, workerData } from 'node:worker_threads'
import { native } from '../../src/sys/native.js'
import { createArena, OUT } from '../../src/vfs/arena.js'
import { PARKED } from '../../src/vfs/file-system.js'

const arena = createArena()
const { device, key, names } = workerData as { device: number; key: number; names: Uint8Array }
native.attach(arena.bytes, names)
const started = native.devFuseStart(device, () => {
  let length = native.devFuseNext()
  while (length > 0) {
    const result = native.park(key)
    parentPort!.postMessage(result === PARKED ? 'parked' : `park: ${result}`)
    length = native.devFuseReplyAndNext(result)
  }
  while (native.nextCompletion() === 1) {
    arena.bytes.set([0x6f, 0x6b], OUT)
    native.reply(2)
  }
})
parentPort!.postMessage(started === 0 ? 'started' : `start: ${started}`)
