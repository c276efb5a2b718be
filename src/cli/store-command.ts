// What the store's commands have in common: --root, an open store for as long as they run, Ctrl-C, a user
// namespace for those that deal with files of layers, and errors that name the object they are about.

import { Command } from 'commander'
import { holderOf } from '../mount/container.js'
import { enterUserNamespace, userNamespace } from '../mount/user-namespace.js'
import { StoreError } from '../store/errors.js'
import { type Operation, openStore, type Progress, type Store, withOperation } from '../store/store.js'
import { CommandError } from './command-error.js'
import { showProgress } from './progress.js'

export type StoreContext = {
  readonly store: Store
  /** Aborted by Ctrl-C and SIGTERM. */
  readonly signal: AbortSignal
  /** withOperation() that ends with Ctrl-C and says which owners were lost. */
  operate<T>(
    work: (operation: Operation) => Promise<T>,
    onProgress?: (progress: Progress) => void,
  ): Promise<T>
}

/** The status after Ctrl-C, as of a shell's own commands. */
export const INTERRUPTED = 130

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
    return await work(contextOf(store, abort.signal))
  } catch (error) {
    if (error instanceof CommandError) throw error
    if (abort.signal.aborted) throw new CommandError(object, error, 'interrupted', INTERRUPTED)
    throw new CommandError(object, error)
  } finally {
    store?.close()
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      // What is done is done, and the status says so: a signal that comes after it has nothing to end.
      if (process.listenerCount(signal) === 1) process.on(signal, () => {})
      process.off(signal, onSignal)
    }
  }
}

function contextOf(store: Store, signal: AbortSignal): StoreContext {
  return {
    store,
    signal,
    operate: (work, onProgress) =>
      withOperation(store, { signal, onProgress, onLostOwners: tellLostOwners }, work),
  }
}

const NO_IMAGE = 'no such image'
const OWNERS_SHOWN = 3

function tellLostOwners(owners: readonly string[]): void {
  const { kind, reason } = userNamespace() ?? { kind: 'none', reason: '' }
  const more = owners.length > OWNERS_SHOWN ? ` and ${owners.length - OWNERS_SHOWN} more` : ''
  const shown = `${owners.slice(0, OWNERS_SHOWN).join(', ')}${more}`
  const why = reason === '' ? 'they are beyond the ids of this user namespace' : reason
  process.stderr.write(
    `mica: files of ${shown} have become ${kind === 'none' ? 'yours' : "root's"}: ${why}\n`,
  )
}

/**
 * Like withStore(), for work that makes, reads or removes files of layers. They belong to many, so an ordinary
 * user does this in a user namespace: in that of one of these containers, if it is mounted in one.
 */
export async function withLayers<T>(
  root: string | undefined,
  object: string,
  work: (context: StoreContext) => Promise<T> | T,
  containers: readonly string[] = [],
): Promise<T> {
  if (userNamespace() === undefined) {
    await withStore(root, object, ({ store }) => {
      enterUserNamespace(holderOf(store, containers))
    })
  }
  return withStore(root, object, work)
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

/** Returns what to throw for a name that could be a container's or an image's, when it was not an image's. */
export function neither(name: string, error: unknown): unknown {
  const { message } = error as Error
  if (!isNotFound(error) || !message.startsWith(NO_IMAGE)) return error
  return new CommandError(name, error, `no such container or image${message.slice(NO_IMAGE.length)}`)
}
