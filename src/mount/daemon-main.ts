// The process behind one mount: `daemon-main.js [--overlay] ARGUMENTS…`. Parses the arguments itself and
// imports little, as its start is most of the time that a mount takes.
//
// With MICA_STATUS_FD set somebody waits: "ok" or "error STATUS MESSAGE" is one line to that fd, after which
// stdio is let go of. Without, this is a mount in the foreground.

import { closeSync, openSync, writeSync } from 'node:fs'
import { native } from '../sys/native.js'
import { type MountRequest, parseMountArguments, parseOverlayArguments } from './arguments.js'
import { type LiveMount, serve } from './daemon.js'
import { exitStatusOf, reasonOf } from './errors.js'
import { createLog, type Log } from './log.js'
import { processArguments, showPath } from './path-bytes.js'
import { logPath } from './runtime-dir.js'
import type { MountServer } from './server.js'
import { VERSION } from './version.js'

const OVERLAY = '--overlay'

/** The waiting side, if there is one. Taken out of the environment: no child may inherit it. */
function takeStatusFd(): number {
  const text = process.env.MICA_STATUS_FD
  delete process.env.MICA_STATUS_FD
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : -1
}

/** Where further mounts may come to, if they may, and who asked for this one: see server.ts. */
function takeServerPlace(): { fd: number; path: string; caller: number } | undefined {
  const { MICA_SERVER: fd, MICA_SERVER_SOCKET: path, MICA_CALLER: caller } = process.env
  for (const name of ['MICA_SERVER', 'MICA_SERVER_SOCKET', 'MICA_CALLER']) delete process.env[name]
  return fd === undefined || path === undefined ? undefined : { fd: Number(fd), path, caller: Number(caller) }
}

function report(statusFd: number, line: string): void {
  try {
    writeSync(statusFd, `${line.replace(/\s*\n\s*/g, '; ')}\n`)
    closeSync(statusFd)
  } catch {
    // The waiting side is gone; the mount stays.
  }
}

/** Lets go of everything inherited that somebody might wait for. */
function detachStdio(): void {
  const fd = openSync('/dev/null', 'r+')
  for (const each of [0, 1, 2]) native.dup2(fd, each)
  if (fd > 2) closeSync(fd)
  process.chdir('/')
}

function parse(args: readonly string[]): { request: MountRequest; program: string } {
  return args[0] === OVERLAY
    ? { request: parseOverlayArguments(args.slice(1)), program: 'mica-overlay' }
    : { request: parseMountArguments(args), program: 'mica' }
}

async function main(): Promise<void> {
  native.mapBigBlocks()
  const statusFd = takeStatusFd()
  const place = takeServerPlace()
  const args = processArguments()
  const isOverlay = args[0] === OVERLAY
  let where = ''
  try {
    const { request, program } = parse(args)
    where = request.mountpoint
    if (request.instead !== undefined) return await answer(request.instead, program, statusFd)
    for (const warning of request.warnings) process.stderr.write(`${program}: ${warning}\n`)
    const log = createLog()
    const ending = watchSignals()
    const live = await serve(request, log, { mounts: 1, isShared: place !== undefined })
    ending.onSignal = () => live.stop()
    if (statusFd >= 0) {
      log.redirect(logPath(live.record))
      detachStdio()
      report(statusFd, 'ok')
    }
    await serveToTheEnd(live, log, place, ending)
  } catch (error) {
    const head = isOverlay ? 'mica-overlay' : 'mica: mount'
    const line = `${head}${where === '' ? '' : ` ${showPath(where)}`}: ${reasonOf(error)}`
    if (process.env.MICA_DEBUG !== undefined) console.error(error)
    if (statusFd >= 0) report(statusFd, `error ${exitStatusOf(error)} ${line}`)
    else process.stderr.write(`${line}\n`)
    process.exit(exitStatusOf(error))
  }
}

/** What a signal leads to; one that came before there was a mount is remembered. */
class Ending {
  #signals = 0
  #stop: (() => void) | undefined

  set onSignal(stop: () => void) {
    this.#stop = stop
    if (this.#signals > 0) stop()
  }

  caught(): void {
    // The second one means it: the kernel tells users of the mount that it is gone.
    if (++this.#signals > 1) process.exit(1)
    this.#stop?.()
  }
}

function watchSignals(): Ending {
  const ending = new Ending()
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => ending.caught())
  return ending
}

/** Serves until the mount ends and no others are left, then ends the process. */
async function serveToTheEnd(
  live: LiveMount,
  log: Log,
  place: ReturnType<typeof takeServerPlace>,
  ending: Ending,
): Promise<void> {
  process.on('uncaughtException', (error) => log(error.stack ?? error.message))
  process.on('unhandledRejection', (reason) => log(String((reason as Error)?.stack ?? reason)))
  const { startControl } = await import('./control.js')
  startControl({ ...live, hasPassthrough: live.agreement.hasPassthrough }, log)
  const server = place === undefined ? undefined : await openServer(place, log)
  if (server !== undefined) {
    server.addHost(live.host, place!.caller, live.whenEnded)
    ending.onSignal = () => {
      live.stop()
      server.stop()
    }
  }
  const end = await live.whenEnded
  if (end.reason === 'failed') log(`the mount ended by errno ${end.errno}`)
  server?.goOnAlone()
  await server?.whenDone
  process.exit(end.reason === 'failed' ? 1 : 0)
}

async function openServer(place: { fd: number; path: string }, log: Log): Promise<MountServer | undefined> {
  const { MountServer } = await import('./server.js')
  const seconds = Number(process.env.MICA_SERVER_IDLE)
  return MountServer.open(place, log, process.env.MICA_SERVER_IDLE ? seconds * 1000 : undefined)
}

async function answer(what: 'help' | 'version' | 'man', program: string, statusFd: number): Promise<void> {
  if (what === 'version') {
    process.stdout.write(program === 'mica' ? `${VERSION}\n` : `${program}: version ${VERSION}\n`)
  } else {
    const { helpText, manPage } = await import('./option-help.js')
    process.stdout.write(what === 'man' ? manPage(VERSION) : helpText())
  }
  if (statusFd >= 0) report(statusFd, 'ok')
}

void main()
