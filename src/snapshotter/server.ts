// The unix socket that containerd calls. A socket that nobody listens on any more is replaced; one
// that somebody serves is left alone.

import { lstatSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { dirname, resolve } from 'node:path'
import { Server, ServerCredentials } from '@grpc/grpc-js'
import { makePath } from '../base/make-path.js'
import { handlersOf, loadService } from './service.js'
import type { Snapshotter } from './snapshotter.js'

/** sockaddr_un, unix(7). */
const SOCKET_PATH_MAX = 107
const PATIENCE_MS = 3000

export type Serving = {
  /** Ends when calls under way are answered, or have had their time. */
  close(): Promise<void>
}

/** Serves a snapshotter on a socket that only our own user may use. Throws when it can't be had. */
export async function serve(snapshotter: Snapshotter, address: string): Promise<Serving> {
  const path = resolve(address.replace(/^unix:(\/\/)?(?=\/)/, ''))
  await clearSocket(path)
  const server = new Server()
  server.addService(loadService().service, handlersOf(snapshotter))
  const umask = process.umask(0o077)
  try {
    await new Promise<void>((done, fail) => {
      server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (error) => {
        if (error === null) done()
        else fail(new Error(`${path}: ${error.message}`))
      })
    })
  } finally {
    process.umask(umask)
  }
  return {
    close: () =>
      new Promise((done) => {
        const timer = setTimeout(() => {
          server.forceShutdown()
          done()
        }, PATIENCE_MS)
        server.tryShutdown(() => {
          clearTimeout(timer)
          done()
        })
      }),
  }
}

async function clearSocket(path: string): Promise<void> {
  if (Buffer.byteLength(path) > SOCKET_PATH_MAX) {
    throw new Error(`${path} is too long for a socket: ${SOCKET_PATH_MAX} bytes are the limit`)
  }
  makePath(dirname(path), 0o711)
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (stat === undefined) return
  if (!stat.isSocket()) throw new Error(`${path} is there and is no socket`)
  if (await isServed(path)) throw new Error(`${path} is served by another process`)
  rmSync(path, { force: true })
}

function isServed(path: string): Promise<boolean> {
  return new Promise((done, fail) => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      done(true)
    })
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') done(false)
      else fail(error)
    })
  })
}
