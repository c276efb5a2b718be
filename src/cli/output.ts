// Where an archive goes: a file that is there when it is whole, or standard output.

import { createWriteStream, renameSync, rmSync, statSync } from 'node:fs'
import type { Writable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { UsageError } from '../mount/errors.js'

/** Runs `work` with a writer to the file, or to standard output when there is none. */
export async function writeTo(
  file: string | undefined,
  work: (write: (bytes: Uint8Array) => Promise<void>) => Promise<void>,
): Promise<void> {
  const isStdout = file === undefined || file === '-'
  if (isStdout && process.stdout.isTTY)
    throw new UsageError('this is no text for a terminal; give a file by -o, or pipe it')
  // A device or a pipe is written to; only a file is replaced.
  const isFile = !isStdout && statSync(file, { throwIfNoEntry: false })?.isFile() !== false
  const draft = isFile ? `${file}.part` : file
  const stream: Writable = isStdout ? process.stdout : createWriteStream(draft!)
  const failed = isStdout ? new Promise<never>((_, reject) => stream.on('error', reject)) : finished(stream)
  failed.catch(() => {})
  try {
    await work(async (bytes) => {
      if (bytes.length > 0 && !stream.write(bytes)) {
        await Promise.race([new Promise((resolve) => stream.once('drain', resolve)), failed])
      }
    })
    if (isStdout) return
    stream.end()
    await failed
    if (isFile) renameSync(draft!, file)
  } catch (error) {
    if (!isStdout) {
      stream.destroy()
      if (isFile) rmSync(draft!, { force: true })
    }
    throw error
  }
}
