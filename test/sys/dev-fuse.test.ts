// The classic transport by its messages: what is answered, what is refused, what is put aside and
// comes back. The device is a socket here, except where the end of a real mount is the question.

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { EAGAIN, EBADF, EBUSY, EIO, ENODEV, ENOENT } from '../../src/base/errno.js'
import { native } from '../../src/sys/native.js'
import {
  CTL,
  CTL_DATA,
  CTL_IN_LENGTH,
  CTL_OUT,
  CTL_OUT_CAPACITY,
  IN,
  OUT,
  OUT_CAPACITY,
} from '../../src/vfs/arena.js'
import { NO_REPLY, PARKED } from '../../src/vfs/file-system.js'
import { type FakeDevice, fakeDevice, pause, request } from './fake-device.js'
import { arena, isRoot, names, O_RDONLY, O_RDWR, OUTPUT, ref, sandbox } from './sandbox.js'

const { path, fd } = sandbox()
const GETATTR = 3
const READ = 15

/** Starts the transport with a handler; requests and woken ones both go to it. */
async function serve(handler: (length: number) => number): Promise<FakeDevice> {
  const device = await fakeDevice(path)
  const result = native.devFuseStart(device.fd, () => {
    let length = native.devFuseNext()
    while (length > 0) length = native.devFuseReplyAndNext(handler(length))
    while (native.nextCompletion() === 1) native.reply(handler(arena.u32[(CTL >> 2) + CTL_IN_LENGTH]!))
  })
  if (result !== 0) throw new Error(`devFuseStart: ${result}`)
  return device
}

function end(device: FakeDevice): void {
  native.devFuseStop()
  device.close()
}

const unique = () => arena.u32[(IN >> 2) + 2]!

t.test('a request is at IN, its answer is header and body', async (t) => {
  const device = await serve((length) => {
    const ctl = CTL >> 2
    t.equal(length, 48)
    t.equal(arena.u32[ctl + CTL_IN_LENGTH], 48)
    t.equal(arena.u32[ctl + CTL_OUT], OUT)
    t.equal(arena.u32[ctl + CTL_OUT_CAPACITY], OUT_CAPACITY)
    t.equal(arena.u32[ctl + CTL_DATA], IN + 80)
    t.equal(Buffer.from(arena.bytes.subarray(IN + 40, IN + 56)).toString(), 'a name!!\0\0\0\0\0\0\0\0')
    arena.bytes.set(Buffer.from('body'), OUT)
    return 4
  })
  arena.bytes.fill(0x78, IN, IN + 200)
  const reply = await device.ask(request(GETATTR, 7, Buffer.from('a name!!')))
  t.same(reply, { unique: 7, error: 0, body: Buffer.from('body') })
  end(device)
})

t.test('every result becomes something that the kernel takes', async (t) => {
  const table: [result: number, error: number, length: number][] = [
    [0, 0, 0],
    [-ENOENT, -ENOENT, 0],
    [-511, -511, 0],
    [-512, -EIO, 0],
    [-100000, -EIO, 0],
    [65536, 0, 65536],
    [OUT_CAPACITY + 1, -EIO, 0],
  ]
  let result = 0
  const device = await serve(() => result)
  for (const [given, error, length] of table) {
    result = given
    const reply = await device.ask(request(GETATTR, 9))
    t.same([reply.error, reply.body.length], [error, length], `${given}`)
  }
  end(device)
})

t.test('a malformed request gets EIO, and the next one is served', async (t) => {
  let served = 0
  const device = await serve(() => {
    served++
    return 0
  })
  t.same(await device.ask(request(GETATTR, 11, Buffer.alloc(8), 40)), {
    unique: 11,
    error: -EIO,
    body: Buffer.alloc(0),
  })
  t.equal((await device.ask(request(GETATTR, 12, Buffer.alloc(8), 0xffffffff))).error, -EIO)
  t.equal((await device.ask(request(GETATTR, 13).subarray(0, 39))).error, -EIO)
  device.send(Buffer.from('short'))
  await pause()
  device.send(request(2, 0, Buffer.alloc(3), 5))
  await pause()
  t.equal(device.left, 0, 'what has no unique gets no answer')
  t.equal(served, 0)
  t.equal((await device.ask(request(GETATTR, 14))).error, 0)
  t.equal(served, 1)
  end(device)
})

t.test('FORGET is never answered, NO_REPLY and PARKED send nothing', async (t) => {
  const results = [0, -EIO, NO_REPLY, PARKED]
  const device = await serve(() => results.shift() ?? 0)
  device.send(request(2, 21, Buffer.alloc(8)))
  await pause()
  device.send(request(42, 22, Buffer.alloc(8)))
  await pause()
  device.send(request(36, 23, Buffer.alloc(8)))
  await pause()
  device.send(request(GETATTR, 24))
  await pause()
  t.equal(device.left, 0)
  t.equal(results.length, 0)
  t.equal((await device.ask(request(GETATTR, 25))).unique, 25)
  end(device)
})

