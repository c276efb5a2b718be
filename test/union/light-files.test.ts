// Small files of lowers: their bytes go to the kernel with the first OPEN, and nothing stays open here.

import { readdirSync } from 'node:fs'
import t from 'tap'
import { type Native, native } from '../../src/sys/native.js'
import { at, F_COPYING, N_INFO } from '../../src/union/inode-table.js'
import { LIGHT_HANDLE } from '../../src/vfs/file-system.js'
import { arena } from './disk.js'
import { Peer } from './peer.js'
import { makeFolders, Rig } from './rig.js'

const skip = process.getuid?.() !== 0 && 'needs root'
const EBADF = 9
const ENODEV = 19
const FUSE_NOTIFY_STORE = 4
const KEEP_CACHE = 2

type Stored = { node: number; offset: number; bytes: string }

/** The addon with a kernel that takes what is stored, and a count of all calls. */
function fakeKernel(answer = 0) {
  const stored: Stored[] = []
  const counts: Record<string, number> = {}
  const kernel = { stored, counts, onStore: () => {}, sys: native }
  kernel.sys = new Proxy(native, {
    get(target, name: keyof Native) {
      counts[name] = (counts[name] ?? 0) + 1
      if (name !== 'notify') return target[name]
      return (_device: number, code: number, body: number, length: number) => {
        if (code !== FUSE_NOTIFY_STORE) return 0
        const w = body >> 2
        const bytes = Buffer.from(arena.bytes.slice(body + 24, body + length)).toString('latin1')
        t.equal(arena.u32[w + 4], length - 24, 'says how long it is')
        stored.push({ node: arena.u32[w]!, offset: arena.u32[w + 2]!, bytes })
        kernel.onStore()
        return answer
      }
    },
  })
  return kernel
}

const openFds = () => readdirSync('/proc/self/fd').length

t.test('the first open stores the bytes, further ones make no system call', { skip }, async (t) => {
  const kernel = fakeKernel()
  const rig = new Rig(makeFolders([{ f: 'some bytes' }]), { sys: kernel.sys })
  const f = rig.node('f')
  const fds = openFds()
  const first = rig.openNode(f)
  t.equal(rig.fs.opened.handle, LIGHT_HANDLE)
  t.equal(rig.fs.opened.flags & KEEP_CACHE, KEEP_CACHE)
  t.strictSame(kernel.stored, [{ node: f, offset: 0, bytes: 'some bytes' }])
  t.equal(openFds(), fds, 'nothing stays open')
  for (const name of Object.keys(kernel.counts)) delete kernel.counts[name]
  const second = rig.openNode(f)
  t.equal(rig.release(first), 0)
  const third = rig.openNode(f)
  t.strictSame(kernel.counts, {})
  t.equal(rig.readHandle(third), 'some bytes')
  for (const file of [second, third]) t.equal(rig.release(file), 0)
  t.equal(rig.fs.release(f, LIGHT_HANDLE), -EBADF, 'none is left')
  t.strictSame(rig.problemsAtRest(), [])
  rig.end()
})

t.test(
  'reading goes to the copy once there is one, writing by such a handle is refused',
  { skip },
  async (t) => {
    const kernel = fakeKernel()
    const rig = new Rig(makeFolders([{ f: 'lower' }]), { sys: kernel.sys })
    const reader = rig.open('f')
    t.equal(rig.writeHandle(reader, 'x'), -EBADF)
    const writer = rig.open('f', 2)
    t.equal(rig.writeHandle(writer, 'UP'), 2)
    t.equal(rig.readHandle(reader), 'UPwer')
    const late = rig.open('f')
    t.not(rig.fs.opened.handle, LIGHT_HANDLE, 'a file of the upper has a handle')
    t.equal(rig.readHandle(late), 'UPwer')
    t.equal(kernel.stored.length, 1)
    t.strictSame(rig.problems(), [])
    t.strictSame(rig.problemsAtRest(), [])
    rig.end()
  },
)

