// How an ordinary user comes to more than one owner: everything that makes, reads or removes files of layers
// runs as root of a user namespace in which root is the user and the ids after it are those that /etc/subuid
// and /etc/subgid give (build/Release/mica-userns, native/userns.cc), where also mounting is allowed.

import { existsSync, readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { errnoReason } from '../base/errno.js'
import { native } from '../sys/native.js'
import { MountError, UsageError } from './errors.js'
import type { IdRange } from './options.js'

export type UserNamespace = {
  /** `root`: not needed. `ids`: with subordinate ids. `one`: root alone. `none`: there is no namespace. */
  readonly kind: 'root' | 'ids' | 'one' | 'none'
  /** Why it is not `ids`; '' otherwise. */
  readonly reason: string
}

const isRoot = (): boolean => process.geteuid?.() === 0

/** Returns what this process is in; undefined for an ordinary user who has not tried yet. */
export function userNamespace(env: NodeJS.ProcessEnv = process.env): UserNamespace | undefined {
  const { MICA_USERNS: kind, MICA_USERNS_REASON: reason = '' } = env
  if (kind === 'ids' || kind === 'one' || kind === 'none') return { kind, reason }
  return isRoot() ? { kind: 'root', reason: '' } : undefined
}

/** Returns the path of mica-userns. */
export function namespaceProgram(): string {
  let dir = dirname(fileURLToPath(import.meta.url))
  for (let up = 0; up < 6; up++) {
    const candidate = resolve(dir, 'build/Release/mica-userns')
    if (existsSync(candidate)) return candidate
    dir = dirname(dir)
  }
  throw new MountError('the native part is missing: run `npm run build`', 'ENOENT')
}

const terminated = (words: readonly string[]): Buffer =>
  Buffer.from(words.map((each) => `${each}\0`).join(''))

/**
 * Runs this whole program again in a namespace, in this process: does not return for an ordinary user. For
 * root, and when it has been tried before, says what there is. To be called before anything was done. `join`:
 * the namespaces of this process instead of new ones.
 */
export function enterUserNamespace(join?: number): UserNamespace {
  const found = userNamespace()
  if (found !== undefined) return found
  const program = namespaceProgram()
  const options = join === undefined ? [] : ['--join', String(join)]
  // What came as bytes goes on as bytes.
  const given = readFileSync('/proc/self/cmdline')
  const words = [terminated([program, ...options, process.execPath]), given.subarray(given.indexOf(0) + 1)]
  const result = native.execProgram(Buffer.concat(words), readFileSync('/proc/self/environ'))
  throw new MountError(`${program} can't be run: ${errnoReason(result)}`, 'ENOEXEC')
}

/** Like enterUserNamespace() for what can't do without. Throws UsageError when there is none. */
export function needUserNamespace(join?: number): UserNamespace {
  const found = enterUserNamespace(join)
  if (found.kind === 'none') throw new UsageError(`this takes root or a user namespace (${found.reason})`)
  return found
}

/** Returns how ids of this process's namespace (`inside`) are called in the one around it (`outside`). */
export function namespaceIds(kind: 'uid' | 'gid'): IdRange[] {
  return readFileSync(`/proc/self/${kind}_map`, 'latin1')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [inside, outside, count] = line.trim().split(/\s+/).map(Number)
      return { inside: inside!, outside: outside!, count: count! }
    })
}
