// What the store's commands have in common: --root, an open store for as long as they run, Ctrl-C, and
// errors that name the object they are about.

import { Command } from 'commander'
import { StoreError } from '../store/errors.js'
import { openStore, type Progress, type Store } from '../store/store.js'
import { CommandError } from './command-error.js'
import { showProgress } from './progress.js'

export type StoreContext = {
  readonly store: Store
  /** Aborted by Ctrl-C and SIGTERM. */
  readonly signal: AbortSignal
}

const INTERRUPTED = 130

/** Returns a command with the options that all of them have. */
export function storeCommand(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .option('--root <dir>', 'the store (or MICA_ROOT; root: /var/lib/mica, others: ~/.local/share/mica)')
}

/** Opens the store for `work`. `object` names what it is about in an error. */
export async function withStore<T>(
  root: string | undefined,
  object: string,
  work: (context: StoreContext) => Promise<T> | T,
): Promise<T> {
  const abort = new AbortController()
  const onSignal = (): void => {
    // Whoever asks twice means it; the next command sweeps.
    if (abort.signal.aborted) process.exit(INTERRUPTED)
    abort.abort()
  }
  let store: Store | undefined
  try {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal)
    store = openStore(root)
    return await work({ store, signal: abort.signal })
  } catch (error) {
    if (error instanceof CommandError) throw error
    if (abort.signal.aborted) throw new CommandError(object, error, 'interrupted', INTERRUPTED)
    throw new CommandError(object, error)
  } finally {
    store?.close()
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, onSignal)
  }
}

/** Runs `work` with progress shown on stderr; the bars are gone or whole when it ends. */
export async function withProgress<T>(
  isQuiet: boolean,
  work: (onProgress: (progress: Progress) => void) => Promise<T>,
): Promise<T> {
  const shown = showProgress(isQuiet ? 'nothing' : process.stderr.isTTY ? 'bars' : 'lines')
  try {
    return await work(shown.onProgress)
  } finally {
    shown.stop()
  }
}

/** Runs `work` for each object; one failure does not keep the others from being done, and is the exit status. */
export async function forEachObject(
  objects: readonly string[],
  work: (object: string) => Promise<void> | void,
): Promise<void> {
  const failures: CommandError[] = []
  for (const object of objects) {
    try {
      await work(object)
    } catch (error) {
      failures.push(error instanceof CommandError ? error : new CommandError(object, error))
    }
  }
  const last = failures.pop()
  if (last === undefined) return
  for (const each of failures)
    process.stderr.write(`mica: ${process.argv[2] ?? ''} ${each.object}: ${each.message}\n`)
  throw last
}

/** Tells whether an error says that there is no such thing. */
export function isNotFound(error: unknown): boolean {
  return error instanceof StoreError && error.code === 'NOT_FOUND'
}