t.test('an open one that was removed and forgotten can be read until it is closed', { skip }, async (t) => {
  const rig = new Rig(makeFolders([{ d: { f: 'bytes' } }]), { sys: fakeKernel().sys })
  const f = rig.node('d/f')
  const reader = rig.openNode(f)
  t.equal(rig.unlink('d/f'), 0)
  t.equal(rig.readHandle(reader), 'bytes')
  rig.forgetAll()
  t.strictSame(rig.problems(), [], 'the record waits for the handle')
  t.equal(rig.release(reader), 0)
  t.strictSame(rig.problemsAtRest(), [])
  rig.end()
})

t.test(
  'larger files are not stored, empty ones neither, and the largest have handles',
  { skip },
  async (t) => {
    const kernel = fakeKernel()
    const tree = { empty: '', middle: 'm'.repeat(40_000), big: 'b'.repeat(200_000) }
    const rig = new Rig(makeFolders([tree]), { sys: kernel.sys })
    for (const [name, isLight] of [
      ['empty', true],
      ['middle', true],
      ['big', false],
    ] as const) {
      const file = rig.open(name)
      t.equal(rig.fs.opened.handle === LIGHT_HANDLE, isLight, name)
      t.equal(rig.readHandle(file, 262_144).length, tree[name].length)
      rig.release(file)
    }
    t.strictSame(kernel.stored, [])
    t.strictSame(rig.problemsAtRest(), [])
    rig.end()
  },
)

t.test('the bytes of a file that is being copied up are not stored', { skip }, async (t) => {
  const kernel = fakeKernel()
  const rig = new Rig(makeFolders([{ f: 'bytes' }]), { sys: kernel.sys })
  const f = rig.node('f')
  const { nodes } = rig.fs.union.t
  // As while a thread copies: the copy may be in place, and written to, before the store is done.
  nodes[at(f) + N_INFO]! |= F_COPYING
  const reader = rig.openNode(f)
  t.equal(rig.fs.opened.handle, LIGHT_HANDLE)
  t.equal(rig.readHandle(reader), 'bytes')
  t.strictSame(kernel.stored, [])
  nodes[at(f) + N_INFO]! &= ~F_COPYING
  t.strictSame(rig.problemsAtRest(), [])
  rig.end()
})

t.test('a kernel that takes nothing is not offered more', { skip }, async (t) => {
  const kernel = fakeKernel(-ENODEV)
  const rig = new Rig(makeFolders([{ a: 'one', b: 'two' }]), { sys: kernel.sys })
  t.equal(rig.read('a'), 'one')
  t.equal(rig.read('b'), 'two')
  t.equal(kernel.stored.length, 1)
  rig.end()
})

for (const [title, step] of [
  ['a copy-up', { verb: 'chmod', mode: 0o600 }],
  ['another open', { verb: 'open', flags: 0 }],
  ['an open that may write', { verb: 'open', flags: 2 }],
] as const) {
  t.test(`${title} waits until the bytes are stored`, { skip }, async (t) => {
    const kernel = fakeKernel()
    const rig = new Rig(makeFolders([{ f: 'bytes' }]), { sys: kernel.sys, workers: 2 })
    const peer = new Peer(rig.state)
    const f = rig.node('f')
    let isStored = false
    let sawStored: boolean | undefined
    kernel.onStore = () => {
      peer.start({ ...step, node: f })
      sawStored = peer.hasEnded
      isStored = true
    }
    const reader = rig.openNode(f)
    t.equal(isStored, true)
    t.equal(sawStored, false, 'not while it goes on')
    const r = peer.join()
    t.ok(r >= 0, `${r}`)
    if (step.verb === 'open') t.equal(peer.run({ verb: 'release', node: f, handle: r }), 0)
    t.equal(rig.readHandle(reader), 'bytes')
    rig.release(reader)
    await peer.end()
    t.strictSame(rig.problemsAtRest(), [])
    rig.end()
  })
}
