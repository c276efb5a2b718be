// What a session keeps beside the requests: counters that workers share, traces, parked requests.

import t from 'tap'
import { Session } from '../../src/fuse/session.js'
import { createSessionShared, sumCounters } from '../../src/fuse/session-shared.js'
import { CTL_OUT, CTL_OUT_CAPACITY, createArena, IN, OUT, OUT_CAPACITY } from '../../src/vfs/arena.js'
import { PARKED } from '../../src/vfs/file-system.js'
import { createWire, passthrough, recordingFs, text, u32, u64 } from './wire.js'

t.test('requests, errors and parkings are counted by opcode', async (t) => {
  const wire = createWire()
  wire.send(1, text('a'))
  wire.fs.answers.lookup = -5
  wire.send(1, text('b'))
  wire.fs.answers.unlink = PARKED
  const length = wire.put(10, text('c'))
  t.equal(wire.session.dispatch(length), PARKED)
  wire.fs.answers.unlink = 0
  t.equal(wire.session.redispatch(length), 0)
  wire.send(2, u64(1))
  wire.send(4711, Buffer.alloc(8))
  t.strictSame(sumCounters(wire.shared), {
    unknown: { requests: 1, errors: 1, parked: 0 },
    LOOKUP: { requests: 2, errors: 1, parked: 0 },
    FORGET: { requests: 1, errors: 0, parked: 0 },
    UNLINK: { requests: 1, errors: 0, parked: 1 },
  })
})

t.test('workers count side by side, and all know what INIT agreed on', async (t) => {
  const shared = createSessionShared(2)
  const workers = [0, 1].map((worker) => {
    const arena = createArena()
    arena.u32[CTL_OUT] = OUT
    arena.u32[CTL_OUT_CAPACITY] = OUT_CAPACITY
    const fs = recordingFs()
    const session = new Session({
      ...{ arena, fs, shared, worker, log: t.fail, negotiate: { ...passthrough, data: 'no-open' as const } },
      ...{ entryTimeoutMs: 0, attrTimeoutMs: 0, negativeTimeoutMs: 0 },
    })
    return { arena, fs, session }
  })
  const send = (worker: number, opcode: number, body: Buffer) => {
    const { arena, session } = workers[worker]!
    const request = Buffer.concat([u32(40 + body.length, opcode), u64(1, 5), u32(0, 0, 0, 0), body])
    request.copy(Buffer.from(arena.bytes.buffer), IN)
    return session.dispatch(request.length)
  }
  t.equal(send(1, 14, u32(0, 0)), 16, 'OPEN is served before INIT says otherwise')
  t.equal(send(0, 26, u32(7, 31, 0, 1 << 17)), 64)
  t.equal(send(1, 14, u32(0, 0)), -38, 'the other worker refuses OPEN from here on')
  t.equal(send(0, 14, u32(0, 0)), -38)
  t.strictSame(sumCounters(shared), {
    OPEN: { requests: 3, errors: 2, parked: 0 },
    INIT: { requests: 1, errors: 0, parked: 0 },
  })
})

t.test('timeouts of any length are told to the kernel', async (t) => {
  const cases: [ms: number, seconds: number, ns: number][] = [
    [0, 0, 0],
    [1, 0, 1_000_000],
    [0.5, 0, 500_000],
    [1000, 1, 0],
    [86_400_999, 86_400, 999_000_000],
    [Number.POSITIVE_INFINITY, 0x7fffffff, 0],
  ]
  for (const [ms, seconds, ns] of cases) {
    const wire = createWire(passthrough, { entryTimeoutMs: ms, attrTimeoutMs: ms })
    t.equal(wire.send(1, text('a')), 128)
    t.strictSame(wire.reply(40).subarray(16), Buffer.concat([u64(seconds, seconds), u32(ns, ns)]), `${ms} ms`)
  }
})

t.test('a trace has one line per request', async (t) => {
  const lines: string[] = []
  const arena = createArena()
  const fs = recordingFs()
  const session = new Session({
    ...{ arena, fs, shared: createSessionShared(1), worker: 0, log: t.fail, negotiate: passthrough },
    ...{
      entryTimeoutMs: 0,
      attrTimeoutMs: 0,
      negativeTimeoutMs: 0,
      trace: (line: string) => lines.push(line),
    },
  })
  arena.u32[CTL_OUT] = OUT
  arena.u32[CTL_OUT_CAPACITY] = OUT_CAPACITY
  const request = Buffer.concat([u32(44, 10), u64(9, 5), u32(0, 0, 0, 0), text('a\xe9b')])
  request.copy(Buffer.from(arena.bytes.buffer), IN)
  fs.answers.unlink = -30
  t.equal(session.dispatch(44), -30)
  t.strictSame(lines, ['fuse: UNLINK nodeid 5 unique 9 "aéb": -30'])
})

t.test('a job that ended goes to the file system', async (t) => {
  const wire = createWire()
  wire.session.completed(12, -28)
  t.strictSame(wire.fs.calls, [['completed', 12, -28]])
})
