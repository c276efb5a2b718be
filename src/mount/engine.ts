// One worker of a mount: its arena, the union on the shared tables, a session, a transport. The main
// thread is worker 0; worker.ts runs the same for the others. The one place that knows how those are made.

import { DevFuseTransport } from '../fuse/dev-fuse.js'
import { IoUringTransport, ringBytes } from '../fuse/io-uring.js'
import type { Agreement, DataMode } from '../fuse/negotiate.js'
import type { Timeouts } from '../fuse/request.js'
import { Session } from '../fuse/session.js'
import { LAST_CALLER } from '../fuse/session-shared.js'
import type { Transport } from '../fuse/transport.js'
import { native } from '../sys/native.js'
import { H_INDEX, type UnionState } from '../union/state.js'
import type { Union } from '../union/union.js'
import { UnionFileSystem } from '../union/union-fs.js'
import { type Arena, createArena } from '../vfs/arena.js'
import { serveAtOnce } from './at-once.js'
import type { RingShare } from './transports.js'

/** What a worker is made from; plain data, so that it can be handed to a thread. */
export type WorkerPlan = {
  readonly state: UnionState
  /** The session's counters and outcome of INIT; see fuse/session-shared.ts. */
  readonly shared: SharedArrayBuffer
  readonly worker: number
  /** No other worker answers requests. */
  readonly isAlone: boolean
  /** This worker's own fd of the device. */
  readonly device: number
  readonly data: DataMode
  readonly hasAcl: boolean
  readonly timeoutMs: number
  readonly isTraced: boolean
  /** What to agree on at INIT. */
  readonly transport: 'dev-fuse' | 'io-uring' | 'fuse-native'
  /** For a worker on a ring; `event`: its own, from native.uringEvent(). */
  readonly ring?: RingShare & { readonly event: number }
}

export type WorkerHooks = {
  readonly log: (line: string) => void
  readonly onInit?: (outcome: Agreement | string) => void
  /** Makes the transport, where it is none that every build has. */
  readonly makeTransport?: (arena: Arena) => Transport
}

/** The transport that takes requests from the kernel, and what native code does for it by itself. */
function kernelTransport(plan: WorkerPlan, arena: Arena, u: Union, timeouts: Timeouts): Transport {
  const { state, shared, worker, device, ring } = plan
  if (!plan.isTraced) serveAtOnce(state, u, shared, worker, timeouts)
  if (ring === undefined) {
    if (plan.isAlone) native.watchDeviceCallers()
    return new DevFuseTransport(device, arena)
  }
  native.watchRingCallers(new Uint8Array(shared, LAST_CALLER * 4, 4), worker)
  return new IoUringTransport(device, ring.event, ring.queues, arena)
}

/** Starts a worker on this thread; it serves from the thread's event loop. Throws when it can't. */
export function startWorker(plan: WorkerPlan, hooks: WorkerHooks): Transport {
  native.setThreadName(`mica/${plan.worker}`)
  const { ring } = plan
  const arena = createArena(ring === undefined ? 0 : ringBytes(ring.queues))
  const fs = new UnionFileSystem(plan.state, arena)
  fs.union.onDamage = (damage) => {
    // Told later: this may be in the middle of a lookup, under the lock.
    if (Atomics.compareExchange(fs.union.t.header, H_INDEX, 1, 2) !== 1) return
    setImmediate(() => hooks.log(`index: ${damage}; going on without`))
  }
  if (fs.union.indexError !== undefined) fs.union.onDamage(fs.union.indexError)
  const { timeoutMs } = plan
  const timeouts = { entryTimeoutMs: timeoutMs, attrTimeoutMs: timeoutMs, negativeTimeoutMs: timeoutMs }
  const session = new Session({
    arena,
    fs,
    shared: plan.shared,
    worker: plan.worker,
    negotiate: {
      data: plan.data,
      hasAcl: plan.hasAcl,
      isReadOnly: !plan.state.config.isWritable,
      transport: plan.transport,
      maxStackDepth: 1,
    },
    ...timeouts,
    log: hooks.log,
    ...(hooks.onInit === undefined ? {} : { onInit: hooks.onInit }),
    ...(plan.isTraced ? { trace: hooks.log } : {}),
  })
  const transport = hooks.makeTransport?.(arena) ?? kernelTransport(plan, arena, fs.union, timeouts)
  transport.start(session)
  return transport
}