t.test('an exception answers EIO and the transport goes on', async (t) => {
  const device = await fakeDevice(path)
  let calls = 0
  native.devFuseStart(device.fd, () => {
    if (native.devFuseNext() < 0) return
    if (++calls === 1) throw new Error('thrown on purpose by dev-fuse.test')
    native.reply(0)
  })
  t.equal((await device.ask(request(GETATTR, 31))).error, -EIO)
  t.equal((await device.ask(request(GETATTR, 32))).error, 0)
  end(device)
})

t.test('a request that is not ended is not lost to the next one', async (t) => {
  const device = await fakeDevice(path)
  const results: number[] = []
  native.devFuseStart(device.fd, () => {
    results.push(native.devFuseNext(), native.devFuseNext(), native.nextCompletion())
    native.reply(0)
    results.push(native.devFuseNext(), native.reply(0))
  })
  t.equal((await device.ask(request(GETATTR, 41))).error, 0)
  t.same(results, [40, -EBUSY, -EBUSY, -EAGAIN, 0])
  t.equal(
    native.devFuseStart(device.fd, () => undefined),
    -EBUSY,
    'one transport per thread',
  )
  end(device)
  t.equal(native.devFuseNext(), -ENODEV)
})

t.test('parked requests come back unchanged when they are woken', async (t) => {
  let isOpen = false
  const order: number[] = []
  const device = await serve((length) => {
    if (!isOpen) return native.park(unique() === 53 ? 501 : 500)
    order.push(unique())
    arena.bytes.set(arena.bytes.subarray(IN + 40, IN + length), OUT)
    return length - 40
  })
  for (const each of [51, 52, 53]) {
    device.send(request(GETATTR, each, Buffer.from(`request ${each}`)))
    await pause()
  }
  t.equal(device.left, 0)
  isOpen = true
  t.equal(native.wake(500, 0), 2)
  t.equal(native.wake(500, 0), 0)
  t.equal((await device.next()).body.toString(), 'request 51')
  t.equal((await device.next()).body.toString(), 'request 52')
  t.same(order, [51, 52])
  t.equal(native.wake(501, -EIO), 1)
  t.same(await device.next(), { unique: 53, error: -EIO, body: Buffer.alloc(0) })
  end(device)
})

t.test('stopping answers what is parked with EIO', async (t) => {
  const device = await serve(() => native.park(600))
  device.send(request(GETATTR, 61))
  await pause()
  native.devFuseStop()
  t.same(await device.next(), { unique: 61, error: -EIO, body: Buffer.alloc(0) })
  t.equal(native.wake(600, 0), 0)
  t.equal(native.nextCompletion(), 0)
  device.close()
})

t.test('stopping answers what is woken but not yet taken with EIO', async (t) => {
  const device = await serve(() => native.park(601))
  device.send(request(GETATTR, 62))
  await pause()
  t.equal(native.wake(601, 0), 1)
  native.devFuseStop()
  t.same(await device.next(), { unique: 62, error: -EIO, body: Buffer.alloc(0) })
  t.equal(native.nextCompletion(), 0)
  device.close()
})

t.test('the pool answers slow work by itself', async (t) => {
  writeFileSync(join(path, 'slow'), 'x'.repeat(100_000))
  const file = native.openAt(fd, ref('slow'), O_RDWR)
  const other = native.createAt(fd, ref('slow2'), O_RDWR, 0o600, -1, -1, 0)
  const results: number[] = []
  let work = () => 0
  const device = await serve(() => {
    const result = work()
    results.push(result)
    return result
  })
  const table: [title: string, work: () => number, error: number, body: number][] = [
    ['fsync', () => native.fsync(file, 0), 0, 0],
    ['fdatasync', () => native.fsync(file, 1), 0, 0],
    ['syncfs', () => native.syncfs(file), 0, 0],
    ['fallocate', () => native.fallocate(file, 0, 0, 200_000), 0, 0],
    ['fallocate refused', () => native.fallocate(file, 0, -5, 1), -22, 0],
    ['copyFileRange', () => native.copyFileRange(file, 0, other, 0, 1000, OUTPUT), 0, 8],
  ]
  for (const [title, each, error, body] of table) {
    work = each
    const reply = await device.ask(request(GETATTR, 71))
    t.same([results.pop(), reply.error, reply.body.length], [PARKED, error, body], title)
    if (body === 8) t.equal(Number(reply.body.readBigUInt64LE()), 1000)
  }
  t.equal(statSync(join(path, 'slow')).size, 200_000)
  work = () => native.fsync(54321, 0)
  t.equal((await device.ask(request(GETATTR, 72))).error, -EBADF, 'a closed fd is refused at once')

  work = () => {
    const first = native.fsync(file, 0)
    t.equal(native.fsync(file, 0), 0, 'handed over once: the second call works at once')
    native.close(file)
    return first
  }
  t.equal((await device.ask(request(GETATTR, 73))).error, 0)
  await pause()
  t.equal(device.left, 0, 'one answer only')
  native.close(other)
  end(device)
})

