// Requests that are not what they say: refused, without a call and without a crash.

import t from 'tap'
import { opcodeRows } from '../../src/fuse/opcodes.js'
import { IN, OUT_CAPACITY } from '../../src/vfs/arena.js'
import { NO_REPLY } from '../../src/vfs/file-system.js'
import { requestRows } from './requests.js'
import { createWire, type Head, type Method, text, u32, u64 } from './wire.js'

const EBADF = -9
const EINVAL = -22
const EFBIG = -27
const ENAMETOOLONG = -36

t.test('a request cut off at any length is refused', async (t) => {
  for (const row of requestRows) {
    const wire = createWire()
    for (let cut = 0; cut < 40 + row.body.length; cut++) {
      if (cut >= 40 + (row.shortest ?? row.body.length)) continue
      wire.fs.calls = []
      // The bytes that were cut off stay in memory, as an earlier request's would.
      const result = wire.send(row.opcode, row.body, { node: row.node ?? 5, length: cut })
      const isReplyless = opcodeRows[row.opcode]?.isReplyless === true
      const expected = isReplyless ? NO_REPLY : EINVAL
      if (result !== expected || wire.fs.calls.length > 0) {
        t.fail(`${row.title} cut to ${cut} bytes gives ${result}`, { calls: wire.fs.calls })
      }
    }
    t.pass(`${row.title}: refused at every length`)
    t.strictSame(wire.log, [])
  }
})

t.test('a header that lies about the length is refused', async (t) => {
  const wire = createWire()
  for (const lie of [0, 39, 43, 45, 2 ** 31, 0xffffffff]) {
    const length = wire.put(1, text('bin'))
    wire.arena.u32[IN >> 2] = lie
    t.equal(wire.session.dispatch(length), EINVAL, `header says ${lie} of ${length} bytes`)
  }
  wire.put(1, text('bin'))
  for (const length of [-1, 0, 2 ** 21, 2 ** 40, Number.NaN]) {
    t.equal(wire.session.dispatch(length), EINVAL, `transport says ${length}`)
  }
  t.strictSame(wire.fs.calls, [])
})

t.test('a nodeid that was never given out is refused', async (t) => {
  for (const node of [0, 2 ** 31, 2 ** 32, 2 ** 32 + 5, 2n ** 64n - 1n]) {
    const wire = createWire()
    t.equal(wire.send(3, Buffer.concat([u32(0, 0), u64(0)]), { node }), EINVAL, `GETATTR of ${node}`)
    t.equal(wire.send(2, u64(1), { node }), NO_REPLY, `FORGET of ${node}`)
    t.equal(wire.send(13, Buffer.concat([u64(node), text('l')])), EINVAL, `LINK of ${node}`)
    t.equal(wire.send(12, Buffer.concat([u64(node), text('a', 'b')])), EINVAL, `RENAME into ${node}`)
    t.equal(wire.send(47, u64(33, 0, node, 33, 0, 1, 0)), EINVAL, `COPY_FILE_RANGE to ${node}`)
    t.strictSame(wire.fs.calls, [])
  }
})

const long255 = 'n'.repeat(255)
const badNames: [title: string, name: Buffer, result: number][] = [
  ['empty', text(''), EINVAL],
  ['with a slash', text('a/b'), EINVAL],
  ['a slash', text('/'), EINVAL],
  ['of 256 bytes', text(`${long255}n`), ENAMETOOLONG],
  ['of 4000 bytes', text('n'.repeat(4000)), ENAMETOOLONG],
  ['without NUL', Buffer.from('abc'), EINVAL],
  ['of 255 bytes without NUL', Buffer.from(long255), EINVAL],
  ['of one dot', text('.'), EINVAL],
  ['of two dots', text('..'), EINVAL],
]

