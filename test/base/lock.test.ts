// The mutex between real threads.

import { Worker } from 'node:worker_threads'
import t from 'tap'
import { lock, unlock } from '../../src/base/lock.js'

const THREADS = 3
const ROUNDS = 40_000
const module = new URL('../../src/base/lock.js', import.meta.url).href

/** Adds to a plain counter in each thread, as the union does under its lock, and returns the sum. */
async function count(isDisabled: boolean): Promise<number> {
  const buffer = new SharedArrayBuffer(1024)
  const words = new Int32Array(buffer)
  const source = `
    import(${JSON.stringify(module)}).then(({ disableLock, lock, unlock }) => {
      if (${isDisabled}) disableLock()
      const words = new Int32Array(require('node:worker_threads').workerData)
      Atomics.add(words, 64, 1)
      while (Atomics.load(words, 64) < ${THREADS}) {}
      for (let i = 0; i < ${ROUNDS}; i++) {
        lock(words, 0)
        const seen = words[128]
        for (let spin = 0; spin < 20; spin++) words[129] = spin
        words[128] = seen + 1
        unlock(words, 0)
      }
    })`
  const workers = Array.from(
    { length: THREADS },
    () => new Worker(source, { eval: true, workerData: buffer }),
  )
  await Promise.all(workers.map((worker) => new Promise((done) => worker.once('exit', done))))
  t.equal(words[0], 0, 'the lock is free at the end')
  return words[128]!
}

t.test('nothing is lost between threads that fight for the lock', async (t) => {
  t.equal(await count(false), THREADS * ROUNDS)
})

t.test('without the lock something is lost: the test above can fail', async (t) => {
  let least = THREADS * ROUNDS
  for (let i = 0; i < 5 && least === THREADS * ROUNDS; i++) least = Math.min(least, await count(true))
  t.ok(least < THREADS * ROUNDS, `${least} of ${THREADS * ROUNDS}`)
})

t.test('a waiter that sleeps is woken', async (t) => {
  const words = new Int32Array(new SharedArrayBuffer(64))
  lock(words, 0)
  const worker = new Worker(
    `import(${JSON.stringify(module)}).then(({ lock, unlock }) => {
      const words = new Int32Array(require('node:worker_threads').workerData)
      lock(words, 0)
      unlock(words, 0)
    })`,
    { eval: true, workerData: words.buffer },
  )
  const ended = new Promise((done) => worker.once('exit', done))
  // 2: somebody waits for it.
  while (Atomics.load(words, 0) !== 2) await new Promise((done) => setTimeout(done, 5))
  unlock(words, 0)
  t.equal(await ended, 0)
  t.equal(words[0], 0)
})
