// When a worker steps back for its caller, and when it lets that be.

import t from 'tap'
import { Placement } from '../../src/fuse/placement.js'

function fakeSys() {
  const calls: string[] = []
  return {
    /** Without repetitions. */
    calls,
    tries: 0,
    cpus: new Map<number, number>(),
    answer: 0,
    stepBack(cpu: number) {
      this.tries++
      if (calls.at(-1) !== `back ${cpu}`) calls.push(`back ${cpu}`)
      return this.answer
    },
    stepForward() {
      calls.push('forward')
      return 0
    },
    cpuOf(pid: number) {
      return this.cpus.get(pid) ?? -3
    },
  }
}

function send(placement: Placement, pids: readonly number[], times: number): void {
  for (let i = 0; i < times; i++) for (const pid of pids) placement.note(pid)
}

t.test('the worker on the device goes where its one caller is, and after it', async (t) => {
  const sys = fakeSys()
  const follow = new Placement(sys)
  sys.cpus.set(77, 1)
  send(follow, [77], 31)
  t.strictSame(sys.calls, [])
  send(follow, [77], 1)
  t.strictSame(sys.calls, ['back 1'])
  sys.cpus.set(77, 0)
  send(follow, [77], 32 * 8)
  t.strictSame(sys.calls, ['back 1', 'back 0'], 'looked at again after eight windows at the latest')
})

t.test('it comes forward when callers are several', async (t) => {
  const sys = fakeSys()
  const follow = new Placement(sys)
  for (const pid of [77, 78, 79]) sys.cpus.set(pid, 1)
  send(follow, [77, 78], 64)
  t.strictSame(sys.calls, [], 'two take turns')
  send(follow, [77], 32)
  t.strictSame(sys.calls, ['back 1'])
  send(follow, [78, 79], 16)
  t.strictSame(sys.calls, ['back 1', 'forward'])
  send(follow, [78, 79], 64)
  t.strictSame(sys.calls, ['back 1', 'forward'], 'and stays there')
})

t.test('a caller among few others is followed; one that is gone is not', async (t) => {
  const sys = fakeSys()
  const follow = new Placement(sys)
  sys.cpus.set(78, 1)
  send(follow, [77, 78, 78, 78, 78, 78, 78, 78], 4)
  t.strictSame(sys.calls, ['back 1'])
  sys.calls.length = 0
  const other = new Placement(sys)
  send(other, [80], 64)
  t.strictSame(sys.calls, [], 'no such thread')
})

t.test('where stepping back is refused, it is tried again a window later', async (t) => {
  const sys = fakeSys()
  sys.cpus.set(77, 1)
  sys.answer = -11
  const follow = new Placement(sys)
  send(follow, [77], 64)
  t.equal(sys.tries, 2)
})
