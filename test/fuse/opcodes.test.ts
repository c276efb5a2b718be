// Every opcode: what the file system is asked, and what the kernel is answered.

import t from 'tap'
import { opcodes } from '../../src/fuse/abi.js'
import { opcodeRows } from '../../src/fuse/opcodes.js'
import { CTL_DATA, IN, OUT, SCRATCH } from '../../src/vfs/arena.js'
import { NO_HANDLE, NO_REPLY } from '../../src/vfs/file-system.js'
import { requestRows, unsupportedOpcodes } from './requests.js'
import { createWire, initBody, kernelFlags, passthrough, text, u32, u64, type Wire } from './wire.js'

const wordsOf = (wire: Wire) => {
  return (at: number, ...values: number[]) => {
    values.forEach((value, i) => {
      wire.arena.u32[(at >> 2) + i] = value
    })
  }
}

t.test('each well-formed request becomes one call and its reply', async (t) => {
  for (const row of requestRows) {
    const wire = createWire()
    row.answer?.(wire.fs, wordsOf(wire))
    const result = wire.send(row.opcode, row.body, { node: row.node ?? 5 })
    t.strictSame(wire.fs.calls, row.call === undefined ? [] : [row.call], `${row.title}: call`)
    t.equal(result, row.result, `${row.title}: result`)
    if (row.reply !== undefined) t.strictSame(wire.reply(row.reply.length), row.reply, `${row.title}: reply`)
    t.strictSame(
      wire.fs.caller,
      { uid: 1000, gid: 100, pid: 4321, umask: row.umask ?? 0 },
      `${row.title}: caller`,
    )
    t.strictSame(wire.log, [], `${row.title}: nothing to log`)
  }
})

t.test('the table of requests covers every opcode', async (t) => {
  const covered = new Set<number>([...requestRows.map((row) => row.opcode), ...unsupportedOpcodes])
  for (const code of [
    opcodes.FUSE_INIT,
    opcodes.FUSE_STATX,
    opcodes.FUSE_DESTROY,
    opcodes.FUSE_INTERRUPT,
    opcodes.FUSE_NOTIFY_REPLY,
  ]) {
    covered.add(code) // those have tests of their own
  }
  for (const [name, code] of Object.entries(opcodes)) {
    t.ok(opcodeRows[code], `${name} has a row`)
    t.ok(covered.has(code), `${name} is tested`)
  }
})

t.test('CREATE and TMPFILE put fuse_open_out behind the entry', async (t) => {
  for (const row of requestRows.filter((row) => row.opcode === 35 || row.opcode === 51)) {
    const wire = createWire()
    row.answer?.(wire.fs, wordsOf(wire))
    t.equal(wire.send(row.opcode, row.body), 144)
    t.strictSame(wire.reply(144).subarray(128), Buffer.concat([u64(33), u32(0x82, 4)]))
  }
})

t.test('what is not supported is answered ENOSYS without a call', async (t) => {
  for (const opcode of [...unsupportedOpcodes, 0, 7, 19, 54, 63, 64, 4096, 0xffffffff]) {
    const wire = createWire()
    t.equal(wire.send(opcode, Buffer.alloc(64)), -38, `opcode ${opcode}`)
    t.strictSame(wire.fs.calls, [])
  }
})

t.test('INTERRUPT and NOTIFY_REPLY get no answer', async (t) => {
  const wire = createWire()
  t.equal(wire.send(36, u64(1)), NO_REPLY)
  t.equal(wire.send(41, Buffer.alloc(40)), NO_REPLY)
  t.strictSame(wire.fs.calls, [])
})

t.test('DESTROY and the end of the transport tell the file system once', async (t) => {
  const wire = createWire()
  t.equal(wire.send(38, Buffer.alloc(0), { node: 0 }), 0)
  wire.session.end()
  t.strictSame(wire.fs.calls, [['destroy']])
})

t.test('a missing name stays ENOENT when negative entries are off', async (t) => {
  const wire = createWire(passthrough, { negativeTimeoutMs: 0 })
  wire.fs.answers.lookup = -2
  t.equal(wire.send(1, text('nope')), -2)
})

t.test('only ENOENT becomes a negative entry', async (t) => {
  for (const errno of [5, 13, 20, 36, 116]) {
    const wire = createWire()
    wire.fs.answers.lookup = -errno
    t.equal(wire.send(1, text('x')), -errno)
  }
})

t.test('BATCH_FORGET forgets each node, and no more than the request holds', async (t) => {
  const wire = createWire()
  const pairs = u64(7, 3, 8, 2 ** 32, 0, 1, 2n ** 40n, 1, 9, 0, 10, 1)
  t.equal(wire.send(42, Buffer.concat([u32(1000, 0), pairs]), { node: 0 }), NO_REPLY)
  t.strictSame(wire.fs.calls, [
    ['forget', 7, 3],
    ['forget', 8, 2 ** 32],
    ['forget', 10, 1],
  ])
})

