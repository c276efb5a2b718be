// One well-formed request per opcode, with the call it must lead to and the reply it must give.

import { FOPEN_CACHE_DIR, FOPEN_KEEP_CACHE } from '../../src/fuse/abi.js'
import { IN, OUT } from '../../src/vfs/arena.js'
import { NO_REPLY, PARKED } from '../../src/vfs/file-system.js'
import { type Method, type RecordingFs, text, u32, u64 } from './wire.js'

type Words = (at: number, ...values: number[]) => void
/** Prepares what the file system answers; `words` writes u32s into the arena. */
type Prepare = (fs: RecordingFs, words: Words) => void

export type RequestRow = {
  title: string
  opcode: number
  body: Buffer
  node?: number
  answer?: Prepare
  call?: [Method, ...unknown[]]
  result: number
  /** The reply's first bytes. */
  reply?: Buffer
  umask?: number
  /** Shorter forms of it are still well-formed down to this many bytes of body. */
  shortest?: number
}

const REST = IN + 40
const O_RDWR_CREAT = 0o102
const timeouts = Buffer.concat([u64(3600, 60), u32(500_000_000, 250_000_000)])
const entry = Buffer.concat([u64(9, 2), timeouts, u64(1234)])
const attrHead = Buffer.concat([u64(60), u32(250_000_000, 0), u64(1234)])

const entryAt = (out: number, words: Words) =>
  words(out, 9, 0, 2, 0, 0xdead, 0xdead, 0xdead, 0xdead, 0xdead, 0xdead, 1234, 0)
const open = { handle: 33, flags: 0x82, backingId: 4 }
const openOut = Buffer.concat([u64(33), u32(0x82, 4)])
const fileRead = (size: number) => Buffer.concat([u64(33, 2 ** 40 + 5), u32(size, 0), u64(0), u32(0, 0)])
const EIO = -5

function makesEntry(method: Method): Prepare {
  return (fs, words) => {
    fs.answers[method] = () => {
      entryAt(OUT, words)
      Object.assign(fs.opened, open)
      return 0
    }
  }
}

function writesAttr(method: Method): Prepare {
  return (fs, words) => {
    fs.answers[method] = () => {
      words(OUT + 16, 1234, 0)
      return 0
    }
  }
}

function opens(method: Method): Prepare {
  return (fs) => {
    fs.answers[method] = () => {
      Object.assign(fs.opened, open)
      return 0
    }
  }
}

const answers = (method: Method, result: number): Prepare => {
  return (fs) => {
    fs.answers[method] = result
  }
}

