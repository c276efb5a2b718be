// Output that nobody takes. Node would end the program with a stack.

import { reasonOf } from '../mount/errors.js'

/** Lets a reader go without a word (`mica images | head -1`): the work goes on. Says when there is no space. */
export function mindOutput(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    // An archive's writer minds its own.
    if (error.code === 'EPIPE' || process.stdout.listenerCount('error') > 1) return
    process.stderr.write(`mica: standard output: ${reasonOf(error)}\n`)
    process.exitCode = 1
  })
  process.stderr.on('error', () => {})
}
