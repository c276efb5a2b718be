// Which transport is chosen, and who serves which queue: by tables, without a mount.

import t from 'tap'
import { chooseTransport, type Host, parseCpuList, shareQueues } from '../../src/mount/transports.js'

const cpus = (count: number) => Array.from({ length: count }, (_, i) => i)
const host = (changes: Partial<Host> = {}): Host => ({
  ...{ enableUring: 'Y', ringError: undefined, isRoot: true },
  ...{ possible: cpus(2), online: cpus(2), allowed: cpus(2) },
  ...changes,
})

t.test('the kernel’s lists of CPUs are understood', (t) => {
  t.strictSame(parseCpuList('0'), [0])
  t.strictSame(parseCpuList('0-3,8,10-11'), [0, 1, 2, 3, 8, 10, 11])
  t.strictSame(parseCpuList(''), [])
  t.end()
})

t.test('the transport follows the option, the switch and the rights', (t) => {
  const off = /^FUSE over io_uring is switched off .*; requests come through \/dev\/fuse$/
  const table: [wish: 'auto' | 'dev-fuse' | 'io-uring', host: Host, transport: string, warning?: RegExp][] = [
    ['auto', host(), 'io-uring'],
    ['auto', host({ isRoot: false }), 'dev-fuse'],
    ['auto', host({ enableUring: 'N' }), 'dev-fuse'],
    ['auto', host({ enableUring: undefined }), 'dev-fuse'],
    ['auto', host({ ringError: 'operation not permitted' }), 'dev-fuse'],
    ['dev-fuse', host(), 'dev-fuse'],
    ['io-uring', host({ isRoot: false }), 'io-uring'],
    ['io-uring', host({ enableUring: 'N' }), 'dev-fuse', off],
    ['io-uring', host({ enableUring: undefined }), 'dev-fuse', /^this kernel has no FUSE over io_uring/],
    ['io-uring', host({ ringError: 'not permitted' }), 'dev-fuse', /can make no io_uring: not permitted;/],
  ]
  for (const [transport, at, expected, warning] of table) {
    const choice = chooseTransport({ transport, workers: 0 }, at)
    t.equal(choice.transport, expected, `${transport} where ${JSON.stringify(at)}`)
    if (choice.transport === 'dev-fuse') {
      if (warning === undefined) t.equal(choice.warning, undefined, 'without a word')
      else t.match(choice.warning, warning)
      t.equal(choice.workers, 1)
    }
  }
  t.equal((chooseTransport({ transport: 'dev-fuse', workers: 3 }, host()) as { workers: number }).workers, 3)
  t.end()
})

t.test('every queue has exactly one worker, and a worker alone with one CPU stays on it', (t) => {
  const table: [title: string, host: Host, workers: number, pins: number[]][] = [
    ['one worker for each CPU', host(), 0, [0, 1]],
    ['one worker for all', host(), 1, [-1]],
    ['not more workers than CPUs', host(), 9, [0, 1]],
    [
      'fewer workers than CPUs',
      host({ possible: cpus(5), online: cpus(5), allowed: cpus(5) }),
      3,
      [-1, -1, 2],
    ],
    ['CPUs that are not there', host({ possible: cpus(8) }), 0, [0, 1]],
    ['a CPU that was taken away', host({ online: [0] }), 0, [0]],
    ['CPUs that we may not use', host({ allowed: [1] }), 0, [-1]],
    ['CPUs that we may not use, with a worker each', host({ allowed: [1] }), 2, [1, -1]],
    ['numbers with holes', host({ possible: [0, 2], online: [0, 2], allowed: [0, 2] }), 0, [0]],
    ['many CPUs', host({ possible: cpus(96), online: cpus(96), allowed: cpus(96) }), 0, Array(16).fill(-1)],
    ['very many that are not there', host({ possible: cpus(2048) }), 0, [0, 1]],
  ]
  for (const [title, at, workers, pins] of table) {
    const shares = shareQueues(at, workers)
    t.strictSame(
      shares.map(({ cpu }) => cpu),
      pins,
      title,
    )
    const queues = shares.flatMap((share) => share.queues.map(({ queue }) => queue))
    t.strictSame(
      queues.sort((a, b) => a - b),
      cpus(at.possible.length),
      'all queues, once',
    )
    for (const { queues } of shares) {
      t.ok(queues.every(({ depth }) => depth >= 1))
      t.ok(queues.reduce((sum, { depth }) => sum + depth, 0) <= 2048, 'the arena stays below 2 GiB')
    }
  }
  t.end()
})
