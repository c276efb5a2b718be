// Writing all of some bytes at an offset, with an error in our own form.

import { writeSync } from 'node:fs'
import { errnoReason } from '../base/errno.js'
import { SystemError } from './errors.js'

export function writeAt(fd: number, bytes: Uint8Array, offset: number): void {
  try {
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at, offset + at)
  } catch (error) {
    const { errno, code = 'EIO' } = error as NodeJS.ErrnoException
    throw new SystemError(errno === undefined ? String(error) : errnoReason(errno), code, 'write', '')
  }
}
