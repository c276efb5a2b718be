// Where a daemon's words go: stderr in the foreground, a file in the runtime directory (made with the
// first line) once it has let go of stderr.

import { appendFileSync } from 'node:fs'

export type Log = {
  (line: string): void
  /** From here on lines go to this file. */
  redirect(path: string): void
}

function toStderr(line: string): void {
  process.stderr.write(`mica: ${line}\n`)
}

/** Returns a log that hands its lines to `first` until it is redirected. Writing never throws. */
export function createLog(first: (line: string) => void = toStderr): Log {
  let path: string | undefined
  const log = (line: string): void => {
    try {
      if (path === undefined) first(line)
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
