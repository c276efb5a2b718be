// The io_uring transport with a real kernel: a tiny read-only tree, served by two threads on rings, with
// the device in this thread; and unions mounted by the command. Clients are libuv's threads and other
// processes, never a thread that serves.

import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import * as fsp from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import t, { type Test } from 'tap'
import { DevFuseTransport } from '../../src/fuse/dev-fuse.js'
import type { RingQueue } from '../../src/fuse/io-uring.js'
import type { Agreement } from '../../src/fuse/negotiate.js'
import { Session } from '../../src/fuse/session.js'
import { createSessionShared, sumCounters } from '../../src/fuse/session-shared.js'
import type { MountStats } from '../../src/mount/control.js'
import { parseCpuList } from '../../src/mount/transports.js'
import { native } from '../../src/sys/native.js'
import { createArena } from '../../src/vfs/arena.js'
import { daemonsOf, lazyUnmount, mountsBelow } from '../support/driver.js'
import { holdUring, noUring, withoutUring } from '../support/enable-uring.js'
import { packageRoot } from '../support/package-root.js'
import { memoryFs, nodes } from './memory-fs.js'
import type { RingWorkerData } from './ring-worker.js'

const run = promisify(execFile)
const skip = noUring()
if (skip === false) t.teardown(holdUring())
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

async function until(what: string, isSo: () => boolean | Promise<boolean>, limitMs = 10_000): Promise<void> {
  const end = Date.now() + limitMs
  while (!(await isSo())) {
    if (Date.now() > end) throw new Error(`never: ${what}`)
    await sleep(2)
  }
}

type Said = { log?: string; parked?: string; started?: number; end?: unknown }

async function possibleCpus(): Promise<number> {
  return parseCpuList((await fsp.readFile('/sys/devices/system/cpu/possible', 'latin1')).trim()).length
}

/** Mounts memory-fs.ts; `serves`: rings take it up, else only INIT is answered. */
async function mountMemory(t: Test, serves: boolean, depth = 16) {
  const dir = await fsp.mkdtemp(join(tmpdir(), 'mica-io-uring-'))
  const arena = createArena()
  const names = new Uint8Array(new SharedArrayBuffer(4096))
  native.attach(arena.bytes, names)
  const shared = createSessionShared(3)
  const log: string[] = []
  const device = native.openDevice()
  const options = `fd=${device},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other`
  t.equal(native.mount('mica-test', Buffer.from(dir), 'fuse.mica-test', 6, options), 0, 'it mounts')
  const fs = memoryFs(arena)
  const transport = new DevFuseTransport(device, arena)
  const agreement = await new Promise<Agreement | string>((resolve) => {
    const session = new Session({
      ...{ arena, fs, shared, worker: 0, log: (line: string) => log.push(line) },
      onInit: (outcome: Agreement | string) => setImmediate(resolve, outcome),
      ...{ entryTimeoutMs: 3_600_000, attrTimeoutMs: 3_600_000, negativeTimeoutMs: 3_600_000 },
      negotiate: { data: 'cache', hasAcl: false, transport: 'io-uring', maxStackDepth: 1 },
    })
    transport.start(session)
  })
  t.equal((agreement as Agreement).isOverIoUring, true, 'the kernel agrees')

  const said: Said[] = []
  const threads: Worker[] = []
  const events: number[] = []
  const cpus = await possibleCpus()
  const start = async (worker: number, queues: RingQueue[]) => {
    const event = native.uringEvent()
    events.push(event)
    const workerData: RingWorkerData = { device, event, queues, shared, worker, key: 4711, names }
    const thread = new Worker(new URL('./ring-worker.js', import.meta.url), { workerData })
    threads.push(thread)
    thread.on('message', (message: Said) => said.push(message))
    const before = said.filter(({ started }) => started !== undefined).length
    await until('start', () => said.filter(({ started }) => started !== undefined).length > before)
    return said.findLast(({ started }) => started !== undefined)!.started!
  }
  if (serves) {
    for (const worker of [1, 2]) {
      const queues = Array.from({ length: cpus }, (_, queue) => ({ queue, depth })).filter(
        ({ queue }) => cpus === 1 || queue % 2 === worker - 1,
      )
      t.equal(await start(worker, queues), 0, `worker ${worker} starts`)
    }
  }
  const unmount = async () => {
    await run('umount', ['--no-canonicalize', dir], { timeout: 10_000 })
    t.strictSame(mountsBelow(dir), [], 'nothing stays mounted')
  }
  t.teardown(async () => {
    if (mountsBelow(dir).length > 0) await run('umount', ['-l', '-f', dir]).catch(() => {})
    transport.stop()
    native.close(device)
    for (const event of events) native.uringSignal(event)
    await Promise.all(threads.map((thread) => thread.terminate()))
    for (const event of events) native.close(event)
    await fsp.rmdir(dir)
  })
  return { dir, shared, log, device, transport, said, events, threads, fs, start, unmount }
}

