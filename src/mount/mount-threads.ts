// A thread that serves mounts for a server (server.ts), one after another: the server's end. The thread's own
// end is mount-thread.ts.

import { native } from '../sys/native.js'
import type { MountRequest } from './arguments.js'
import type { ServedMount } from './control.js'
import { MountError, UsageError } from './errors.js'
import type { Log } from './log.js'
import type { Host } from './pristine-mount.js'
import { threads } from './threads.js'

/** The thread's share: how many mounts there may be in the process. */
export type ThreadData = { readonly share: number }

/** `hosts`: mounts in which what is asked for may be found. */
export type ThreadOrder = { readonly mount: MountRequest; readonly hosts: readonly Host[] } | 'stop'

/** What the thread tells. */
export type ThreadNews =
  | {
      readonly live: Omit<ServedMount, 'whenEnded'>
      readonly host: Host
      /** The device's fd: the kernel lets go of the mount when it is closed. */
      readonly device: number
      readonly warnings: readonly string[]
    }
  /** It is shown in the mount of this device, which others serve. */
  | { readonly shownIn: string }
  | { readonly failed: { readonly message: string; readonly code: string; readonly isUsage: boolean } }
  | { readonly ended: true }

/** A mount that a thread serves. */
export type ThreadMount = ServedMount & { readonly host: Host; readonly warnings: readonly string[] }

export class MountThread {
  /** Whether it can serve another mount. */
  isUsable = true
  readonly #thread: import('node:worker_threads').Worker
  #device = -1
  #onNews = (_: ThreadNews): void => {}
  #onLost = (_: Error): void => {}

  constructor(share: number, log: Log) {
    const data: ThreadData = { share }
    this.#thread = new (threads().Worker)(new URL('./mount-thread.js', import.meta.url), {
      workerData: data,
      resourceLimits: { maxYoungGenerationSizeMb: 4 },
    })
    this.#thread.on('message', (news: ThreadNews) => this.#onNews(news))
    this.#thread.on('error', (error) => {
      log(`a mount's thread: ${error.stack ?? error.message}`)
      this.#lost(error)
    })
    this.#thread.on('exit', () => this.#lost(new Error('its thread has ended')))
    // Idle threads keep no process.
    this.#thread.unref()
  }

  /**
   * Mounts; resolves when the mount is live, rejects with nothing mounted. One at a time. Resolves with
   * undefined when one of `hosts` shows it.
   */
  mount(request: MountRequest, hosts: readonly Host[]): Promise<ThreadMount | undefined> {
    return new Promise((resolve, reject) => {
      let end = (): void => {}
      const whenEnded = new Promise<void>((resolveEnd) => {
        end = resolveEnd
      })
      this.#onLost = (error) => {
        reject(new MountError(`the mount's thread ended early: ${error.message}`, 'EIO'))
        end()
      }
      this.#onNews = (news) => {
        if ('failed' in news) {
          const { message, code, isUsage } = news.failed
          reject(isUsage ? new UsageError(message) : new MountError(message, code))
        } else if ('live' in news) {
          this.#device = news.device
          resolve({ ...news.live, whenEnded, host: news.host, warnings: news.warnings })
        } else if ('shownIn' in news) {
          resolve(undefined)
        } else {
          this.#device = -1
          end()
        }
      }
      this.#send({ mount: request, hosts })
    })
  }

  /** Takes the mount off. */
  stop(): void {
    this.#send('stop')
  }

  /** Ends the thread. Needs: it has no mount. */
  end(): void {
    this.isUsable = false
    void this.#thread.terminate()
  }

  #send(order: ThreadOrder): void {
    this.#thread.postMessage(order)
  }

  #lost(error: Error): void {
    this.isUsable = false
    // Without this its users would wait for ever.
    if (this.#device >= 0) native.close(this.#device)
    this.#device = -1
    this.#onLost(error)
  }
}
