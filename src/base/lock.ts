// One mutex over a shared Int32Array word, for sections of well under a microsecond.
//
// Under it: only reads and writes of the shared tables. No system call, no allocation, nothing
// that can throw: a section that throws would leave the lock held for every worker.

const FREE = 0
const HELD = 1
const CONTENDED = 2
const SPINS = 200
/** Native code that holds the mutex (native/at-once.cc) can't wake who sleeps in Atomics.wait(). */
const NAP_MS = 1

let isDisabled = false

/** For the control run of the stress test only: makes lock() and unlock() do nothing in this thread. */
export function disableLock(): void {
  isDisabled = true
}

/** Takes the mutex at `word`; spins about a microsecond, then sleeps. */
export function lock(words: Int32Array, word: number): void {
  if (isDisabled) return
  if (Atomics.compareExchange(words, word, FREE, HELD) === FREE) return
  for (let spin = 0; spin < SPINS; spin++) {
    if (Atomics.load(words, word) === FREE && Atomics.compareExchange(words, word, FREE, HELD) === FREE)
      return
  }
  while (Atomics.exchange(words, word, CONTENDED) !== FREE) Atomics.wait(words, word, CONTENDED, NAP_MS)
}

/** Gives the mutex back and wakes one waiter when there may be one. */
export function unlock(words: Int32Array, word: number): void {
  if (isDisabled) return
  if (Atomics.exchange(words, word, FREE) === CONTENDED) Atomics.notify(words, word, 1)
}