t.test(
  'a tree is served over rings, and the device brings only what must come there',
  { skip },
  async (t) => {
    const m = await mountMemory(t, true)
    const waiting = fsp.stat(join(m.dir, 'hello.txt'))
    await until('parked', () => m.said.some(({ parked }) => parked === 'hello.txt'))
    t.equal((await fsp.stat(m.dir)).ino, 1001, 'others are served meanwhile')
    t.equal(native.wake(4711, 0), 1, 'woken from another thread')
    const { ino, size, mode } = await waiting
    t.strictSame([ino, size, mode], [1002, 14, 0o100644])

    t.strictSame((await fsp.readdir(m.dir)).sort(), ['hello.txt', 'sub'])
    t.equal(await fsp.readFile(join(m.dir, 'hello.txt'), 'latin1'), 'hello, kernel\n')
    t.ok((await fsp.readFile(join(m.dir, 'sub/big'))).equals(nodes[4]!.data!), '3 MiB arrive whole')
    await t.rejects(fsp.writeFile(join(m.dir, 'new'), 'x'), { code: 'EROFS' })
    await t.rejects(fsp.stat(join(m.dir, 'n'.repeat(255))), { code: 'ENOENT' })
    await t.rejects(fsp.stat(join(m.dir, 'throws')), { code: 'EIO' })
    await until('log', () => m.said.some(({ log }) => log !== undefined))
    t.match(
      m.said.find(({ log }) => log !== undefined)!.log,
      /^fuse: LOOKUP nodeid 1 unique \d+ "throws": Error: no/,
    )

    const many = Array.from({ length: 2000 }, (_, i) =>
      fsp.stat(join(m.dir, `missing-${i}`)).catch((e) => e.code),
    )
    t.ok(
      (await Promise.all(many)).every((code) => code === 'ENOENT'),
      '2000 requests of 4 threads',
    )
    t.equal(m.fs.calls.filter(([name]) => name === 'lookup').length, 0, 'no LOOKUP came by the device')
    t.ok(sumCounters(m.shared).LOOKUP!.requests > 2000)

    await m.unmount()
    t.strictSame(await m.transport.whenEnded, { reason: 'unmounted' })
    await until('both rings end', () => m.said.filter(({ end }) => end !== undefined).length === 2)
    for (const { end } of m.said.filter(({ end }) => end)) t.strictSame(end, { reason: 'unmounted' })
    t.strictSame(m.log, [])
  },
)

t.test('parked requests are refused by their waker, and by the end of their worker', { skip }, async (t) => {
  const m = await mountMemory(t, true, 4)
  const parked = (count: number) =>
    until(
      `${count} parked`,
      () => m.said.filter(({ parked }) => parked?.startsWith('parks')).length === count,
    )
  const refused = fsp.stat(join(m.dir, 'parks-1')).catch((e) => e.code)
  await parked(1)
  t.equal(native.wake(4711, -13), 1)
  t.equal(await refused, 'EACCES')

  const again = fsp.stat(join(m.dir, 'parks-2')).catch((e) => e.code)
  await parked(2)
  native.wake(4711, 0)
  await parked(3)
  t.pass('a woken request may park again')
  for (const event of m.events) t.equal(native.uringSignal(event), 0)
  t.equal(await again, 'EIO')
  await until('both rings end', () => m.said.filter(({ end }) => end !== undefined).length === 2)
  t.strictSame(m.said.find(({ end }) => end)!.end, { reason: 'stopped' })
  await m.unmount()
})

