// Paths are bytes on Linux and strings in JavaScript. A byte that is not UTF-8 becomes a lone
// surrogate U+DC80..U+DCFF (as Python's surrogateescape does), so that every path survives
// the round trip through strings, JSON and argument lists of this program.

import { isUtf8 } from 'node:buffer'
import { readFileSync } from 'node:fs'

const ESCAPE = 0xdc00

/** Returns the bytes of a path, with escaped bytes put back. */
export function encodePath(path: string): Buffer {
  if (!/[\udc80-\udcff]/u.test(path)) return Buffer.from(path)
  const parts: Buffer[] = []
  for (const char of path) {
    const code = char.codePointAt(0)!
    parts.push(code >= 0xdc80 && code <= 0xdcff ? Buffer.of(code - ESCAPE) : Buffer.from(char))
  }
  return Buffer.concat(parts)
}

/** Returns the string for a path's bytes; encodePath() gives exactly these bytes again. */
export function decodePath(bytes: Uint8Array): string {
  if (isUtf8(bytes)) return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString()
  let out = ''
  for (let at = 0; at < bytes.length; ) {
    const length = sequenceLength(bytes, at)
    if (length === 0) out += String.fromCharCode(ESCAPE + bytes[at++]!)
    else {
      out += Buffer.from(bytes.subarray(at, at + length)).toString()
      at += length
    }
  }
  return out
}

/** Returns how many bytes the valid UTF-8 character at `at` has, 0 when there is none. */
function sequenceLength(bytes: Uint8Array, at: number): number {
  for (let length = 1; length <= 4 && at + length <= bytes.length; length++) {
    if (isUtf8(bytes.subarray(at, at + length))) return length
  }
  return 0
}

/** Returns a path for people: unprintable and non-UTF-8 bytes as \xNN, so that a line stays a line. */
export function showPath(path: string): string {
  return path.replace(/[\x00-\x1f\x7f]|[\udc80-\udcff]/gu, (char) => {
    const code = char.charCodeAt(0) & 0xff
    return `\\x${code.toString(16).padStart(2, '0')}`
  })
}

/**
 * Returns this process's arguments after the script's name. Node replaces bytes that are not UTF-8
 * in process.argv; when that has happened the kernel's own copy is taken.
 */
export function processArguments(): string[] {
  const args = process.argv.slice(2)
  if (!args.some((arg) => arg.includes('\ufffd'))) return args
  const raw = readFileSync('/proc/self/cmdline')
  const all: string[] = []
  for (let from = 0; from < raw.length; ) {
    const end = raw.indexOf(0, from)
    all.push(decodePath(raw.subarray(from, end)))
    from = end + 1
  }
  return args.length === 0 ? [] : all.slice(-args.length)
}
