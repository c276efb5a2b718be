// INIT against kernels of several ages.

import t from 'tap'
import { FUSE_KERNEL_MINOR_VERSION, initFlags } from '../../src/fuse/abi.js'
import { type Agreement, flagRows, hasFlag, type NegotiateOptions } from '../../src/fuse/negotiate.js'
import { createWire, initBody, kernelFlags, passthrough, u32 } from './wire.js'

const flagNames = (flags: number) =>
  Object.entries(initFlags)
    .filter(([, flag]) => hasFlag(flags, flag))
    .map(([name]) => name.slice(5))

const common = [
  ...[
    'ASYNC_READ',
    'ATOMIC_O_TRUNC',
    'EXPORT_SUPPORT',
    'BIG_WRITES',
    'DONT_MASK',
    'HAS_IOCTL_DIR',
    'DO_READDIRPLUS',
  ],
  ...[
    'NO_OPENDIR_SUPPORT',
    'READDIRPLUS_AUTO',
    'ASYNC_DIO',
    'PARALLEL_DIROPS',
    'POSIX_ACL',
    'MAX_PAGES',
    'CACHE_SYMLINKS',
  ],
  'EXPLICIT_INVAL_DATA',
]
const later = [...common, 'HANDLE_KILLPRIV_V2', 'SETXATTR_EXT', 'INIT_EXT']

type Case = {
  title: string
  minor: number
  flags: number
  options?: Partial<NegotiateOptions>
  agreed: string[]
  has?: Partial<Agreement>
}

const cases: Case[] = [
  {
    title: '7.31',
    minor: 31,
    flags: kernelFlags['7.31'],
    agreed: common,
    has: { hasPassthrough: false, maxStackDepth: 0, hasSetxattrExt: false, hasExpireOnly: false },
  },
  {
    title: '7.38',
    minor: 38,
    flags: kernelFlags['7.38'],
    agreed: later,
    has: { hasPassthrough: false, hasSetxattrExt: true, hasExpireOnly: true },
  },
  {
    title: '7.45',
    minor: 45,
    flags: kernelFlags['7.45'],
    agreed: [...later, 'DIRECT_IO_ALLOW_MMAP', 'PASSTHROUGH'],
    has: { hasPassthrough: true, maxStackDepth: 1, hasAcl: true, isNoOpen: false },
  },
  {
    title: '7.45, cached data',
    minor: 45,
    flags: kernelFlags['7.45'],
    options: { data: 'cache' },
    agreed: [...later, 'DIRECT_IO_ALLOW_MMAP'],
    has: { hasPassthrough: false, maxStackDepth: 0 },
  },
  {
    title: '7.45, stacked layers',
    minor: 45,
    flags: kernelFlags['7.45'],
    options: { maxStackDepth: 2 },
    agreed: [...later, 'DIRECT_IO_ALLOW_MMAP', 'PASSTHROUGH'],
    has: { maxStackDepth: 2 },
  },
  {
    title: '7.45, without ACLs',
    minor: 45,
    flags: kernelFlags['7.45'],
    options: { hasAcl: false },
    agreed: [...later, 'DIRECT_IO_ALLOW_MMAP', 'PASSTHROUGH'].filter((name) => name !== 'POSIX_ACL'),
    has: { hasAcl: false },
  },
  {
    title: '7.45, without OPEN',
    minor: 45,
    flags: kernelFlags['7.45'],
    options: { data: 'no-open' },
    agreed: [...later.filter((name) => name !== 'ATOMIC_O_TRUNC'), 'NO_OPEN_SUPPORT', 'DIRECT_IO_ALLOW_MMAP'],
    has: { hasPassthrough: false, isNoOpen: true },
  },
  {
    title: '7.45, io_uring asked for but off',
    minor: 45,
    flags: kernelFlags['7.45'],
    options: { transport: 'io-uring' },
    agreed: [...later, 'DIRECT_IO_ALLOW_MMAP', 'PASSTHROUGH'],
    has: { isOverIoUring: false },
  },
  {
    title: '7.45, io_uring',
    minor: 45,
    flags: kernelFlags['7.45'] + 2 ** 41,
    options: { transport: 'io-uring' },
    agreed: [...later, 'DIRECT_IO_ALLOW_MMAP', 'PASSTHROUGH', 'OVER_IO_URING'],
    has: { isOverIoUring: true },
  },
  {
    title: '7.45, io_uring on but not asked for',
    minor: 45,
    flags: kernelFlags['7.45'] + 2 ** 41,
    agreed: [...later, 'DIRECT_IO_ALLOW_MMAP', 'PASSTHROUGH'],
  },
  {
    title: '7.60 with flags that nobody knows',
    minor: 60,
    flags: kernelFlags['7.45'] + 2 ** 43 + 2 ** 50,
    agreed: [...later, 'DIRECT_IO_ALLOW_MMAP', 'PASSTHROUGH'],
  },
  {
    title: 'a kernel that offers nothing',
    minor: 31,
    flags: 0,
    agreed: [],
    has: { maxWrite: 131072, hasReaddirplus: false },
  },
]

