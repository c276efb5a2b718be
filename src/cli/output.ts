// Where an archive goes: a file that is there when it is whole, or standard output.

import { createWriteStream, renameSync, rmSync } from 'node:fs'
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
  const draft = `${file}.part`
  const stream: Writable = isStdout ? process.stdout : createWriteStream(draft)
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
    renameSync(draft, file)
  } catch (error) {
    if (!isStdout) {
      stream.destroy()
      rmSync(draft, { force: true })
    }
    throw error
  }
}
