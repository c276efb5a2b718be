// What the cold paths throw. Every front end turns these into one line on stderr, so `message` is
// that line without its `mica: verb object:` head, and holds the way out where there is one.

import { errnoName, errnoReason } from '../base/errno.js'

/** The command line or the option string can't be understood; nothing was touched. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
  readonly code = 'EINVAL'
}

/** Something outside said no. `code` is the errno's name, `path` what it was about. */
export class MountError extends Error {
  override readonly name = 'MountError'
  readonly code: string
  readonly syscall: string | undefined
  readonly path: string | undefined

  constructor(message: string, code = 'EINVAL', about: { syscall?: string; path?: string } = {}) {
    super(message)
    this.code = code
    this.syscall = about.syscall
    this.path = about.path
  }
}

/** Returns the error for a negative errno: `WHAT PATH: reason`. */
export function systemError(result: number, what: string, path: string, syscall: string): MountError {
  return new MountError(`${what} ${path}: ${errnoReason(result)}`, errnoName(result), { syscall, path })
}

/** Returns the reason of anything thrown in a few words, without Node's decoration of system errors. */
export function reasonOf(error: unknown): string {
  if (error instanceof UsageError || error instanceof MountError) return error.message
  if (error instanceof Error) {
    const { errno, syscall } = error as NodeJS.ErrnoException
    if (typeof errno === 'number' && syscall !== undefined) return errnoReason(errno)
    return error.message
  }
  return String(error)
}

/** Returns the exit status that belongs to an error: 2 for wrong usage, 1 for everything else. */
export function exitStatusOf(error: unknown): number {
  return error instanceof UsageError ? 2 : 1
}