t.test('a read that the page cache can not answer is answered by the pool', async (t) => {
  const data = Buffer.alloc(65536, 'abcdefg')
  writeFileSync(join(path, 'cold'), data)
  const file = native.openAt(fd, ref('cold'), O_RDONLY)
  const results: number[] = []
  const device = await serve(() => {
    results.push(native.read(file, 4096, 65536, OUT))
    return results.at(-1)!
  })
  for (const state of ['cold', 'warm']) {
    // GNU dd asks the kernel to drop the file's pages.
    if (state === 'cold')
      spawnSync('dd', [`of=${join(path, 'cold')}`, 'oflag=nocache', 'conv=notrunc,fdatasync', 'count=0'])
    const reply = await device.ask(request(READ, 81))
    t.equal(reply.error, 0)
    t.ok(reply.body.equals(data.subarray(4096)), `${state}: the bytes up to the end`)
  }
  t.equal(results[1], 65536 - 4096, 'warm: no hand-over')
  t.comment(`cold: ${results[0] === PARKED ? 'by the pool' : 'it was in the page cache'}`)
  native.close(file)
  end(device)
})

t.test('a worker thread gets its requests back from the main thread, and may be terminated', async (t) => {
  const device = await fakeDevice(path)
  const worker = new Worker(new URL('./parking-worker.js', import.meta.url), {
    workerData: { device: device.fd, key: 900, names },
  })
  t.equal((await once(worker, 'message'))[0], 'started')
  device.send(request(GETATTR, 91))
  t.equal((await once(worker, 'message'))[0], 'parked')
  native.attach(arena.bytes, new Uint8Array(new SharedArrayBuffer(64)))
  t.equal(native.wake(900, 0), 0, 'the same key of another mount is another key')
  native.attach(arena.bytes, names)
  t.equal(native.wake(900, 0), 1)
  t.equal((await device.next()).body.toString(), 'ok')
  device.send(request(GETATTR, 92))
  t.equal((await once(worker, 'message'))[0], 'parked')
  await worker.terminate()
  t.same(await device.next(), { unique: 92, error: -EIO, body: Buffer.alloc(0) }, 'nothing stays unanswered')
  t.equal(native.wake(900, 0), 0)
  device.close()
})

const noFuse = !isRoot ? 'needs root to mount' : existsSync('/dev/fuse') ? false : 'no /dev/fuse'

t.test('a real mount is served until it is unmounted, then the loop is free', { skip: noFuse }, async (t) => {
  const target = join(path, 'mnt')
  mkdirSync(target)
  const device = native.openDevice()
  t.ok(device >= 0)
  const data = `fd=${device},rootmode=40000,user_id=0,group_id=0`
  t.equal(native.mount('mica-test', Buffer.from(target), 'fuse.mica-test', 6, data), 0)
  const opcodes = new Set<number>()
  const ended = new Promise<number>((resolve) => {
    native.devFuseStart(device, () => {
      let length = native.devFuseNext()
      while (length > 0) {
        const opcode = arena.u32[(IN >> 2) + 1]!
        opcodes.add(opcode)
        length = native.devFuseReplyAndNext(
          opcode === 26 ? answerInit() : opcode === GETATTR ? answerRoot() : -38,
        )
      }
      if (length !== -EAGAIN) resolve(length)
    })
  })
  const stat = spawn('stat', ['-c', '%F %a %i', target], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [words] = (await once(stat.stdout, 'data')) as [Buffer]
  t.equal(words.toString(), 'directory 751 1\n')
  t.ok(opcodes.has(26))
  const clone = native.cloneDevice(device)
  t.ok(clone >= 0)
  native.close(clone)
  arena.u32.fill(0, OUTPUT >> 2, (OUTPUT >> 2) + 6)
  arena.u32[OUTPUT >> 2] = 1
  t.equal(native.notify(device, 2, OUTPUT, 24), 0, 'INVAL_INODE of the root')
  t.equal(native.umount(Buffer.from(target), 2), 0)
  t.equal(await ended, -ENODEV)
  t.equal(native.devFuseNext(), -ENODEV)
  t.equal(native.close(device), 0)
  t.notOk(readFileSync('/proc/self/mounts', 'utf8').includes(target))
})

function answerInit(): number {
  arena.bytes.fill(0, OUT, OUT + 64)
  arena.u32.set([7, 45, 131072, 0, 0x0010_0010, 131072, 1], OUT >> 2)
  return 64
}

function answerRoot(): number {
  arena.bytes.fill(0, OUT, OUT + 104)
  const attr = (OUT >> 2) + 4
  arena.u32[attr] = 1
  arena.u32[attr + 15] = 0o040751
  arena.u32[attr + 16] = 2
  return 104
}
