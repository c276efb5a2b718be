// The /dev/fuse transport with a real kernel: a tiny read-only tree, mounted and used.
//
// Server and client share this process: the client's calls run in libuv's threads, never in ours.

import { execFile } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { mkdtemp, open, readdir, readFile, rmdir, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { DevFuseTransport } from '../../src/fuse/dev-fuse.js'
import type { Agreement, DataMode } from '../../src/fuse/negotiate.js'
import { Session } from '../../src/fuse/session.js'
import { createSessionShared, sumCounters } from '../../src/fuse/session-shared.js'
import { native } from '../../src/sys/native.js'
import { createArena } from '../../src/vfs/arena.js'
import { memoryFs, nodes } from './memory-fs.js'
import type { Answer, Method } from './wire.js'

const MS_NOSUID_NODEV = 6
const run = promisify(execFile)

function reasonToSkip(): string | false {
  if (process.getuid?.() !== 0) return 'mounting needs root'
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK)
  } catch {
    return 'there is no usable /dev/fuse'
  }
  return false
}

async function mountMemory(t: Test, data: DataMode) {
  const dir = await mkdtemp(join(tmpdir(), 'mica-dev-fuse-'))
  const arena = createArena()
  native.attach(arena.bytes, new Uint8Array(new SharedArrayBuffer(4096)))
  const fs = memoryFs(arena)
  const shared = createSessionShared(1)
  const log: string[] = []
  const inits: (Agreement | string)[] = []
  const session = new Session({
    ...{
      arena,
      fs,
      shared,
      worker: 0,
      log: (line: string) => log.push(line),
      onInit: (o: Agreement | string) => inits.push(o),
    },
    ...{ entryTimeoutMs: 3_600_000, attrTimeoutMs: 3_600_000, negativeTimeoutMs: 3_600_000 },
    negotiate: { data, hasAcl: false, transport: 'dev-fuse', maxStackDepth: 1 },
  })
  const device = native.openDevice()
  t.ok(device >= 0, 'the device opens')
  const options = `fd=${device},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other`
  t.equal(
    native.mount('mica-test', Buffer.from(dir), 'fuse.mica-test', MS_NOSUID_NODEV, options),
    0,
    'it mounts',
  )
  const transport = new DevFuseTransport(device, arena)
  transport.start(session)
  const count = (method: Method) => fs.calls.filter(([name]) => name === method).length
  let isMounted = true
  const unmount = async () => {
    isMounted = false
    await run('umount', ['--no-canonicalize', dir], { timeout: 10_000 })
    t.notOk((await readFile('/proc/self/mountinfo', 'latin1')).includes(dir), 'nothing stays mounted')
  }
  t.teardown(async () => {
    if (isMounted) await run('umount', ['-l', '-f', dir]).catch(() => {})
    transport.stop()
    native.close(device)
    await rmdir(dir)
  })
  return { dir, arena, fs, shared, log, inits, device, transport, count, unmount }
}

t.test('a tree is served through the kernel', { skip: reasonToSkip() }, async (t) => {
  const m = await mountMemory(t, 'cache')
  const { ino, size, mode, mtimeMs } = await stat(join(m.dir, 'hello.txt'))
  t.strictSame([ino, size, mode, mtimeMs], [1002, 14, 0o100644, 1_600_000_000_000])
  t.equal((m.inits[0] as Agreement).maxWrite, 1 << 20)

  t.strictSame((await readdir(m.dir)).sort(), ['hello.txt', 'sub'])
  t.strictSame(await readdir(join(m.dir, 'sub')), ['big'])
  t.equal(await readFile(join(m.dir, 'hello.txt'), 'latin1'), 'hello, kernel\n')
  t.ok((await readFile(join(m.dir, 'sub/big'))).equals(nodes[4]!.data!), '3 MiB arrive whole')

  const lookups = m.count('lookup')
  await stat(join(m.dir, 'sub/big'))
  await stat(join(m.dir, 'hello.txt'))
  t.equal(m.count('lookup'), lookups, 'known names cost no request')
  for (let i = 0; i < 3; i++) await t.rejects(stat(join(m.dir, 'nope')), { code: 'ENOENT' })
  t.equal(m.count('lookup'), lookups + 1, 'a missing name is asked for once')
  const listed = m.count('readdir') + m.count('readdirplus')
  await readdir(m.dir)
  await readdir(m.dir)
  t.ok(m.count('readdir') + m.count('readdirplus') <= listed + 2, 'a listing is cached')
  await t.rejects(writeFile(join(m.dir, 'new'), 'x'), { code: 'EROFS' })
  await t.rejects(open(join(m.dir, 'hello.txt'), 'r+'), { code: 'EROFS' })
  await t.rejects(stat(join(m.dir, 'n'.repeat(256))), { code: 'ENAMETOOLONG' })

  const counts = sumCounters(m.shared)
  t.equal(counts.FLUSH?.requests, 1, 'FLUSH is sent once and never again')
  t.equal(counts.LOOKUP?.requests, m.count('lookup') + 1, 'the over-long name did not reach the file system')

  await m.unmount()
  t.strictSame(await m.transport.whenEnded, { reason: 'unmounted' })
  t.equal(m.count('destroy'), 1, 'the file system is told once')
  t.strictSame(m.log, [])
})