t.test('STATX spreads a Stat into struct fuse_statx', async (t) => {
  const wire = createWire()
  wire.fs.answers.statx = (_node, _handle, out) => {
    const stat = [0x11, 0x12, 0x21, 0x22, 0x31, 0x32, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0o100644, 2, 1000, 100]
    wordsOf(wire)(out, ...stat, 0x00123456, 4096, 0, 0x00803, 77, 0, 78, 0x30)
    return 0
  }
  t.equal(wire.send(52, Buffer.concat([u32(1, 0), u64(33), u32(0, 0xfff)])), 288)
  t.strictSame(wire.fs.calls, [['statx', 5, 33, OUT + 288]])
  const attributes = 0x100874
  const expected = Buffer.concat([
    ...[u64(60), u32(250_000_000, 0), u64(0, 0)],
    ...[u32(0xfff, 4096), u64(0x30), u32(2, 1000, 100, 0o100644), u32(0x11, 0x12, 0x21, 0x22, 0x31, 0x32)],
    ...[u64(attributes), u32(1, 2, 7, 0), u32(77, 0, 78, 0), u32(5, 6, 9, 0), u32(3, 4, 8, 0)],
    ...[u32(0x234, 0x156, 8, 3), Buffer.alloc(112)],
  ])
  t.equal(expected.length, 288)
  t.strictSame(wire.reply(288), expected)
})

t.test('STATX without a birth time says so', async (t) => {
  const wire = createWire()
  // What an earlier reply left behind must not be taken for a birth time.
  wire.arena.bytes.fill(0xff, OUT, OUT + 4096)
  wire.fs.answers.statx = (_node, _handle, out) => {
    wordsOf(wire)(out, ...new Array<number>(22).fill(1))
    return 0
  }
  t.equal(wire.send(52, Buffer.concat([u32(0, 0), u64(0), u32(0, 0xfff)])), 288)
  t.equal(wire.reply(288).readUInt32LE(32), 0x7ff)
  t.strictSame(wire.fs.calls[0]?.slice(1, 3), [5, NO_HANDLE])
})

t.test('IOCTL serves the file attribute family only', async (t) => {
  const request = (command: number, inSize: number, outSize: number, data = 0) =>
    Buffer.concat([u64(33), u32(0, command), u64(0), u32(inSize, outSize), Buffer.alloc(data)])
  const cases: [
    title: string,
    command: number,
    inSize: number,
    outSize: number,
    data: number,
    result: number,
  ][] = [
    ['FICLONE', 0x40049409, 4, 0, 4, -25],
    ['TCGETS', 0x5401, 0, 60, 0, -25],
    ['FS_IOC_FSGETXATTR', 0x801c581f, 0, 28, 0, 44],
    ['FS_IOC_FSSETXATTR', 0x401c5820, 28, 0, 28, 16],
    ['FS_IOC_GETFLAGS without room', 0x80086601, 0, 2, 0, -22],
    ['FS_IOC_FSGETXATTR without room', 0x801c581f, 0, 4, 0, -22],
    ['FS_IOC_SETFLAGS without data', 0x40086602, 0, 4, 0, -22],
    ['FS_IOC_SETFLAGS with less data than it says', 0x40086602, 4, 0, 3, -22],
    ['FS_IOC_GETFLAGS with a huge reply', 0x80086601, 0, 0x7fffffff, 0, -22],
  ]
  for (const [title, command, inSize, outSize, data, result] of cases) {
    const wire = createWire()
    t.equal(wire.send(39, request(command, inSize, outSize, data)), result, title)
  }
})

t.test('an IOCTL reply is as long as asked for, the rest zero', async (t) => {
  const wire = createWire()
  wire.arena.bytes.fill(0xff, OUT, OUT + 64)
  wire.fs.answers.ioctl = 4
  t.equal(wire.send(39, Buffer.concat([u64(33), u32(0, 0x80086601), u64(0), u32(0, 12)])), 28)
  t.strictSame(wire.reply(28), Buffer.concat([u32(0, 0, 0, 0, 0xffffffff, 0, 0)]))
})

t.test('the long fuse_setxattr_in is read once it was agreed on', async (t) => {
  const wire = createWire()
  wire.send(26, initBody(7, 45, kernelFlags['7.45'], true), { node: 0 })
  const body = Buffer.concat([u32(3, 1, 1, 0), text('user.a'), Buffer.from('xyz')])
  t.equal(wire.send(21, body), 0)
  t.strictSame(wire.fs.calls, [['setxattr', 5, IN + 56, IN + 63, 3, 1, 1]])
})