const names: RequestRow[] = [
  {
    title: 'LOOKUP',
    opcode: 1,
    body: text('bin'),
    answer: makesEntry('lookup'),
    call: ['lookup', 5, REST, 3, OUT],
    result: 128,
    reply: entry,
  },
  {
    title: 'LOOKUP of ..',
    opcode: 1,
    body: text('..'),
    answer: makesEntry('lookup'),
    call: ['lookup', 5, REST, 2, OUT],
    result: 128,
    reply: entry,
  },
  {
    title: 'LOOKUP of a missing name',
    opcode: 1,
    body: text('nope'),
    answer: answers('lookup', -2),
    call: ['lookup', 5, REST, 4, OUT],
    result: 128,
    reply: Buffer.concat([u64(0, 0, 7, 0), u32(125_000_000, 0), Buffer.alloc(88)]),
  },
  {
    title: 'LOOKUP that fails',
    opcode: 1,
    body: text('bad'),
    answer: answers('lookup', EIO),
    call: ['lookup', 5, REST, 3, OUT],
    result: EIO,
  },
  {
    title: 'LOOKUP that is parked',
    opcode: 1,
    body: text('slow'),
    answer: answers('lookup', PARKED),
    call: ['lookup', 5, REST, 4, OUT],
    result: PARKED,
  },
  { title: 'FORGET', opcode: 2, body: u64(2 ** 33), call: ['forget', 5, 2 ** 33], result: NO_REPLY },
  {
    title: 'BATCH_FORGET',
    opcode: 42,
    node: 0,
    body: Buffer.concat([u32(1, 0), u64(7, 3)]),
    call: ['forget', 7, 3],
    result: NO_REPLY,
  },
  {
    title: 'SYMLINK',
    opcode: 6,
    body: text('ln', '../a/b'),
    answer: makesEntry('symlink'),
    call: ['symlink', 5, REST, 2, REST + 3, OUT],
    result: 128,
    reply: entry,
  },
  {
    title: 'MKNOD',
    opcode: 8,
    body: Buffer.concat([u32(0o20644, 0x501, 0o27, 0), text('tty')]),
    answer: makesEntry('mknod'),
    call: ['mknod', 5, REST + 16, 3, 0o20644, 0x501, OUT],
    result: 128,
    reply: entry,
    umask: 0o27,
  },
  {
    title: 'MKDIR',
    opcode: 9,
    body: Buffer.concat([u32(0o40755, 0o22), text('d')]),
    answer: makesEntry('mkdir'),
    call: ['mkdir', 5, REST + 8, 1, 0o40755, OUT],
    result: 128,
    reply: entry,
    umask: 0o22,
  },
  { title: 'UNLINK', opcode: 10, body: text('f'), call: ['unlink', 5, REST, 1], result: 0 },
  {
    title: 'RMDIR',
    opcode: 11,
    body: text('d'),
    answer: answers('rmdir', -39),
    call: ['rmdir', 5, REST, 1],
    result: -39,
  },
  {
    title: 'RENAME',
    opcode: 12,
    body: Buffer.concat([u64(6), text('old', 'newer')]),
    call: ['rename', 5, REST + 8, 3, 6, REST + 12, 5, 0],
    result: 0,
  },
  {
    title: 'RENAME2',
    opcode: 45,
    body: Buffer.concat([u64(6), u32(2, 0), text('old', 'newer')]),
    call: ['rename', 5, REST + 16, 3, 6, REST + 20, 5, 2],
    result: 0,
  },
  {
    title: 'LINK',
    opcode: 13,
    body: Buffer.concat([u64(8), text('hard')]),
    answer: makesEntry('link'),
    call: ['link', 8, 5, REST + 8, 4, OUT],
    result: 128,
    reply: entry,
  },
  {
    title: 'CREATE',
    opcode: 35,
    body: Buffer.concat([u32(O_RDWR_CREAT, 0o100644, 0o77, 1), text('new')]),
    answer: makesEntry('create'),
    call: ['create', 5, REST + 16, 3, O_RDWR_CREAT, 0o100644, 1, OUT],
    result: 144,
    reply: entry,
    umask: 0o77,
  },
  {
    title: 'TMPFILE',
    opcode: 51,
    body: Buffer.concat([u32(O_RDWR_CREAT, 0o100600, 0o22, 0), text('/')]),
    answer: makesEntry('tmpfile'),
    call: ['tmpfile', 5, O_RDWR_CREAT, 0o100600, 0, OUT],
    result: 144,
    reply: entry,
    umask: 0o22,
    shortest: 16,
  },
]

