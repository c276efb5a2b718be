// Data: reads, writes, positions, file flags, and copies that keep holes.

import { closeSync, ftruncateSync, openSync, readFileSync, statSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { EBADF, EFAULT, ENOTTY, ENXIO } from '../../src/base/errno.js'
import { native } from '../../src/sys/native.js'
import { CTL, SCRATCH_DIRENTS } from '../../src/vfs/arena.js'
import { PARKED } from '../../src/vfs/file-system.js'
import { arena, BEYOND, O_RDONLY, O_RDWR, OUTPUT, output, outputNumber, ref, sandbox } from './sandbox.js'

const { path, fd } = sandbox()
const MIB = 1 << 20
const open = (name: string, flags: number) => native.openAt(fd, ref(name), flags)
const make = (name: string) => native.createAt(fd, ref(name), O_RDWR, 0o644, -1, -1, 0)

/** 'AAAA' at 0, a hole, 'BBBB' at 3 MiB, a hole up to 5 MiB + 17. */
function sparse(name: string): void {
  const file = openSync(join(path, name), 'w')
  writeSync(file, 'A'.repeat(4096), 0)
  writeSync(file, 'B'.repeat(4096), 3 * MIB)
  ftruncateSync(file, 5 * MIB + 17)
  closeSync(file)
}

t.test('read and write use the position they are given', async (t) => {
  const file = make('rw')
  t.equal(native.write(file, 4_294_967_296, 5, ref('hello')), 5)
  t.equal(native.read(file, 4_294_967_294, 100, OUTPUT), 7)
  t.equal(output(7).toString('latin1'), '\0\0hello')
  t.equal(native.read(file, 4_294_967_301, 100, OUTPUT), 0, 'the end')
  t.equal(native.read(file, 0, MIB, BEYOND), -EFAULT)
  t.equal(native.write(file, 0, 0, OUTPUT), 0)
  t.equal(native.write(open('rw', O_RDONLY), 0, 5, OUTPUT), -EBADF)
  native.close(file)
})

t.test('offset -1 appends', async (t) => {
  writeFileSync(join(path, 'log'), 'one ')
  const file = open('log', O_RDWR | 0o2000)
  t.equal(native.write(file, -1, 3, ref('two')), 3)
  t.equal(readFileSync(join(path, 'log'), 'utf8'), 'one two')
  native.close(file)
})

t.test('seekReply finds data and holes', async (t) => {
  sparse('sparse')
  const file = open('sparse', O_RDONLY)
  t.equal(native.seekReply(file, 4096, 3, OUTPUT), 8)
  t.equal(outputNumber(), 3 * MIB)
  t.equal(native.seekReply(file, 0, 4, OUTPUT), 8)
  t.equal(outputNumber(), 4096)
  t.equal(native.seekReply(file, 4 * MIB, 3, OUTPUT), -ENXIO)
  native.close(file)
})

t.test('only the calls about file flags are passed on', async (t) => {
  const file = open('sparse', O_RDONLY)
  arena.u32[OUTPUT >> 2] = 0xffffffff
  const result = native.ioctl(file, 0x80086601, OUTPUT)
  if (result === -ENOTTY) t.comment('no flags on this file system')
  else t.not(arena.u32[OUTPUT >> 2], 0xffffffff)
  t.equal(native.ioctl(file, 0x5413, OUTPUT), -ENOTTY, 'TIOCGWINSZ')
  t.equal(native.ioctl(file, 0x80086601, arena.bytes.length - 4), -EFAULT)
  native.close(file)
})

t.test('without a request fsync, fallocate and copyFileRange work at once', async (t) => {
  const from = open('sparse', O_RDONLY)
  const to = make('range')
  t.equal(native.fallocate(to, 0, 0, 8192), 0)
  t.equal(statSync(join(path, 'range')).size, 8192)
  t.equal(native.fsync(to, 0), 0)
  t.equal(native.fsync(to, 1), 0)
  t.equal(native.copyFileRange(from, 3 * MIB, to, 100, 1000, OUTPUT), 8)
  t.equal(outputNumber(), 1000)
  t.equal(readFileSync(join(path, 'range'), 'latin1').slice(98, 102), '\0\0BB')
  native.close(from)
  native.close(to)
})

t.test('copyData copies the bytes and keeps the holes', async (t) => {
  const before = statSync(join(path, 'sparse'))
  const from = open('sparse', O_RDONLY)
  const to = make('copy')
  t.equal(native.copyData(from, to, -1, 1, 0), 0)
  t.ok(readFileSync(join(path, 'copy')).equals(readFileSync(join(path, 'sparse'))))
  t.ok(statSync(join(path, 'copy')).blocks <= before.blocks + 8, 'no more blocks than the source')
  t.equal(statSync(join(path, 'sparse')).mtimeMs, before.mtimeMs)
  native.close(to)
  native.close(from)
})

t.test('copyData copies only as much as it is told, and sets that size', async (t) => {
  const from = open('sparse', O_RDONLY)
  for (const length of [0, 100, 3 * MIB + 1, 5 * MIB + 17, 6 * MIB]) {
    const to = make(`part${length}`)
    native.write(to, 0, 5, ref('stale'))
    t.equal(native.copyData(from, to, length, 1, 0), 0)
    const expected = Buffer.alloc(length)
    readFileSync(join(path, 'sparse')).copy(expected, 0, 0, length)
    t.ok(readFileSync(join(path, `part${length}`)).equals(expected), `${length} bytes`)
    native.close(to)
  }
  native.close(from)
})

t.test('copyData reads what copy_file_range can not', async (t) => {
  const from = native.openPath(Buffer.from('/proc/self/status'), O_RDONLY, 0)
  const to = make('status')
  t.equal(native.copyData(from, to, 64, 1, 0), 0)
  t.equal(readFileSync(join(path, 'status')).length, 64)
  native.close(from)
  native.close(to)
})

t.test('copyData to another file system', async (t) => {
  const shm = native.openPath(Buffer.from('/dev/shm'), 0o20200000 | O_RDWR, 0o600)
  if (shm < 0) return t.pass('not run', { skip: 'no temporary file in /dev/shm' })
  const from = open('sparse', O_RDONLY)
  t.equal(native.copyData(from, shm, -1, 0, 0), 0)
  t.equal(native.lseek(shm, 0, 2), 5 * MIB + 17)
  t.equal(native.read(shm, 3 * MIB, 4, OUTPUT), 4)
  t.equal(output(4).toString(), 'BBBB')
  t.ok(native.lseek(shm, 4096, 3) > 4096, 'the hole is a hole')
  native.close(from)
  native.close(shm)
})

t.test('a copy that fails says why', async (t) => {
  const from = open('sparse', O_RDONLY)
  const to = open('sparse', O_RDONLY)
  t.equal(native.copyData(54321, to, -1, 1, 0), -EBADF)
  t.equal(native.copyData(from, 54321, -1, 1, 7), -EBADF)
  const full = native.openPath(Buffer.from('/dev/full'), O_RDWR, 0)
  t.ok(native.copyData(from, full, -1, 1, 0) < 0)
  for (const each of [from, to, full]) native.close(each)
})

t.test('copyData with a job number ends as a completion, fds closed meanwhile or not', async (t) => {
  t.equal(native.nextCompletion(), 0)
  const from = open('sparse', O_RDONLY)
  const to = make('later')
  t.equal(native.copyData(from, to, -1, 0, 77), PARKED)
  native.close(from)
  native.close(to)
  let kind = 0
  for (let i = 0; i < 500 && kind === 0; i++) {
    await new Promise((resolve) => setTimeout(resolve, 5))
    kind = native.nextCompletion()
  }
  t.equal(kind, 2)
  t.equal(arena.u32[(CTL >> 2) + 8], 77)
  t.equal(arena.i32[(CTL >> 2) + 9], 0)
  t.ok(readFileSync(join(path, 'later')).equals(readFileSync(join(path, 'sparse'))))
  t.equal(native.nextCompletion(), 0)
})

t.test('park without a request is refused, wake of nothing is fine', async (t) => {
  t.equal(native.park(5), -11)
  t.equal(native.wake(5, 0), 0)
  t.equal(native.getdents(54321, SCRATCH_DIRENTS, 100), -EBADF)
})
