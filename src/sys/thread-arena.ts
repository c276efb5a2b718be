// The arena of a thread that serves no mount: attached once, shared by all cold paths of the thread.
// Never in a daemon's worker, whose arena belongs to its transport.

import { type Arena, createArena } from '../vfs/arena.js'
import { native } from './native.js'

let arena: Arena | undefined

/** Returns this thread's arena; native calls refer to it. */
export function threadArena(): Arena {
  if (arena === undefined) {
    arena = createArena()
    native.attach(arena.bytes, new Uint8Array(new SharedArrayBuffer(64)))
  }
  return arena
}

/** The same for a thread where others attach arenas, too; they have to attach again afterwards. */
export function attachThreadArena(): Arena {
  if (arena === undefined) return threadArena()
  native.attach(arena.bytes, new Uint8Array(new SharedArrayBuffer(64)))
  return arena
}