t.test('a name that is none is refused', async (t) => {
  const heads: [title: string, opcode: number, head: Buffer, tail: Buffer][] = [
    ['UNLINK', 10, Buffer.alloc(0), Buffer.alloc(0)],
    ['RMDIR', 11, Buffer.alloc(0), Buffer.alloc(0)],
    ['MKDIR', 9, u32(0o755, 0), Buffer.alloc(0)],
    ['MKNOD', 8, u32(0o100644, 0, 0, 0), Buffer.alloc(0)],
    ['CREATE', 35, u32(1, 0o644, 0, 0), Buffer.alloc(0)],
    ['LINK', 13, u64(8), Buffer.alloc(0)],
    ['RENAME to', 12, Buffer.concat([u64(6), text('old')]), Buffer.alloc(0)],
    ['RENAME2 to', 45, Buffer.concat([u64(6), u32(0, 0), text('old')]), Buffer.alloc(0)],
    ['RENAME from', 12, u64(6), text('new')],
    ['SYMLINK', 6, Buffer.alloc(0), text('target')],
  ]
  for (const [title, opcode, head, tail] of heads) {
    for (const [kind, name, result] of badNames) {
      // Without its NUL a name runs into what follows it.
      if (kind.includes('without NUL') && tail.length > 0) continue
      const wire = createWire()
      t.equal(wire.send(opcode, Buffer.concat([head, name, tail])), result, `${title}: a name ${kind}`)
      t.strictSame(wire.fs.calls, [])
    }
  }
  const wire = createWire()
  t.equal(wire.send(1, text(`${long255}n`)), ENAMETOOLONG, 'LOOKUP: a name of 256 bytes')
  wire.send(1, text(long255))
  t.equal(wire.fs.calls[0]?.[3], 255, 'LOOKUP: a name of 255 bytes is one')
  wire.send(1, text('...'))
  t.equal(wire.fs.calls[1]?.[3], 3, 'LOOKUP: three dots are a name')
  wire.send(1, text('.a'))
  t.equal(wire.fs.calls[2]?.[3], 2, 'LOOKUP: a dot file is a name')
  wire.send(10, Buffer.from([0xff, 0xfe, 0x80, 0]))
  t.equal(wire.fs.calls[3]?.[3], 3, 'UNLINK: any bytes are a name')
})

const read = (fh: number | bigint, offset: number | bigint, size: number) =>
  Buffer.concat([u64(fh, offset), u32(size, 0), u64(0), u32(0, 0)])
const write = (offset: number | bigint, size: number, data: number) =>
  Buffer.concat([u64(33, offset), u32(size, 0), u64(0), u32(0, 0), Buffer.alloc(data)])
const setattr = (valid: number, fh: number | bigint, size: number | bigint, atimeNs = 0, mtimeNs = 0) =>
  Buffer.concat([u32(valid, 0), u64(fh, size, 0, 0, 0, 0), u32(atimeNs, mtimeNs, 0, 0, 0, 0, 0, 0)])