t.test('an answer that the kernel refuses is handed over again', { skip }, async (t) => {
  const m = await mountMemory(t, true)
  t.ok((await fsp.readdir(m.dir)).length > 0)
  // After a refused command a connection heeds the switch (fs/fuse/dev_uring.c:fuse_uring_cmd()).
  t.equal(native.uringRefuse(m.device), 0)
  const seen = withoutUring(async () => {
    const stat = fsp.stat(join(m.dir, 'no such name')).catch((error: NodeJS.ErrnoException) => error.code)
    const first = await Promise.race([stat, sleep(200)])
    return { first, stat }
  })
  const { first, stat } = await seen
  t.equal(first, undefined, 'it is refused while the switch is off')
  t.equal(await stat, 'ENOENT', 'and comes when it is on again')
  await m.unmount()
})

t.test('rings that do not come are given up, and the device serves', { skip }, async (t) => {
  const m = await mountMemory(t, false)
  const waiting = fsp.stat(join(m.dir, 'hello.txt'))
  t.equal(await m.start(1, [{ queue: 60_000, depth: 2 }]), -22, 'there is no such queue')
  t.equal((await waiting).ino, 1002, 'the refusal lets requests go to the device')
  t.equal(native.uringRefuse(m.device), 0)
  t.equal((await fsp.readdir(m.dir)).length, 2)
  await m.unmount()
})

t.test('a kernel that waits for rings in vain is told that none come', { skip }, async (t) => {
  const m = await mountMemory(t, false)
  const waiting = fsp.stat(join(m.dir, 'hello.txt'))
  await sleep(50)
  t.equal(m.fs.calls.length, 0, 'it waits')
  t.equal(native.uringRefuse(m.device), 0)
  t.equal((await waiting).ino, 1002)
  await m.unmount()
})

// -- unions, mounted by the command ----------------------------------------------------------

const mica = join(packageRoot, 'bin/mica')
const MIB = 1 << 20

/** `large`: bytes of the lower file of that name; 0: there is none. */
async function union(t: Test, large: number, ...flags: string[]) {
  const folder = await fsp.mkdtemp(join(tmpdir(), 'mica-io-uring-'))
  const at = (name: string) => join(folder, name)
  for (const name of ['lower/dir', 'upper', 'work', 'merged']) await fsp.mkdir(at(name), { recursive: true })
  for (let i = 0; i < 500; i++) await fsp.writeFile(at(`lower/dir/file-${i}`), `content ${i}\n`)
  if (large > 0) await fsp.writeFile(at('lower/large'), Buffer.alloc(large, 'large'))
  const image = async () => (await run('find', [at('lower'), '-printf', '%P %y %m %s %T@ %i\n'])).stdout
  const before = await image()
  const args = ['mount', '--lower', at('lower'), '--upper', at('upper'), '--work', at('work'), ...flags]
  const mount = async () => (await run(mica, [...args, at('merged')], { timeout: 30_000 })).stderr
  const stats = async (): Promise<MountStats> =>
    JSON.parse((await run(mica, ['stats', '--json', at('merged')], { timeout: 10_000 })).stdout)
  const isAlive = (pid: number) =>
    fsp.readFile(`/proc/${pid}/stat`, 'latin1').then(
      (text) => !/\) Z/.test(text),
      () => false,
    )
  t.teardown(async () => {
    for (const point of mountsBelow(folder)) {
      for (const pid of daemonsOf(point)) process.kill(pid, 'SIGKILL')
      lazyUnmount(point)
    }
    await fsp.rm(folder, { recursive: true, force: true })
  })
  /** To be called last. */
  const finish = async () => {
    t.strictSame(mountsBelow(folder), [], 'nothing is left mounted')
    t.equal(await image(), before, 'the lower is what it was')
  }
  return { folder, at, mount, stats, isAlive, finish, merged: (name = '') => join(at('merged'), name) }
}

const forms = [
  ['--transport', 'io-uring', '--workers', '2'],
  ['--transport', 'io-uring', '--workers', '1'],
  [],
]

