// The thread that deletes what is in the trash: one path a message, one answer each.

import { rmSync } from 'node:fs'
import { parentPort } from 'node:worker_threads'
import { native } from '../sys/native.js'

export type Swept = { readonly failure: string | undefined }

const O_DIRECTORY_RDONLY = 0o200000

function remove(path: string): string | undefined {
  try {
    const fd = native.openPath(Buffer.from(path), O_DIRECTORY_RDONLY, 0)
    if (fd >= 0) {
      native.removeTree(fd)
      native.close(fd)
    }
    rmSync(path, { recursive: true, force: true })
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

parentPort!.on('message', (path: string) => {
  parentPort!.postMessage({ failure: remove(path) } satisfies Swept)
})