t.test('numbers out of range are refused', async (t) => {
  const high = 2n ** 63n
  const cases: [title: string, opcode: number, body: Buffer, result: number][] = [
    ['READ with a handle of 2^32', 15, read(2 ** 32, 0, 1), EBADF],
    ['READ with a handle of 2^31', 15, read(2 ** 31, 0, 1), EBADF],
    ['READ of more than a reply', 15, read(33, 0, OUT_CAPACITY + 1), EINVAL],
    ['READ of 4 GiB', 15, read(33, 0, 0xffffffff), EINVAL],
    ['READ behind 2^53', 15, read(33, 2 ** 53, 10), 0],
    ['READDIR from a bad offset', 28, read(33, high, 100), EINVAL],
    ['READDIRPLUS from a bad offset', 44, read(33, high, 100), EINVAL],
    ['WRITE of more than there is', 16, write(0, 11, 10), EINVAL],
    ['WRITE of 4 GiB', 16, write(0, 0xffffffff, 10), EINVAL],
    ['WRITE behind 2^53', 16, write(2 ** 53, 10, 10), EFBIG],
    ['WRITE across 2^53', 16, write(2 ** 53 - 5, 10, 10), EFBIG],
    ['WRITE at a negative offset', 16, write(-1, 10, 10), EFBIG],
    ['SETATTR with a bad handle', 4, setattr(1 << 6, 2 ** 40, 0), EBADF],
    ['SETATTR to a size of 2^53', 4, setattr(1 << 3, 0, 2 ** 53), EFBIG],
    ['SETATTR to 10^9 ns of atime', 4, setattr(1 << 4, 0, 0, 1_000_000_000), EINVAL],
    ['SETATTR to 2^30 ns of mtime', 4, setattr(1 << 5, 0, 0, 0, 2 ** 30), EINVAL],
    ['GETATTR with a bad handle', 3, Buffer.concat([u32(1, 0), u64(high)]), EBADF],
    ['FALLOCATE across 2^53', 43, Buffer.concat([u64(33, 2 ** 53 - 1, 10), u32(0, 0)]), EFBIG],
    ['FALLOCATE of a negative length', 43, Buffer.concat([u64(33, 0, -1), u32(0, 0)]), EFBIG],
    ['LSEEK by an unknown whence', 46, Buffer.concat([u64(33, 0), u32(5, 0)]), EINVAL],
    ['LSEEK behind 2^53', 46, Buffer.concat([u64(33, high), u32(3, 0)]), -6],
    ['COPY_FILE_RANGE with a flag', 47, u64(33, 0, 6, 34, 0, 1, 1), EINVAL],
    ['COPY_FILE_RANGE to behind 2^53', 47, u64(33, 0, 6, 34, high, 1, 0), EFBIG],
    ['COPY_FILE_RANGE with a bad handle', 47, u64(high, 0, 6, 34, 0, 1, 0), EBADF],
    ['COPY_FILE_RANGE from behind 2^53', 47, u64(33, high, 6, 34, 0, 1, 0), 8],
    ['RENAME2 with unknown flags', 45, Buffer.concat([u64(6), u32(8, 0), text('a', 'b')]), EINVAL],
    ['RELEASE of a bad handle', 18, Buffer.concat([u64(-1), u32(0, 0), u64(0)]), EBADF],
    ['FSYNC of a bad handle', 20, Buffer.concat([u64(-1), u32(0, 0)]), EBADF],
    ['IOCTL on a bad handle', 39, Buffer.concat([u64(-1), u32(0, 0x80086601), u64(0), u32(0, 4)]), EBADF],
    [
      'SETXATTR of more than there is',
      21,
      Buffer.concat([u32(4, 0), text('user.a'), Buffer.from('xyz')]),
      EINVAL,
    ],
    ['SETXATTR of 64 KiB + 1', 21, Buffer.concat([u32(65537, 0), text('user.a'), Buffer.alloc(65537)]), -7],
    ['SETXATTR without a name', 21, Buffer.concat([u32(0, 0), text('')]), -34],
    ['GETXATTR of a long name', 22, Buffer.concat([u32(0, 0), text(`user.${long255}`)]), -34],
    ['SYMLINK to nothing', 6, text('l', ''), -2],
    ['SYMLINK to 4096 bytes', 6, text('l', 't'.repeat(4096)), ENAMETOOLONG],
  ]
  for (const [title, opcode, body, result] of cases) {
    const wire = createWire()
    t.equal(wire.send(opcode, body), result, title)
    t.strictSame(wire.fs.calls, [], `${title}: no call`)
  }
})

t.test('an exception in the file system is EIO, and the next request is served', async (t) => {
  const wire = createWire()
  wire.fs.answers.lookup = () => {
    throw new TypeError('out of cheese')
  }
  t.equal(wire.send(1, text('bin'), { node: 7, unique: 2 ** 33 + 2 }), -5)
  t.equal(wire.log.length, 1)
  t.match(wire.log[0], /^fuse: LOOKUP nodeid 7 unique 8589934594 "bin": TypeError: out of cheese/)
  wire.fs.answers.forget = wire.fs.answers.lookup
  t.equal(wire.send(2, u64(1)), NO_REPLY, 'FORGET gets no answer even then')
  wire.fs.answers.lookup = 0
  t.equal(wire.send(1, text('bin')), 128)
  wire.fs.answers.completed = wire.fs.answers.forget
  wire.session.completed(3, -28)
  wire.fs.answers.destroy = wire.fs.answers.forget
  wire.session.end()
  t.equal(wire.log.length, 4)
})

t.test('an answer that no reply can carry is EIO', async (t) => {
  const answers: [Method, number, Buffer, unknown][] = [
    ['read', 15, read(33, 0, 4096), OUT_CAPACITY + 1],
    ['read', 15, read(33, 0, 4096), -5000],
    ['read', 15, read(33, 0, 4096), Number.NaN],
    ['read', 15, read(33, 0, 4096), undefined],
    ['readlink', 5, Buffer.alloc(0), 2 ** 40],
  ]
  for (const [method, opcode, body, answer] of answers) {
    const wire = createWire()
    wire.fs.answers[method] = () => answer as number
    t.equal(wire.send(opcode, body), -5, `${method} answers ${answer}`)
    t.equal(wire.log.length, 1)
  }
})

t.test('a caller of any id passes', async (t) => {
  const wire = createWire()
  const head: Head = { uid: 0xffffffff, gid: 65534, pid: 0 }
  wire.send(1, text('x'), head)
  t.strictSame(wire.fs.caller, { uid: 0xffffffff, gid: 65534, pid: 0, umask: 0 })
})
