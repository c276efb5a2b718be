// Whether two files hold the same bytes.

import { readSync } from 'node:fs'
import { check, close, tryOpen } from './at.js'

const CHUNK = 256 * 1024

type Place = { readonly dirFd: number; readonly name: string }

/** Tells whether two files of the same size have the same content. */
export function compareFiles(a: Place, b: Place): boolean {
  const first = check(tryOpen(a.dirFd, a.name, 0), 'open', a.name)
  const second = check(tryOpen(b.dirFd, b.name, 0), 'open', b.name)
  try {
    const one = Buffer.allocUnsafe(CHUNK)
    const two = Buffer.allocUnsafe(CHUNK)
    for (let at = 0; ; at += CHUNK) {
      const length = readSync(first, one, 0, CHUNK, at)
      const other = readSync(second, two, 0, CHUNK, at)
      if (length !== other || !one.subarray(0, length).equals(two.subarray(0, other))) return false
      if (length < CHUNK) return true
    }
  } finally {
    close(first)
    close(second)
  }
}