for (const form of forms) {
  t.test(`a union over rings: ${form.join(' ') || 'by default for root'}`, { skip }, async (t) => {
    const u = await union(t, 64 * MIB, ...form, '--data', 'cache')
    t.equal(await u.mount(), '', 'nothing to say')
    const { transport, workers, pid } = await u.stats()
    t.strictSame([transport, workers], ['io-uring', form[3] === '1' ? 1 : (await u.stats()).workers])

    // Data of odd lengths, both ways, through the payload buffers.
    for (const length of [0, 1, 4095, 4097, MIB - 1, MIB, MIB + 1, 5 * MIB + 12345]) {
      const data = Buffer.from(Array.from({ length: 997 }, (_, i) => (i * 7 + length) & 0xff))
      const whole = Buffer.alloc(length, data)
      await fsp.writeFile(u.merged('data'), whole)
      t.ok((await fsp.readFile(u.merged('data'))).equals(whole), `${length} bytes through the page cache`)
      t.ok((await fsp.readFile(u.at('upper/data'))).equals(whole), `${length} bytes in the upper`)
      await run('dd', [`if=${u.merged('data')}`, 'of=/dev/null', 'iflag=nocache', 'count=0'])
      const sum = async (path: string) => (await run('sha256sum', [path])).stdout.split(' ')[0]
      t.equal(await sum(u.merged('data')), await sum(u.at('upper/data')), `${length} bytes read anew`)
    }

    await fsp.mkdir(u.merged('dir/sub'))
    await fsp.rename(u.merged('dir/file-1'), u.merged('dir/sub/moved'))
    await fsp.symlink('sub/moved', u.merged('dir/link'))
    await fsp.link(u.merged('dir/file-2'), u.merged('dir/sub/hard'))
    await fsp.unlink(u.merged('dir/file-3'))
    t.equal(await fsp.readFile(u.merged('dir/link'), 'latin1'), 'content 1\n')
    const names = await fsp.readdir(u.merged('dir'))
    t.equal(names.length, 500, 'two gone, two made')
    t.notOk(names.includes('file-3'))
    const file = await fsp.open(u.merged('dir/file-4'), 'r+')
    await file.write('CONTENT')
    await file.sync()
    await file.datasync()
    await file.close()
    t.equal(await fsp.readFile(u.at('upper/dir/file-4'), 'latin1'), 'CONTENT 4\n')

    // A copy-up takes its time in the pool; its request is parked, and everybody else goes on.
    const copied = fsp.chmod(u.merged('large'), 0o600)
    let count = 0
    let isCopied = false
    void copied.finally(() => {
      isCopied = true
    })
    while (!isCopied) {
      await fsp.stat(u.merged(`no-such-${count++}`)).catch(() => {})
      if (count % 50 === 0) await fsp.stat(u.merged('large'))
    }
    await copied
    t.equal((await fsp.stat(u.at('upper/large'))).size, 64 * MIB, `${count} lookups meanwhile`)
    t.ok((await u.stats()).requests.SETATTR!.parked >= 1, 'it was parked')

    // The kernel lets go of everything it can: FORGETs come by the device.
    await run('find', [u.at('merged'), '-ls'], { maxBuffer: 64 * MIB })
    const full = (await u.stats()).inodes
    t.ok(full > 490, `${full} inodes`)
    await run('mount', ['-i', '-o', 'remount', u.at('merged')])
    await until('inodes go', async () => (await u.stats()).inodes < 20)
    t.ok(((await u.stats()).requests.BATCH_FORGET?.requests ?? 0) > 0)
    t.equal((await fsp.readdir(u.merged('dir'))).length, 500, 'and all is found again')

    await run('umount', [u.at('merged')], { timeout: 10_000 })
    await until('the daemon ends', async () => !(await u.isAlive(pid)))
    await u.finish()
  })
}

