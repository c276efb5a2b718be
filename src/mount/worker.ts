// The thread of workers 1, 2, …: serves until the mount ends. Started by daemon.ts with a WorkerPlan.

import { parentPort, workerData } from 'node:worker_threads'
import { startWorker, type WorkerPlan } from './engine.js'

const port = parentPort!
const transport = startWorker(workerData as WorkerPlan, { log: (line) => port.postMessage({ log: line }) })
port.on('message', () => transport.stop())
void transport.whenEnded.then(() => port.close())
