// A container's command as a process. It is started and waited for by our own native calls, not by
// node:child_process: the first process of a pid namespace must also wait for what its descendants leave
// behind, and two that wait for the same children take each other's.

import { EAGAIN } from '../base/errno.js'
import { native } from '../sys/native.js'
import type { ImageUser } from './image-user.js'

/** Signals may be merged into one. */
const POLL_MS = 1000
const OWN_STREAMS = -1

export type Program = {
  readonly command: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string
  readonly user: ImageUser
}

const terminated = (words: readonly string[]): Buffer =>
  Buffer.from(words.map((each) => `${each}\0`).join(''))

/** Starts a program on our standard streams or on a terminal (an fd). Returns its pid, or -errno. */
export function startProgram({ command, env, cwd, user }: Program, terminal = OWN_STREAMS): number {
  return native.spawnProgram(
    terminal,
    terminated(command),
    terminated(Object.entries(env).map(([name, value]) => `${name}=${value}`)),
    Buffer.from(cwd),
    user.uid,
    user.gid,
    new Uint8Array(new Uint32Array(user.groups).buffer),
  )
}

/** Resolves with a program's exit status: 128 + N when signal N ended it. Reaps all other children meanwhile. */
export function endOf(pid: number): Promise<number> {
  return new Promise((resolve) => {
    const look = (): void => {
      const status = native.reapChildren(pid)
      if (status === -EAGAIN) return
      process.off('SIGCHLD', look)
      clearInterval(alive)
      resolve(status < 0 ? 1 : status)
    }
    // A signal's listener alone does not keep this process.
    const alive = setInterval(look, POLL_MS)
    process.on('SIGCHLD', look)
    look()
  })
}
