// The server that a daemon becomes after its own mount is live: further mounts of the same user in the same
// namespaces come to it through a socket and get a thread each, which takes a fraction of a process's start.
//
// The socket is made by the launcher (native/launcher.cc), so that callers can wait in its queue from the first
// moment on. Its name is made from all that must be equal: ids, namespaces, root directory, capabilities,
// environment, service, program. So who can connect is someone for whom this process may act in every respect. Mounts share nothing but the process; what a
// thread does for its mount is daemon.ts, as for a mount with a process of its own.
//
// The conversation: eight hexadecimal digits, the number of bytes that follow; `mica-overlay`, the process that
// wants the mount, and the arguments, each with a NUL. The answers are lines: `own` (start a process of your
// own) or `taken`; the caller then says `go`, or is gone because that took too long for it, and has a process
// of its own: nothing is mounted here. Then `warn WORDS`…, and `ok` or `error STATUS WORDS`.

import { rmSync, statSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { native } from '../sys/native.js'
import { type MountRequest, parseOverlayArguments } from './arguments.js'
import { startControl } from './control.js'
import { detachPath } from './device.js'
import { exitStatusOf, reasonOf } from './errors.js'
import type { Log } from './log.js'
import { MountThread } from './mount-threads.js'
import { decodePath, showPath } from './path-bytes.js'
import { type Host, isComparing, isImageMount } from './pristine-mount.js'
import { realDirectory } from './real-path.js'

const GREETING = 'mica-overlay'
const REQUEST_MAX = 1 << 20
const LENGTH_DIGITS = 8
/** How long a server without mounts waits for another one. */
const IDLE_MS = 30_000
/** Threads that are kept for mounts to come, and how long those are whose mount has just ended. */
const SPARE_THREADS = 2
const KEEP_MS = 2000
const SPARE_DELAY_MS = 200
/** Open files that each mount should find room for. */
const FILES_PER_MOUNT = 1024
const MOUNTS_MAX = 512

/** `caller`: the process that wants it. */
type ServerRequest = MountRequest & { readonly caller: number }

/** One line of the last words, as the launcher takes it. */
function line(words: string): string {
  return `${words.replace(/\s*\n\s*/g, '; ')}\n`
}

export class MountServer {
  /** Resolves when no mount has been here for a while, or stop() was called and the last one is gone. */
  readonly whenDone: Promise<void>
  readonly #path: string
  readonly #log: Log
  readonly #idleMs: number
  readonly #room: number
  readonly #busy = new Set<MountThread>()
  readonly #spare: MountThread[] = []
  /** Live mounts and who asked for them, the newest first. */
  #hosts: { readonly host: Host; readonly caller: number }[] = []
  #server: Server | undefined
  #inode = 0n
  #idle: NodeJS.Timeout | undefined
  #keeping: NodeJS.Timeout | undefined
  #isStopping = false
  /** The process has no mount besides ours. */
  #isAlone = false
  #done!: () => void

  private constructor(path: string, log: Log, idleMs: number) {
    this.#path = path
    this.#log = log
    this.#idleMs = idleMs
    const files = native.raiseFileLimit()
    this.#room = Math.max(1, Math.min(MOUNTS_MAX, Math.floor(files / FILES_PER_MOUNT)) - 1)
    this.whenDone = new Promise((resolve) => {
      this.#done = resolve
    })
  }

  /** Returns a server on a listening socket, given by its fd; undefined when that can't be had. */
  static async open(
    { fd, path }: { readonly fd: number; readonly path: string },
    log: Log,
    idleMs = IDLE_MS,
  ): Promise<MountServer | undefined> {
    const made = new MountServer(path, log, idleMs)
    try {
      await made.#listen(fd)
    } catch (error) {
      log(`no server at ${path}: ${(error as Error).message}`)
      return undefined
    }
    made.#keepSpareLater()
    return made
  }

  /** Takes all mounts off and no more on. */
  stop(): void {
    this.#isStopping = true
    this.#close()
    for (const thread of this.#busy) thread.stop()
    this.#settle()
  }

  /** The mount that made the process has ended. */
  goOnAlone(): void {
    this.#isAlone = true
    this.#settle()
  }

  /** Takes note of a mount that may show further ones of its caller (pristine-mount.ts). */
  addHost(host: Host, caller: number, whenEnded: Promise<unknown>): void {
    const entry = { host, caller }
    this.#hosts.unshift(entry)
    void whenEnded.then(() => {
      this.#hosts = this.#hosts.filter((each) => each !== entry)
    })
  }

  async #listen(fd: number): Promise<void> {
    const server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket))
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ fd }, resolve)
    })
    server.on('error', (error) => this.#log(`server: ${error.message}`))
    this.#inode = statSync(this.#path, { bigint: true }).ino
    this.#server = server
  }

  #close(): void {
    this.#server?.close()
    this.#server = undefined
    try {
      const isOurs = statSync(this.#path, { bigint: true }).ino === this.#inode
      if (isOurs) rmSync(this.#path, { force: true })
    } catch {
      // It is gone already.
    }
  }

  #accept(socket: Socket): void {
    let bytes = Buffer.alloc(0)
    socket.on('error', () => socket.destroy())
    const take = (part: Buffer): void => {
      bytes = Buffer.concat([bytes, part])
      if (bytes.length < LENGTH_DIGITS) return
      const length = Number.parseInt(bytes.toString('latin1', 0, LENGTH_DIGITS), 16)
      if (!(length <= REQUEST_MAX)) return void socket.destroy()
      if (bytes.length < LENGTH_DIGITS + length) return
      socket.off('data', take)
      void this.#serve(socket, bytes.subarray(LENGTH_DIGITS))
    }
    socket.on('data', take)
    socket.on('end', () => socket.end())
  }

  async #serve(socket: Socket, bytes: Buffer): Promise<void> {
    const request = this.#read(bytes)
    if (typeof request === 'string') return void socket.end(line(request))
    let isWanted = true
    socket.on('close', () => {
      isWanted = false
    })
    const isAgreed = new Promise<boolean>((resolve) => {
      socket.once('data', () => resolve(true))
      socket.once('close', () => resolve(false))
    })
    socket.write('taken\n')
    if (!(await isAgreed)) return
    // Meanwhile the last mount may have gone, or others come: the caller then starts a process of its own.
    if (this.#isStopping || this.#busy.size >= this.#room) return void socket.destroy()
    const thread = this.#takeThread()
    const { mountpoint, warnings, caller } = request
    try {
      const live = await thread.mount(request, this.#hostsFor(request))
      for (const warning of [...warnings, ...(live?.warnings ?? [])])
        socket.write(line(`warn mica-overlay: ${warning}`))
      if (live === undefined) {
        this.#giveBack(thread)
        if (isWanted) socket.end('ok\n')
        else detachPath(realDirectory('mount point', mountpoint))
        return
      }
      startControl(live, this.#log)
      this.addHost(live.host, caller, live.whenEnded)
      // A caller that has gone meanwhile believes that there is no mount.
      if (isWanted) socket.end('ok\n')
      else thread.stop()
      await live.whenEnded
    } catch (error) {
      socket.end(
        line(`error ${exitStatusOf(error)} mica-overlay ${showPath(mountpoint)}: ${reasonOf(error)}`),
      )
    }
    this.#giveBack(thread)
  }

  /** Returns the mounts in which a request's layers may be found, the likeliest first. */
  #hostsFor(request: ServerRequest): Host[] {
    if (!isImageMount(request)) return []
    const own = this.#hosts.filter(({ caller }) => caller === request.caller)
    const likely = own.length === 0 && isComparing(request.caller) ? this.#hosts : own
    return likely.map(({ host }) => host)
  }

  /** Returns the request, or the line that answers it at once. */
  #read(bytes: Buffer): ServerRequest | string {
    const words: string[] = []
    for (let from = 0; from < bytes.length; ) {
      const end = bytes.indexOf(0, from)
      if (end < 0) return 'own'
      words.push(decodePath(bytes.subarray(from, end)))
      from = end + 1
    }
    if (words[0] !== GREETING || this.#isStopping || this.#busy.size >= this.#room) return 'own'
    try {
      const request = parseOverlayArguments(words.slice(2))
      return isForUs(request) ? { ...request, caller: Number(words[1]) } : 'own'
    } catch (error) {
      return `error ${exitStatusOf(error)} mica-overlay: ${reasonOf(error)}`
    }
  }

  #takeThread(): MountThread {
    const thread = this.#spare.pop() ?? new MountThread(this.#room, this.#log)
    clearTimeout(this.#idle)
    this.#busy.add(thread)
    this.#keepSpareLater()
    return thread
  }

  #giveBack(thread: MountThread): void {
    this.#busy.delete(thread)
    if (!thread.isUsable && !this.#isStopping) {
      // What else it took along is unknown: others are served to their end, new ones elsewhere.
      this.#isStopping = true
      this.#close()
    }
    if (thread.isUsable && !this.#isStopping) this.#keep(thread)
    else thread.end()
    this.#settle()
  }

  /** Engines mount twice to run a container (to look at its users, then for good), and many at once. */
  #keep(thread: MountThread): void {
    this.#spare.push(thread)
    clearTimeout(this.#keeping)
    this.#keeping = setTimeout(() => {
      for (const one of this.#spare.splice(SPARE_THREADS)) one.end()
    }, KEEP_MS).unref()
  }

  /** Whoever just mounted something is about to use it, and needs the CPUs. */
  #keepSpareLater(): void {
    setTimeout(() => {
      if (this.#spare.length > 0 || this.#isStopping) return
      this.#spare.push(new MountThread(this.#room, this.#log))
    }, SPARE_DELAY_MS).unref()
  }

  #settle(): void {
    if (this.#busy.size > 0) return
    clearTimeout(this.#idle)
    if (this.#isStopping) this.#finish()
    else if (this.#isAlone) this.#idle = setTimeout(() => this.#finish(), this.#idleMs)
  }

  #finish(): void {
    if (this.#busy.size > 0) return
    this.#isStopping = true
    this.#close()
    this.#done()
  }
}

/** What would need more than arguments is left to a process in the caller's place. */
function isForUs({ instead, mountpoint, options }: MountRequest): boolean {
  const { lower, upper, work, debug, foreground, transport } = options
  const paths = [mountpoint, ...lower, ...[upper, work].filter((path) => path !== null)]
  const isPlain = instead === undefined && !debug && !foreground && transport !== 'fuse-native'
  return isPlain && paths.every((path) => path.startsWith('/'))
}