t.test('SIGTERM unmounts, also while a request is parked and many run', { skip }, async (t) => {
  const u = await union(t, 32 * MIB, '--transport', 'io-uring')
  await u.mount()
  const { pid } = await u.stats()
  const busy = spawn('sh', ['-c', `while ls -l ${u.merged('dir')} && touch ${u.merged('new')}; do :; done`], {
    stdio: 'ignore',
  })
  const copied = fsp.chmod(u.merged('large'), 0o600).then(
    () => 'ok',
    (error) => error.code,
  )
  await sleep(100)
  process.kill(pid, 'SIGTERM')
  await until('the daemon ends', async () => !(await u.isAlive(pid)), 15_000)
  t.match(await copied, /^(ok|EIO|ENOTCONN|ECONNABORTED)$/)
  busy.kill()
  await until('nothing mounted', () => mountsBelow(u.folder).length === 0)
  await u.finish()
})

t.test('a killed daemon leaves a dead mount and no process', { skip }, async (t) => {
  const u = await union(t, 0, '--transport', 'io-uring')
  await u.mount()
  const { pid } = await u.stats()
  process.kill(pid, 'SIGKILL')
  await until('the daemon ends', async () => !(await u.isAlive(pid)))
  // The first ones may be told that their requests were taken back.
  const codeOf = (path: string) =>
    fsp.stat(path).then(
      () => 'none',
      (error: NodeJS.ErrnoException) => error.code,
    )
  await until('it is dead', async () => (await codeOf(u.merged('dir/file-9'))) === 'ENOTCONN')
  await u.mount()
  t.equal(
    await fsp.readFile(u.merged('dir/file-9'), 'latin1'),
    'content 9\n',
    'the next mount takes its place',
  )
  await run('umount', [u.at('merged')], { timeout: 10_000 })
  await u.finish()
})

t.test(
  'with the switch off the device is used, and said so when rings were asked for',
  { skip },
  async (t) => {
    const u = await union(t, 0, '--transport', 'io-uring', '--workers', '2')
    const words = await withoutUring(() => u.mount())
    t.match(
      words,
      /^mica: FUSE over io_uring is switched off \(mica setup .*\); requests come through \/dev\/fuse\n$/,
    )
    const stats = await u.stats()
    t.strictSame([stats.transport, stats.workers], ['dev-fuse', 2])
    t.equal((await fsp.readdir(u.merged('dir'))).length, 500)
    await run('umount', [u.at('merged')], { timeout: 10_000 })
    await until('the daemon ends', async () => !(await u.isAlive(stats.pid)))

    const v = await union(t, 0)
    t.equal(await withoutUring(() => v.mount()), '', 'nothing to say when it was not asked for')
    t.equal((await v.stats()).transport, 'dev-fuse')
    await run('umount', [v.at('merged')], { timeout: 10_000 })
    await u.finish()
  },
)

t.test('processes on all CPUs work in one directory', { skip }, async (t) => {
  const u = await union(t, 0, '--transport', 'io-uring', '--workers', '2')
  await u.mount()
  const script = (me: number) => `
    cd ${u.merged('dir')} || exit 1
    i=0
    while [ $i -lt 150 ]; do
      echo ${me}-$i > mine-${me}-$i && mv mine-${me}-$i kept-${me}-$i || exit 2
      [ "$(cat kept-${me}-$i)" = ${me}-$i ] || exit 3
      if [ $((i % 3)) = 0 ]; then rm kept-${me}-$i || exit 4; fi
      echo ${me} > shared 2>/dev/null; mv -f shared other 2>/dev/null; rm -f other 2>/dev/null
      i=$((i + 1))
    done`
  const codes = await Promise.all(
    [0, 1, 2, 3].map(async (me) => (await once(spawn('sh', ['-c', script(me)]), 'exit'))[0]),
  )
  t.strictSame(codes, [0, 0, 0, 0])
  const kept = (await fsp.readdir(u.merged('dir'))).filter((name) => name.startsWith('kept-'))
  t.equal(kept.length, 400)
  for (const name of kept) {
    if ((await fsp.readFile(u.at(`upper/dir/${name}`), 'latin1')) !== `${name.slice(5)}\n`) t.fail(name)
  }
  let read = 0
  for await (const chunk of createReadStream(u.merged('dir/file-7'))) read += (chunk as Buffer).length
  t.equal(read, 10)
  await run('umount', [u.at('merged')], { timeout: 10_000 })
  await u.finish()
})
