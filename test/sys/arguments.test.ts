// Wrong arguments give an errno: no place, length or value that TypeScript can pass makes native
// code touch memory outside of the arena. (Run under AddressSanitizer this says more.)

import t from 'tap'
import { EFAULT, EINVAL } from '../../src/base/errno.js'
import { native } from '../../src/sys/native.js'
import { ARENA_BYTES } from '../../src/vfs/arena.js'
import { arena, names, sandbox } from './sandbox.js'

const { fd } = sandbox()

/** Kinds of arguments: d an fd that takes no harm, p a place, r a ref, n any number. */
const calls: Record<string, string> = {
  statAt: 'drp',
  statLayers: 'pnnrnp',
  readlinkAt: 'drpn',
  getdents: 'dpn',
  fstatfs: 'dp',
  openAt: 'Br0',
  createAt: 'Brnnnnn',
  mkdirAt: 'Brnnnn',
  symlinkAt: 'rBrnn',
  linkAt: 'BrBr',
  renameAt: 'BrBrn',
  chmodAt: 'Brn',
  utimensAt: 'Brp',
  getXattrAt: 'drrpn',
  listXattrAt: 'drpn',
  setXattrAt: 'Brrpnn',
  removeXattrAt: 'Brr',
  read: 'dnnp',
  write: 'Bnnp',
  seekReply: 'dnnp',
  ioctl: 'dnp',
  copyFileRange: 'dnBnnp',
  notify: 'Bnpn',
}

let seed = 12345
function random(below: number): number {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
  return Math.floor((seed / 2 ** 32) * below)
}
const edges = [
  0,
  1,
  3,
  4,
  7,
  -1,
  -8,
  2 ** 31 - 1,
  2 ** 31,
  -(2 ** 31),
  2 ** 32 - 1,
  2 ** 53,
  -(2 ** 53),
  1e300,
  Number.NaN,
  1.5,
]
const edge = () => edges[random(edges.length)]!
const near = (size: number) => size - random(64)

function argument(kind: string): number {
  if (kind === 'd') return random(4) ? fd : -1
  if (kind === 'B') return -1 // never a real one: the call would change something
  if (kind === '0') return 0
  if (kind === 'p') return [edge, () => near(ARENA_BYTES), () => random(ARENA_BYTES) & ~3][random(3)]!()
  if (kind === 'r') return [edge, () => near(ARENA_BYTES), () => -near(names.length / 8)][random(3)]!()
  return random(2) ? edge() : random(100000)
}

t.test('24,000 calls with arbitrary places and lengths come back with a number', async (t) => {
  const table = native as unknown as Record<string, (...args: number[]) => number>
  arena.bytes.fill(0x61)
  names.fill(0x62)
  // The kernel reads 4096 bytes of a path, AddressSanitizer looks for its NUL.
  arena.bytes[ARENA_BYTES - 4097] = 0
  names[names.length - 4097] = 0
  for (const [name, kinds] of Object.entries(calls)) {
    let bad = 0
    for (let i = 0; i < 1000; i++) {
      const result = table[name]!(...[...kinds].map(argument))
      if (!Number.isInteger(result)) bad++
    }
    t.equal(bad, 0, name)
  }
})

t.test('missing and foreign values are EINVAL', async (t) => {
  const any = native as unknown as Record<string, (...args: unknown[]) => number>
  t.equal(any.statAt!(), -EINVAL)
  t.equal(any.statAt!(fd, 'name', 0), -EINVAL)
  t.equal(any.read!(fd, null, 1, 0), -EINVAL)
  t.equal(any.openPath!('a string', 0, 0), -EINVAL)
  t.equal(any.openPath!(new Float64Array(2), 0, 0), -EINVAL)
  t.equal(any.mount!(1, 2, 3, 4, 5), -EINVAL)
  t.equal(any.mount!('a\0b', Buffer.from('/x'), 'c', 0, ''), -EINVAL)
  t.equal(any.devFuseStart!(0, 'no function'), -EINVAL)
  t.throws(() => any.attach!('a', 'b'), TypeError)
  t.equal(native.statAt(fd, 0, ARENA_BYTES), -EFAULT, 'the arena stays attached')
})