t.test('an attribute value that is longer than asked for is ERANGE', async (t) => {
  const wire = createWire()
  wire.fs.answers.getxattr = 11
  t.equal(wire.send(22, Buffer.concat([u32(10, 0), text('user.a')])), -34)
})

t.test('WRITE takes its data from where the transport put them', async (t) => {
  const wire = createWire()
  wire.fs.answers.write = 4096
  wire.arena.u32[CTL_DATA] = SCRATCH
  const head = Buffer.concat([u64(33, 0), u32(4096, 0), u64(0), u32(0, 0)])
  t.equal(wire.send(16, head), 8)
  t.strictSame(wire.fs.calls, [['write', 5, 33, 0, 4096, SCRATCH, 0]])
  const tooLong = Buffer.concat([u64(33, 0), u32(2 ** 24, 0), u64(0), u32(0, 0)])
  t.equal(wire.send(16, tooLong), -22)
  wire.arena.u32[CTL_DATA] = IN + 80
  t.equal(wire.send(16, head), -22, 'data behind the struct must be in the request')
})

t.test('the reply goes where the transport wants it', async (t) => {
  const wire = createWire()
  wire.arena.u32[1] = OUT + 8192
  wire.arena.u32[2] = 4096
  wire.fs.answers.read = 4096
  const read = (size: number) => Buffer.concat([u64(33, 0), u32(size, 0), u64(0), u32(0, 0)])
  t.equal(wire.send(15, read(4096)), 4096)
  t.equal(wire.fs.calls[0]?.[5], OUT + 8192)
  t.equal(wire.send(15, read(4097)), -22)
  t.equal(wire.send(28, read(65536)), 0)
  t.equal(wire.fs.calls[1]?.[4], 4096, 'READDIR is content with less room')
})

t.test('directories are opened without asking where the kernel can', async (t) => {
  for (const [kernel, result] of [
    ['7.45', -38],
    ['none', 16],
  ] as const) {
    const wire = createWire()
    const offer = kernel === 'none' ? 0 : kernelFlags[kernel]
    wire.send(26, initBody(7, 45, offer, true), { node: 0 })
    t.equal(wire.send(27, u32(0, 0)), result, kernel)
  }
})

t.test('without OPEN no handle is believed', async (t) => {
  const noOpen = { ...passthrough, data: 'no-open' } as const
  const wire = createWire(noOpen)
  wire.send(26, initBody(7, 45, kernelFlags['7.45'], true), { node: 0 })
  wire.fs.answers.write = 1
  wire.fs.answers.copyFileRange = 8
  const cases: [title: string, opcode: number, body: Buffer, result: number, handleAt: number | undefined][] =
    [
      ['OPEN', 14, u32(0, 0), -38, undefined],
      ['CREATE', 35, Buffer.concat([u32(0, 0, 0, 0), text('f')]), -38, undefined],
      ['TMPFILE', 51, Buffer.concat([u32(0, 0, 0, 0), text('/')]), -38, undefined],
      ['READ', 15, Buffer.concat([u64(0, 0), u32(10, 0), u64(0), u32(0, 0)]), 0, 2],
      ['WRITE', 16, Buffer.concat([u64(0, 0), u32(1, 0), u64(0), u32(0, 0, 1)]), 8, 2],
      ['FSYNC', 20, Buffer.concat([u64(0), u32(0, 0)]), 0, 2],
      ['GETATTR', 3, Buffer.concat([u32(1, 0), u64(0)]), 104, 2],
      ['LSEEK', 46, Buffer.concat([u64(0, 0), u32(3, 0)]), 8, 2],
      ['FALLOCATE', 43, Buffer.concat([u64(0, 0, 1), u32(0, 0)]), 0, 2],
      ['COPY_FILE_RANGE', 47, u64(0, 0, 6, 0, 0, 1, 0), 8, 5],
      ['IOCTL', 39, Buffer.concat([u64(0), u32(0, 0x80086601), u64(0), u32(0, 4)]), 20, 2],
    ]
  for (const [title, opcode, body, result, handleAt] of cases) {
    wire.fs.calls = []
    t.equal(wire.send(opcode, body), result, title)
    t.equal(wire.fs.calls.length, handleAt === undefined ? 0 : 1, `${title}: calls`)
    if (handleAt !== undefined) t.equal(wire.fs.calls[0]?.[handleAt], NO_HANDLE, `${title}: handle`)
  }
  const onDir = Buffer.concat([u64(4), u32(16, 0x80086601), u64(0), u32(0, 4)])
  wire.fs.calls = []
  t.equal(wire.send(39, onDir), 20)
  t.equal(wire.fs.calls[0]?.[2], 4, 'directories keep their handles')
  wire.send(4, Buffer.concat([u32(1 << 6, 0), Buffer.alloc(80)]))
  t.equal(wire.arena.u32[(IN + 40) >> 2], 0, 'SETATTR loses FATTR_FH')
})
