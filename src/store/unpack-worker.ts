// The thread that unpacks layers, one after the other. Speaks with unpack-pool.ts only.

import { parentPort } from 'node:worker_threads'
import type { Digest } from './digest.js'
import { StoreError, SystemError } from './errors.js'
import type { UnpackLimits } from './unpack.js'
import { type Unpacked, unpackLayer } from './unpack-layer.js'

export type ToWorker =
  | {
      readonly type: 'unpack'
      readonly blob: string
      readonly tree: string
      readonly diffId: Digest
      readonly limits: UnpackLimits
    }
  /** Sent once for each `unpack`, when the layers below are complete. */
  | { readonly type: 'lowers'; readonly paths: readonly string[] }

export type FromWorker =
  | { readonly type: 'bytes'; readonly bytes: number }
  | { readonly type: 'done'; readonly unpacked: Unpacked }
  | { readonly type: 'failed'; readonly error: PlainError }

/** An error as it can travel between threads. */
export type PlainError = {
  readonly kind: 'store' | 'system' | 'other'
  readonly message: string
  readonly code: string
  readonly syscall: string
  readonly path: string
}

const PROGRESS_MS = 100

function toPlain(error: unknown): PlainError {
  const { message = String(error), code = '', syscall = '', path = '' } = error as NodeJS.ErrnoException
  const kind = error instanceof StoreError ? 'store' : error instanceof SystemError ? 'system' : 'other'
  return { kind, message, code, syscall, path }
}

const port = parentPort!
let tellLowers: (paths: readonly string[]) => void = () => {}

async function unpack({ blob, tree, diffId, limits }: Extract<ToWorker, { type: 'unpack' }>): Promise<void> {
  const lowers = new Promise<readonly string[]>((resolve) => {
    tellLowers = resolve
  })
  let last = 0
  const onBytes = (bytes: number): void => {
    const now = Date.now()
    if (now - last < PROGRESS_MS) return
    last = now
    post({ type: 'bytes', bytes })
  }
  try {
    post({ type: 'done', unpacked: await unpackLayer({ blob, tree, diffId, lowers, limits, onBytes }) })
  } catch (error) {
    post({ type: 'failed', error: toPlain(error) })
  }
}

function post(message: FromWorker): void {
  port.postMessage(message)
}

port.on('message', (message: ToWorker) => {
  if (message.type === 'lowers') tellLowers(message.paths)
  else void unpack(message)
})