const setattrBody = Buffer.concat([
  u32(1 << 3, 0),
  u64(0, 2 ** 33, 0, 0, 0, 0),
  u32(0, 0, 0, 0o644, 0, 1, 2, 0),
])
const attributes: RequestRow[] = [
  {
    title: 'GETATTR',
    opcode: 3,
    body: Buffer.concat([u32(0, 0), u64(0)]),
    answer: writesAttr('getattr'),
    call: ['getattr', 5, -1, OUT + 16],
    result: 104,
    reply: attrHead,
  },
  {
    title: 'GETATTR of a handle',
    opcode: 3,
    body: Buffer.concat([u32(1, 0), u64(33)]),
    answer: writesAttr('getattr'),
    call: ['getattr', 5, 33, OUT + 16],
    result: 104,
    reply: attrHead,
  },
  {
    title: 'SETATTR',
    opcode: 4,
    body: setattrBody,
    answer: writesAttr('setattr'),
    call: ['setattr', 5, REST, OUT + 16],
    result: 104,
    reply: attrHead,
  },
  {
    title: 'READLINK',
    opcode: 5,
    body: Buffer.alloc(0),
    answer: answers('readlink', 7),
    call: ['readlink', 5, OUT, 4095],
    result: 7,
  },
  { title: 'STATFS', opcode: 17, node: 1, body: Buffer.alloc(0), call: ['statfs', 1, OUT], result: 80 },
  {
    title: 'SETXATTR',
    opcode: 21,
    body: Buffer.concat([u32(3, 1), text('user.a'), Buffer.from('xyz')]),
    call: ['setxattr', 5, REST + 8, REST + 15, 3, 1, 0],
    result: 0,
  },
  {
    title: 'GETXATTR',
    opcode: 22,
    body: Buffer.concat([u32(100, 0), text('user.a')]),
    answer: answers('getxattr', 3),
    call: ['getxattr', 5, REST + 8, OUT, 100],
    result: 3,
  },
  {
    title: 'GETXATTR that asks for the size',
    opcode: 22,
    body: Buffer.concat([u32(0, 0), text('user.a')]),
    answer: answers('getxattr', 3),
    call: ['getxattr', 5, REST + 8, OUT, 0],
    result: 8,
    reply: u32(3, 0),
  },
  {
    title: 'LISTXATTR',
    opcode: 23,
    body: u32(64, 0),
    answer: answers('listxattr', 14),
    call: ['listxattr', 5, OUT, 64],
    result: 14,
  },
  {
    title: 'LISTXATTR that asks for the size',
    opcode: 23,
    body: u32(0, 0),
    answer: answers('listxattr', 14),
    call: ['listxattr', 5, OUT, 0],
    result: 8,
    reply: u32(14, 0),
  },
  { title: 'REMOVEXATTR', opcode: 24, body: text('user.a'), call: ['removexattr', 5, REST], result: 0 },
]

const copyBody = Buffer.concat([u64(33, 4096, 6, 34, 8192, 2 ** 40, 0)])
const wide = (fs: RecordingFs, words: Words) => {
  fs.answers.copyFileRange = () => {
    words(OUT, 5, 1)
    return 8
  }
}
const files: RequestRow[] = [
  {
    title: 'OPEN',
    opcode: 14,
    body: u32(2, 1),
    answer: opens('open'),
    call: ['open', 5, 2, 1],
    result: 16,
    reply: openOut,
  },
  {
    title: 'OPEN of a file that moved up',
    opcode: 14,
    body: u32(2, 0),
    answer: answers('open', -116),
    call: ['open', 5, 2, 0],
    result: -116,
  },
  {
    title: 'READ',
    opcode: 15,
    body: fileRead(4096),
    answer: answers('read', 100),
    call: ['read', 5, 33, 2 ** 40 + 5, 4096, OUT],
    result: 100,
  },
  {
    title: 'WRITE',
    opcode: 16,
    body: Buffer.concat([u64(33, 2 ** 40 + 5), u32(5, 4), u64(0), u32(0, 0), Buffer.from('hello')]),
    answer: answers('write', 5),
    call: ['write', 5, 33, 2 ** 40 + 5, 5, REST + 40, 4],
    result: 8,
    reply: u32(5, 0),
  },
  {
    title: 'RELEASE',
    opcode: 18,
    body: Buffer.concat([u64(33), u32(0, 0), u64(0)]),
    call: ['release', 5, 33],
    result: 0,
  },
  {
    title: 'FSYNC of the data only',
    opcode: 20,
    body: Buffer.concat([u64(33), u32(1, 0)]),
    answer: answers('fsync', PARKED),
    call: ['fsync', 5, 33, true],
    result: PARKED,
  },
  {
    title: 'FALLOCATE',
    opcode: 43,
    body: Buffer.concat([u64(33, 4096, 2 ** 32), u32(3, 0)]),
    call: ['fallocate', 5, 33, 4096, 2 ** 32, 3],
    result: 0,
  },
  {
    title: 'LSEEK',
    opcode: 46,
    body: Buffer.concat([u64(33, 2 ** 34), u32(3, 0)]),
    answer: answers('lseek', 8),
    call: ['lseek', 5, 33, 2 ** 34, 3, OUT],
    result: 8,
  },
  {
    title: 'COPY_FILE_RANGE',
    opcode: 47,
    body: copyBody,
    answer: wide,
    call: ['copyFileRange', 5, 33, 4096, 6, 34, 8192, 0xfffff000, OUT],
    result: 8,
  },
  {
    title: 'COPY_FILE_RANGE_64',
    opcode: 53,
    body: copyBody,
    answer: wide,
    call: ['copyFileRange', 5, 33, 4096, 6, 34, 8192, 2 ** 40, OUT],
    result: 8,
    reply: u64(2 ** 32 + 5),
  },
  {
    title: 'IOCTL FS_IOC_GETFLAGS',
    opcode: 39,
    body: Buffer.concat([u64(33), u32(0, 0x80086601), u64(0), u32(0, 4)]),
    answer: (fs, words) => {
      fs.answers.ioctl = () => {
        words(OUT + 16, 0x10)
        return 4
      }
    },
    call: ['ioctl', 5, 33, 0x80086601, REST + 32, 0, OUT + 16, 4],
    result: 20,
    reply: u32(0, 0, 0, 0, 0x10),
  },
  {
    title: 'IOCTL FS_IOC_SETFLAGS',
    opcode: 39,
    body: Buffer.concat([u64(33), u32(0, 0x40086602), u64(0), u32(4, 0), u32(0x20)]),
    call: ['ioctl', 5, 33, 0x40086602, REST + 32, 4, OUT + 16, 0],
    result: 16,
    reply: u32(0, 0, 0, 0),
  },
  { title: 'SYNCFS', opcode: 50, node: 1, body: u64(0), call: ['syncfs'], result: 0 },
]

