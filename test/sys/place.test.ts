// Stepping back to SCHED_IDLE, and the guard that ends it.

import { spawn, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { EAGAIN, EPERM, ESRCH } from '../../src/base/errno.js'
import { native } from '../../src/sys/native.js'

const SCHED_OTHER = 0
const SCHED_IDLE = 5
const POLICY = 41
const PROCESSOR = 39

/** Field `number` of proc(5)'s stat of this process's main thread. */
function field(number: number): number {
  const text = readFileSync(`/proc/self/task/${process.pid}/stat`, 'latin1')
  return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[number - 3])
}

/** Steps back; on a busy machine the guard may have seen us kept from running a moment ago. */
async function stepBack(cpu: number): Promise<number> {
  const end = Date.now() + 20_000
  for (;;) {
    const result = native.stepBack(cpu)
    if (result !== -EAGAIN || Date.now() > end) return result
    await setTimeout(20)
  }
}

function allowed(): string {
  return /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'latin1'))![1]!
}

async function until(policy: number, ms: number): Promise<number> {
  for (const end = Date.now() + ms; field(POLICY) !== policy && Date.now() < end; ) await setTimeout(2)
  return field(POLICY)
}

/** Works, without ever taking a request, until the policy is this. */
function spinUntil(policy: number, ms: number): void {
  for (const end = Date.now() + ms; field(POLICY) !== policy && Date.now() < end; );
}

const trial = native.stepBack(-1)
const skip = trial === -EPERM ? 'this process could not come back from SCHED_IDLE' : false
native.stepForward()

t.test('a thread steps back, and comes forward when it has nothing to do', { skip }, async (t) => {
  await until(SCHED_OTHER, 1000)
  let policy = SCHED_OTHER
  // On a busy machine the guard may come in between.
  for (const end = Date.now() + 20_000; policy !== SCHED_IDLE && Date.now() < end; ) {
    t.equal(await stepBack(-1), 0)
    policy = await until(SCHED_IDLE, 1000)
  }
  t.equal(policy, SCHED_IDLE)
  t.equal(await until(SCHED_OTHER, 5000), SCHED_OTHER)
})

t.test('a ring steps back when callers come in turns to it and to another', { skip }, async (t) => {
  const shared = new SharedArrayBuffer(4)
  const last = new Int32Array(shared)
  const other = 1
  const come = (pid: number, times: number, isMoved: boolean): number => {
    let back = 0
    for (let i = 0; i < times; i++) {
      if (isMoved) last[0] = (pid << 8) | other
      back += native.noteCaller(pid)
    }
    return back
  }
  t.equal(native.noteCaller(77), 0, 'of no ring')
  t.equal(native.watchRingCallers(new Uint8Array(shared), 0), 0)
  t.equal(come(77, 1000, false), 0, 'its own caller')
  t.equal(last[0], 77 << 8)
  last[0] = (78 << 8) | other
  t.equal(come(77, 31, false), 0, 'another one elsewhere')
  t.equal(come(0, 100, true), 0, 'nobody waits')
  native.watchRingCallers(new Uint8Array(shared), 0)
  let back = 0
  // On a busy machine the window may have been no rush.
  for (const end = Date.now() + 20_000; back === 0 && Date.now() < end; ) {
    back = come(77, 32, true)
    if (back === 0) await setTimeout(20)
  }
  t.equal(back, 1, 'one caller is moved with each request')
  native.stepForward()
})

/** Tells of requests by these threads in turns; returns how often the worker stepped back, or stayed so. */
function notes(pids: readonly number[], rounds: number): number {
  let back = 0
  for (let i = 0; i < rounds; i++) for (const pid of pids) back += native.noteCaller(pid)
  return back
}

/** Repeats that many requests until the worker follows: on a busy machine it may have been kept from running. */
async function follows(pids: readonly number[], rounds: number): Promise<boolean> {
  for (const end = Date.now() + 20_000; Date.now() < end; await setTimeout(20)) {
    if (notes(pids, rounds) > 0) return true
  }
  return false
}