t.test('an exception, a parked request, and a busy client', { skip: reasonToSkip() }, async (t) => {
  const m = await mountMemory(t, 'passthrough')
  const lookup = m.fs.answers.lookup as Exclude<Answer, number>
  m.fs.answers.lookup = () => {
    throw new Error('no cheese')
  }
  await t.rejects(stat(join(m.dir, 'hello.txt')), { code: 'EIO' })
  t.match(m.log, [/^fuse: LOOKUP nodeid 1 unique \d+ "hello.txt": Error: no cheese/])

  let isParked = false
  m.fs.answers.lookup = (...args) => {
    if (isParked) return lookup(...args)
    isParked = true
    return native.park(4711)
  }
  const parked = stat(join(m.dir, 'hello.txt'))
  await stat(m.dir)
  while (sumCounters(m.shared).LOOKUP?.parked !== 1) await new Promise((resolve) => setTimeout(resolve, 1))
  t.equal((await stat(m.dir)).ino, 1001, 'others are served meanwhile')
  t.equal(native.wake(4711, 0), 1)
  t.equal((await parked).ino, 1002, 'a request that was woken is answered')

  m.fs.answers.lookup = () => native.park(4712)
  const refused = stat(join(m.dir, 'sub'))
  while (sumCounters(m.shared).LOOKUP?.parked !== 2) await new Promise((resolve) => setTimeout(resolve, 1))
  native.wake(4712, -13)
  await t.rejects(refused, { code: 'EACCES' })
  m.fs.answers.lookup = lookup

  const many = Array.from({ length: 2000 }, (_, i) => stat(join(m.dir, `missing-${i}`)).catch((e) => e.code))
  t.ok(
    (await Promise.all(many)).every((code) => code === 'ENOENT'),
    '2000 requests of 4 threads',
  )

  await m.unmount()
  t.strictSame(await m.transport.whenEnded, { reason: 'unmounted' })
})

t.test('without OPEN files are read without handles', { skip: reasonToSkip() }, async (t) => {
  const m = await mountMemory(t, 'no-open')
  for (let i = 0; i < 3; i++) t.equal(await readFile(join(m.dir, 'hello.txt'), 'latin1'), 'hello, kernel\n')
  t.strictSame([m.count('open'), m.count('release')], [0, 0])
  const counts = sumCounters(m.shared)
  t.equal(counts.OPEN?.requests, 1, 'OPEN is sent once')
  t.strictSame(m.fs.calls.find(([name]) => name === 'read')?.slice(1, 3), [2, -1])
  await m.unmount()
  t.strictSame(await m.transport.whenEnded, { reason: 'unmounted' })
})

t.test('stop() ends the transport', { skip: reasonToSkip() }, async (t) => {
  const m = await mountMemory(t, 'cache')
  t.equal((await stat(m.dir)).ino, 1001)
  m.transport.stop()
  m.transport.stop()
  t.strictSame(await m.transport.whenEnded, { reason: 'stopped' })
  t.equal(m.count('destroy'), 1)
  await m.unmount()
})