const direntplus = Buffer.concat([
  u64(9, 2),
  Buffer.alloc(24, 0xee),
  u64(1234),
  Buffer.alloc(80),
  u64(1234, 1),
  u32(3, 4),
  Buffer.from('bin\0\0\0\0\0'),
])
const bare = Buffer.concat([Buffer.alloc(128, 0), u64(55, 2), u32(4, 8), Buffer.from('file\0\0\0\0')])
const stamped = Buffer.concat([
  u64(9, 2),
  timeouts,
  u64(1234),
  Buffer.alloc(80),
  u64(1234, 1),
  u32(3, 4),
  Buffer.from('bin\0\0\0\0\0'),
])
const directories: RequestRow[] = [
  {
    title: 'OPENDIR',
    opcode: 27,
    body: u32(0o200000, 0),
    result: 16,
    reply: Buffer.concat([u64(0), u32(FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR, 0)]),
  },
  {
    title: 'READDIR',
    opcode: 28,
    body: fileRead(4096),
    answer: answers('readdir', 64),
    call: ['readdir', 5, 2 ** 40 + 5, OUT, 4096],
    result: 64,
  },
  {
    title: 'READDIRPLUS',
    opcode: 44,
    body: fileRead(4096),
    answer: (fs, words) => {
      const records = Buffer.concat([direntplus, bare, direntplus])
      fs.answers.readdirplus = () => {
        for (let i = 0; i < records.length; i += 4) words(OUT + i, records.readUInt32LE(i))
        return records.length
      }
    },
    call: ['readdirplus', 5, 2 ** 40 + 5, OUT, 4096],
    result: 480,
    reply: Buffer.concat([stamped, bare, stamped]),
  },
  {
    title: 'RELEASEDIR',
    opcode: 29,
    body: Buffer.concat([u64(33), u32(0, 0), u64(0)]),
    result: 0,
  },
  {
    title: 'FSYNCDIR',
    opcode: 30,
    body: Buffer.concat([u64(33), u32(0, 0)]),
    call: ['fsyncdir', 5, false],
    result: 0,
  },
]

export const requestRows: readonly RequestRow[] = [...names, ...attributes, ...files, ...directories]

/** Opcodes that are answered ENOSYS, whatever comes with them. */
export const unsupportedOpcodes = [25, 31, 32, 33, 34, 37, 40, 48, 49] as const
