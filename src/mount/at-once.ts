// Lets native code answer the requests that tables alone can tell of, without TypeScript (native/at-once.cc).

import { type Timeouts, validity } from '../fuse/request.js'
import { workerCounters } from '../fuse/session-shared.js'
import type { IndexView } from '../index/view.js'
import { native } from '../sys/native.js'
import { deviceIndex } from '../union/attr.js'
import { NameArena } from '../union/name-arena.js'
import type { UnionState } from '../union/state.js'
import type { Union } from '../union/union.js'
import { SCRATCH } from '../vfs/arena.js'

const NONE = new Uint8Array(0)

/** The index, when what it holds is what the mount shows. */
function tellingIndex({ index, ids, hasOverride }: Union): IndexView | null {
  return ids.isIdentity && !hasOverride ? index : null
}

/**
 * For this thread's transport from here on. `u`: this worker's union of that state; `shared`: the session's
 * counters.
 */
export function serveAtOnce(
  state: UnionState,
  u: Union,
  shared: SharedArrayBuffer,
  worker: number,
  timeouts: Timeouts,
): void {
  const { config, slabs } = state
  // The control run of the stress test: native code knows no tables without a lock.
  if (config.isUnlocked) return
  const view = tellingIndex(u)
  const devices = Int32Array.from(u.devices, (device) => (config.hasXino ? deviceIndex(u, device) : 0))
  const counters = workerCounters(shared, worker)
  u.i32.set(
    [
      ...validity(timeouts.entryTimeoutMs),
      ...validity(timeouts.attrTimeoutMs),
      ...validity(timeouts.negativeTimeoutMs),
      u.indexBase,
      view?.faults ?? 0,
      NameArena.shape(state.names.byteLength).classes,
    ],
    SCRATCH >> 2,
  )
  native.serveAtOnce(
    new Uint8Array(state.header),
    new Uint8Array(state.nodes),
    new Uint8Array(state.dentries),
    new Uint8Array(state.slots),
    new Uint8Array(state.links),
    new Uint8Array(slabs.nodes),
    new Uint8Array(slabs.dentries),
    new Uint8Array(slabs.names),
    view?.bytes ?? NONE,
    view?.ready ?? NONE,
    new Uint8Array(devices.buffer),
    new Uint8Array(counters.buffer, counters.byteOffset, counters.byteLength),
    SCRATCH,
  )
}
