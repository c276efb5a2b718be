// A terminal of a container's own (`-t`): a pseudo-terminal out of the container's /dev/pts, on which the
// command runs, and the bytes between it and our standard streams. The outer terminal is in raw mode
// meanwhile: what is typed, Ctrl-C too, means what the inner one makes of it.

import { fchownSync } from 'node:fs'
import { isatty, ReadStream } from 'node:tty'
import { native } from '../sys/native.js'
import { systemError } from './errors.js'
import { endOf, type Program, startProgram } from './program.js'

const STDIN = 0
const O_RDWR_NOCTTY = 0o402
/** In the container; /dev/ptmx may be an image's own. */
const PTMX = '/dev/pts/ptmx'
/** How long after the command's end output may still come. */
const DRAIN_MS = 50
/** What Ctrl-D sends. */
const END_OF_INPUT = '\x04'

/** A command on a terminal of its own. */
export type OnTerminal = {
  readonly pid: number
  /** Its exit status, when its output has been passed on. */
  readonly ended: Promise<number>
}

function openTerminal(): { master: number; peer: number } {
  const master = native.openPath(Buffer.from(PTMX), O_RDWR_NOCTTY, 0)
  const peer = master < 0 ? master : native.terminalPeer(master)
  if (peer < 0) throw systemError(peer, 'terminal', PTMX, 'open')
  return { master, peer }
}

function copySize(master: number): void {
  if (!process.stdout.isTTY) return
  const [columns, rows] = process.stdout.getWindowSize()
  native.setTerminalSize(master, rows, columns)
}

/** Runs a program on a new terminal. Needs: the container's /dev. Returns -errno when it can't be run. */
export function runOnTerminal(program: Program, isInteractive: boolean): OnTerminal | number {
  const { master, peer } = openTerminal()
  copySize(master)
  // Programs of other users open it by its name.
  fchownSync(peer, program.user.uid, -1)
  const pid = startProgram(program, peer)
  native.close(peer)
  if (pid < 0) {
    native.close(master)
    return pid
  }
  process.on('SIGWINCH', () => copySize(master))
  const stream = new ReadStream(master)
  const closed = passOutput(stream)
  if (isInteractive) passInput(stream)
  return { pid, ended: endOf(pid).then((status) => drained(closed).then(() => status)) }
}

/** Resolves when nobody has the terminal open any more. */
function passOutput(stream: ReadStream): Promise<void> {
  return new Promise((resolve) => {
    stream.on('data', (chunk: Buffer) => {
      if (!process.stdout.write(chunk)) {
        stream.pause()
        process.stdout.once('drain', () => stream.resume())
      }
    })
    // EIO is how its end is told.
    stream.on('error', () => resolve())
    stream.on('end', () => resolve())
  })
}

function passInput(stream: ReadStream): void {
  process.stdin.on('data', (chunk: Buffer) => {
    if (!stream.write(chunk)) {
      process.stdin.pause()
      stream.once('drain', () => process.stdin.resume())
    }
  })
  process.stdin.on('end', () => stream.write(END_OF_INPUT))
  process.stdin.on('error', () => {})
}

function drained(closed: Promise<void>): Promise<void> {
  return Promise.race([closed, new Promise<void>((done) => setTimeout(done, DRAIN_MS))])
}

/** Puts our own terminal into raw mode; the result puts it back. */
export function enterRawMode(): () => void {
  if (!isatty(STDIN) || native.rawMode(STDIN, 1) < 0) return () => {}
  const leave = (): void => void native.rawMode(STDIN, 0)
  process.once('exit', leave)
  return leave
}
