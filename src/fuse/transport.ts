// What carries a session's requests: the interface that every transport implements.
//
// A transport brings each request into the worker's arena (vfs/arena.ts), has the session answer
// it, and sends the answer. It knows nothing of opcodes. One object per worker.

import type { Session } from './session.js'

/** Why a transport ended: the kernel let go, stop() was called, or reading failed with an errno. */
export type End =
  | { readonly reason: 'unmounted' | 'stopped' }
  | { readonly reason: 'failed'; readonly errno: number }

export interface Transport {
  readonly name: string
  /** Serves requests on this thread's event loop from here on. Throws when it can't. */
  start(session: Session): void
  /** Serves no more; a request in hand and those parked are answered EIO. `whenEnded` resolves. */
  stop(): void
  /** Resolves once, after the last request. Never rejects. */
  readonly whenEnded: Promise<End>
}
