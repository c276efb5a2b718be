// Unmounts from a thread of its own: umount2(2) may wait for dirty pages, which the daemon's main thread
// must write, so the daemon can't make that call itself.

import { parentPort, workerData } from 'node:worker_threads'
import { EBUSY } from '../base/errno.js'
import { detachPath, unmountPath } from './device.js'

const target = workerData as string
const result = unmountPath(target, false)
// Still in use: it goes when the last user does, and nobody new gets in.
parentPort!.postMessage(result === -EBUSY ? detachPath(target) : result)
