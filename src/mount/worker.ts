// The thread of workers 1, 2, …: serves until the mount ends. Started by threads.ts, which sends a WorkerPlan.

import { parentPort } from 'node:worker_threads'
import { EIO } from '../base/errno.js'
import { RINGS_STATE, sharedHeader } from '../fuse/session-shared.js'
import type { Transport } from '../fuse/transport.js'
import { prepareHash } from '../index/hash.js'
import { native } from '../sys/native.js'
import { startWorker, type WorkerPlan } from './engine.js'
import type { ThreadMessage } from './threads.js'

const port = parentPort!
const post = (message: ThreadMessage): void => port.postMessage(message)

function start(plan: WorkerPlan): Transport {
  return startWorker(plan, { log: (line) => post({ log: line }) })
}

/** The kernel takes rings only after INIT, which comes to the main thread. Returns undefined when there is to be none. */
function startRing(plan: WorkerPlan, cpu: number): Transport | undefined {
  const header = sharedHeader(plan.shared)
  Atomics.wait(header, RINGS_STATE, 0)
  if (Atomics.load(header, RINGS_STATE) !== 1) return undefined
  // Where the kernel hands a request over, its caller has just gone to sleep. Elsewhere it works as well.
  if (cpu >= 0) native.pinToCpu(cpu)
  try {
    const transport = start(plan)
    post({ ring: 0 })
    return transport
  } catch (error) {
    post({ ring: Number((error as { errno?: number }).errno ?? -EIO) })
    return undefined
  }
}

async function serve(plan: WorkerPlan): Promise<void> {
  if (plan.state.config.indexFd !== undefined) await prepareHash()
  const transport = plan.ring === undefined ? start(plan) : startRing(plan, plan.ring.cpu)
  if (transport === undefined) {
    port.close()
    return
  }
  port.on('message', () => transport.stop())
  const { reason } = await transport.whenEnded
  if (reason !== 'failed') post({ hasEnded: true })
  port.close()
}

port.once('message', (plan: WorkerPlan | 'stop') => {
  if (plan === 'stop') port.close()
  else void serve(plan)
})