const cpus = allowed().split(/[-,]/)
const others = skip || (cpus.length < 2 ? 'there is one CPU' : false)

/** A program that runs now and then, on one CPU. */
async function runningOn(t: Test, cpu: string): Promise<number> {
  const child = spawn('taskset', ['-c', cpu, 'sh', '-c', 'while :; do sleep 0.01; done'])
  t.teardown(() => child.kill('SIGKILL'))
  while (native.cpuOf(child.pid!) !== Number(cpu)) await setTimeout(5)
  return child.pid!
}

t.test('the worker on the device goes where its one caller is, and after it', { skip: others }, async (t) => {
  const [first, second] = [cpus[0]!, cpus.at(-1)!]
  const before = allowed()
  const caller = await runningOn(t, second)
  native.watchDeviceCallers()
  t.equal(notes([caller], 31), 0)
  let place = ''
  // The guard may come in between.
  for (const end = Date.now() + 20_000; place !== second && Date.now() < end; place = allowed()) {
    t.ok(await follows([caller], 32))
  }
  t.equal(place, second)
  spawnSync('taskset', ['-pc', first, String(caller)])
  while (native.cpuOf(caller) !== Number(first)) await setTimeout(5)
  for (let i = 0; i < 100 && allowed() !== first; i++) await follows([caller], 32 * 8)
  t.equal(allowed(), first, 'looked at again after eight windows at the latest')
  notes([caller, 78, 79], 64)
  t.equal(allowed(), before, 'callers are several')
  t.equal(notes([caller, 78], 64), 0, 'two take turns')
  t.ok(await follows([78, ...Array<number>(7).fill(caller)], 4), 'most are of one')
  native.stepForward()
})

t.test('a caller that is gone is not followed', { skip }, async (t) => {
  native.watchDeviceCallers()
  t.equal(notes([0x3fffff], 64), 0)
  t.equal(notes([0], 64), 0, 'nobody waits')
})

t.test('with a CPU it is pinned to that, until it comes forward', { skip }, async (t) => {
  const before = allowed()
  const cpu = native.cpuOf(process.pid)
  const attempt = async () => [await stepBack(cpu), allowed(), native.stepBack(cpu)]
  let seen = await attempt()
  // On a busy machine the guard may come in between: the second step is refused then.
  for (const end = Date.now() + 20_000; seen[2] === -EAGAIN && Date.now() < end; ) seen = await attempt()
  t.strictSame(seen, [0, String(cpu), 0], 'again there is nothing to do')
  t.equal(native.stepForward(), 0)
  t.equal(allowed(), before)
  t.equal(await until(SCHED_OTHER, 1000), SCHED_OTHER)
})

t.test('the guard brings forward who could run and does not come round', { skip }, async (t) => {
  const before = allowed()
  t.equal(await stepBack(native.cpuOf(process.pid)), 0)
  spinUntil(SCHED_IDLE, 1000)
  spinUntil(SCHED_OTHER, 5000)
  t.equal(field(POLICY), SCHED_OTHER)
  t.equal(allowed(), before)
  t.equal(native.stepBack(-1), -EAGAIN, 'not at once again')
  t.equal(await stepBack(-1), 0, 'but later')
  native.stepForward()
})

t.test('the guard takes no CPU time while nobody is back', { skip }, async (t) => {
  await until(SCHED_OTHER, 1000)
  await setTimeout(50)
  const task = readdirSync('/proc/self/task').find(
    (tid) => readFileSync(`/proc/self/task/${tid}/comm`, 'latin1') === 'mica-guard\n',
  )
  t.ok(task)
  const switches = () =>
    Number(
      /^voluntary_ctxt_switches:\s*(\d+)/m.exec(readFileSync(`/proc/self/task/${task}/status`, 'latin1'))![1],
    )
  const first = switches()
  await setTimeout(200)
  t.equal(switches(), first)
})

t.test('the CPU of a thread', async (t) => {
  t.equal(native.cpuOf(process.pid) >= 0, true)
  t.equal(native.cpuOf(0x3fffff), -ESRCH)
  const cpu = field(PROCESSOR)
  t.ok(cpu >= 0)
})
