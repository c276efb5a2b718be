// Lets native code answer the LOOKUPs that the index alone can tell of, without TypeScript (native/lookup.cc).

import { opcodes } from '../fuse/abi.js'
import { type Timeouts, validity } from '../fuse/request.js'
import { COUNT_REQUESTS, workerCounters } from '../fuse/session-shared.js'
import { native } from '../sys/native.js'
import { deviceIndex } from '../union/attr.js'
import { NameArena } from '../union/name-arena.js'
import type { UnionState } from '../union/state.js'
import type { Union } from '../union/union.js'
import { SCRATCH } from '../vfs/arena.js'

/**
 * For this thread's transport from here on. `u`: this worker's union of that state; `shared`: the session's
 * counters. Returns whether the mount has such LOOKUPs: there is an index, and it tells what the mount shows.
 */
export function serveLookups(
  state: UnionState,
  u: Union,
  shared: SharedArrayBuffer,
  worker: number,
  timeouts: Timeouts,
): boolean {
  const { config, slabs } = state
  const view = u.index
  if (view === null || !u.ids.isIdentity || u.hasOverride || config.isUnlocked) return false
  const devices = Int32Array.from(u.devices, (device) => (config.hasXino ? deviceIndex(u, device) : 0))
  const counters = workerCounters(shared, worker)
  const at = (COUNT_REQUESTS + opcodes.FUSE_LOOKUP) * 8
  u.i32.set(
    [
      ...validity(timeouts.entryTimeoutMs),
      ...validity(timeouts.attrTimeoutMs),
      ...validity(timeouts.negativeTimeoutMs),
      u.indexBase,
      view.faults,
      NameArena.shape(state.names.byteLength).classes,
    ],
    SCRATCH >> 2,
  )
  const result = native.serveLookups(
    new Uint8Array(state.header),
    new Uint8Array(state.nodes),
    new Uint8Array(state.dentries),
    new Uint8Array(state.slots),
    new Uint8Array(state.links),
    new Uint8Array(slabs.nodes),
    new Uint8Array(slabs.dentries),
    new Uint8Array(slabs.names),
    view.bytes,
    view.ready,
    new Uint8Array(devices.buffer),
    new Uint8Array(counters.buffer, counters.byteOffset + at, 8),
    SCRATCH,
  )
  return result === 0
}
