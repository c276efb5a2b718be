// When a worker steps back for its caller, and when it lets that be.

import t from 'tap'
import { FollowPlacement, type Placement, RingPlacement } from '../../src/fuse/placement.js'

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

t.test('a ring steps back when callers come in turns to it and to another', async (t) => {
  const sys = fakeSys()
  const last = new Int32Array(new SharedArrayBuffer(8))
  const rings = [0, 1].map((worker) => new RingPlacement(last, 1, worker, sys))
  send(rings[0]!, [77], 1000)
  send(rings[1]!, [78], 1000)
  t.strictSame(sys.calls, [], 'each caller stays where it is')
  for (let i = 0; i < 32; i++) for (const ring of rings) ring.note(77)
  t.equal(sys.tries, 2, 'one caller is moved with each request')
})

t.test('requests that nobody waits for move no ring', async (t) => {
  const sys = fakeSys()
  const last = new Int32Array(2)
  const rings = [0, 1].map((worker) => new RingPlacement(last, 0, worker, sys))
  for (let i = 0; i < 100; i++) for (const ring of rings) ring.note(0)
  t.strictSame(sys.calls, [])
})

t.test('the worker on the device goes where its one caller is, and after it', async (t) => {
  const sys = fakeSys()
  const follow = new FollowPlacement(sys)
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
  const follow = new FollowPlacement(sys)
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
  const follow = new FollowPlacement(sys)
  sys.cpus.set(78, 1)
  send(follow, [77, 78, 78, 78, 78, 78, 78, 78], 4)
  t.strictSame(sys.calls, ['back 1'])
  sys.calls.length = 0
  const other = new FollowPlacement(sys)
  send(other, [80], 64)
  t.strictSame(sys.calls, [], 'no such thread')
})

t.test('where stepping back is refused, it is tried again a window later', async (t) => {
  const sys = fakeSys()
  sys.cpus.set(77, 1)
  sys.answer = -11
  const follow = new FollowPlacement(sys)
  send(follow, [77], 64)
  t.equal(sys.tries, 2)
})
