// A thread of a server: serves one mount after another, as a daemon serves its only one. Started by
// mount-threads.ts.

import { parentPort, workerData } from 'node:worker_threads'
import type { MountRequest } from './arguments.js'
import { type LiveMount, serve } from './daemon.js'
import { reasonOf, UsageError } from './errors.js'
import { createLog } from './log.js'
import type { ThreadData, ThreadNews, ThreadOrder } from './mount-threads.js'
import { type Host, showInHost } from './pristine-mount.js'
import { logPath } from './runtime-dir.js'

/** Longer than most that an engine mounts is mounted, and than a server keeps a thread that it may not need. */
const TIDY_MS = 2500

const port = parentPort!
const { share } = workerData as ThreadData
let log = createLog()
let current: LiveMount | undefined
let tidying: NodeJS.Timeout | undefined

function post(news: ThreadNews): void {
  port.postMessage(news)
}

/**
 * V8 waits for more garbage than a mount ever makes; what mounting left is half of a thread's memory. To collect it
 * takes as long as to mount, so it is done when the thread has nothing else to begin or end.
 */
function tidyLater(): void {
  const collect = (globalThis as { gc?: () => void }).gc
  clearTimeout(tidying)
  if (collect !== undefined) tidying = setTimeout(collect, TIDY_MS)
}

async function serveOne(request: MountRequest, hosts: readonly Host[]): Promise<void> {
  clearTimeout(tidying)
  const shownIn = hosts.length === 0 ? undefined : showInHost(request, hosts)
  if (shownIn !== undefined) return post({ shownIn })
  const warnings: string[] = []
  log = createLog((line) => void warnings.push(line))
  try {
    current = await serve(request, log, { mounts: share, isShared: true })
  } catch (error) {
    const { code } = error as { code?: string }
    post({ failed: { message: reasonOf(error), code: code ?? 'EIO', isUsage: error instanceof UsageError } })
    return
  }
  log.redirect(logPath(current.record))
  const { record, shared, workers, transport, agreement, device, header, host } = current
  const live = { record, shared, workers, transport, header, hasPassthrough: agreement.hasPassthrough }
  post({ live, host, device, warnings })
  tidyLater()
  const end = await current.whenEnded
  current = undefined
  if (end.reason === 'failed') log(`the mount ended by errno ${end.errno}`)
  post({ ended: true })
  tidyLater()
}

port.on('message', (order: ThreadOrder) => {
  if (order === 'stop') current?.stop()
  else void serveOne(order.mount, order.hosts)
})
process.on('uncaughtException', (error) => log(error.stack ?? error.message))
process.on('unhandledRejection', (reason) => log(String((reason as Error)?.stack ?? reason)))