t.test('each kernel gets the flags that it offers and we want', async (t) => {
  for (const { title, minor, flags, options, agreed, has } of cases) {
    const wire = createWire({ ...passthrough, ...options })
    t.equal(wire.send(26, initBody(7, minor, flags, minor >= 36), { node: 0 }), 64, title)
    const [agreement] = wire.inits as Agreement[]
    t.equal(wire.inits.length, 1)
    t.strictSame(flagNames(agreement!.flags).sort(), [...agreed].sort(), `${title}: flags`)
    t.match(agreement, has ?? {}, `${title}: meaning`)
    t.equal(agreement!.minor, Math.min(minor, FUSE_KERNEL_MINOR_VERSION))
    const maxPages = agreed.includes('MAX_PAGES') ? 256 : 32
    const expected = Buffer.concat([
      u32(7, agreement!.minor, 131072, agreement!.flags % 2 ** 32),
      u32(64 + 48 * 65536, maxPages * 4096, 1, maxPages, Math.floor(agreement!.flags / 2 ** 32)),
      u32(agreement!.maxStackDepth, 0, 0, 0, 0, 0, 0),
    ])
    t.strictSame(wire.reply(64), expected, `${title}: fuse_init_out`)
  }
})

t.test('flags2 counts only together with INIT_EXT', async (t) => {
  const wire = createWire()
  wire.send(26, initBody(7, 38, kernelFlags['7.45'] - 2 ** 30, true), { node: 0 })
  t.equal((wire.inits[0] as Agreement).hasPassthrough, false)
})

t.test('an older kernel is refused with a reason', async (t) => {
  for (const [major, minor] of [
    [7, 30],
    [7, 0],
    [6, 45],
    [0, 0],
  ] as const) {
    const wire = createWire()
    t.equal(wire.send(26, initBody(major, minor, 0, false), { node: 0 }), -71)
    t.strictSame(wire.inits, [`the kernel speaks FUSE ${major}.${minor}, 7.31 or later is needed`])
    t.strictSame(wire.fs.calls, [])
  }
})

t.test('a kernel of a later major version is told ours, and asks again', async (t) => {
  const wire = createWire()
  t.equal(wire.send(26, initBody(8, 3, 0xffffffff, false), { node: 0 }), 64)
  t.strictSame(wire.reply(8), u32(7, 45))
  t.equal(wire.inits.length, 0, 'nothing is settled yet')
  t.equal(wire.send(26, initBody(7, 45, kernelFlags['7.45'], true), { node: 0 }), 64)
  t.equal(wire.inits.length, 1)
})

t.test('every flag has its row', async (t) => {
  const rows = flagRows.map(([flag]) => flag)
  t.equal(new Set(rows).size, rows.length, 'and no flag has two')
  for (const [name, flag] of Object.entries(initFlags)) t.ok(rows.includes(flag), name)
})

t.test('what excludes one another is never agreed on together', async (t) => {
  for (const data of ['passthrough', 'cache', 'no-open'] as const) {
    const wire = createWire({ ...passthrough, data })
    wire.send(26, initBody(7, 45, kernelFlags['7.45'], true), { node: 0 })
    const { flags } = wire.inits[0] as Agreement
    t.notOk(hasFlag(flags, initFlags.FUSE_NO_OPEN_SUPPORT) && hasFlag(flags, initFlags.FUSE_ATOMIC_O_TRUNC))
    t.notOk(hasFlag(flags, initFlags.FUSE_NO_OPEN_SUPPORT) && hasFlag(flags, initFlags.FUSE_PASSTHROUGH))
    t.notOk(hasFlag(flags, initFlags.FUSE_WRITEBACK_CACHE))
  }
})
