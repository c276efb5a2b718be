// Signals on their way through our processes to a container's command. Each of them is in a session of its own,
// so that what a terminal sends comes once, and by this way. A signal that comes before the next process can
// take it waits: the first process of a pid namespace loses what it has no handler for.

/** As docker and tini pass them on: all but those that a process causes itself, or that can't be caught. */
const FORWARDED = [
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGTERM',
  'SIGUSR1',
  'SIGUSR2',
  'SIGALRM',
  'SIGCONT',
  'SIGWINCH',
  'SIGIO',
  'SIGPWR',
] as const

const ENDING: readonly NodeJS.Signals[] = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM']

/** Catches signals from its making on. */
export class SignalRelay {
  readonly #waiting: NodeJS.Signals[] = []
  #deliver: ((signal: NodeJS.Signals) => void) | undefined

  constructor() {
    for (const signal of FORWARDED) process.on(signal, () => this.#pass(signal))
  }

  #pass(signal: NodeJS.Signals): void {
    if (this.#deliver === undefined) this.#waiting.push(signal)
    else this.#deliver(signal)
  }

  /** Passes on what has come and what will come. */
  to(deliver: (signal: NodeJS.Signals) => void): void {
    this.#deliver = deliver
    for (const signal of this.#waiting.splice(0)) deliver(signal)
  }

  /** A signal that asks to end, among those that wait. */
  get ending(): NodeJS.Signals | undefined {
    return this.#waiting.find((signal) => ENDING.includes(signal))
  }
}

/** Sends a signal to a process that may have ended. */
export function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It has ended meanwhile.
  }
}
