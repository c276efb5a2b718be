// Where a daemon's words go: stderr in the foreground, a file in the runtime directory (made with the
// first line) once it has let go of stderr.

import { appendFileSync } from 'node:fs'

export type Log = {
  (line: string): void
  /** From here on lines go to this file. */
  redirect(path: string): void
}

/** Returns a log that writes to stderr until it is redirected. Writing never throws. */
export function createLog(): Log {
  let path: string | undefined
  const log = (line: string): void => {
    try {
      if (path === undefined) process.stderr.write(`mica: ${line}\n`)
      else appendFileSync(path, `${new Date().toISOString()} ${line}\n`, { mode: 0o600 })
    } catch {
      // A full disk must not take the mount down.
    }
  }
  return Object.assign(log, {
    redirect(to: string) {
      path = to
    },
  })
}
