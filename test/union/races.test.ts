// Two workers on one union, one interrupted at a chosen place by a request of the other.

import { readlinkSync } from 'node:fs'
import t from 'tap'
import { IN, OUT } from '../../src/vfs/arena.js'
import { NO_HANDLE } from '../../src/vfs/file-system.js'
import { file, link, type Tree } from './disk.js'
import { Faults } from './faults.js'
import { Peer } from './peer.js'
import { makeFolders, NAME, Rig, ROOT } from './rig.js'

const ESTALE = 116
const skip = process.getuid?.() !== 0 && 'needs root'

/**
 * Runs `interrupt` once, right before the union takes its lock or gives it back for the n-th time.
 * Returns the end of that.
 */
function atLock(rig: Rig, n: number, interrupt: () => void): () => void {
  const { t: tables } = rig.fs.union
  const lock = tables.lock.bind(tables)
  const unlock = tables.unlock.bind(tables)
  let count = 0
  tables.lock = () => {
    if (++count === n) interrupt()
    lock()
  }
  tables.unlock = () => {
    unlock()
    if (++count === n) interrupt()
  }
  return () => Object.assign(tables, { lock, unlock })
}

t.test(
  'a name looked up while its file is put in place is not confused with the copy’s',
  { skip },
  async (t) => {
    const tree: Tree = { d1: { a: file('twin') }, d2: { b: link('d1/a') } }
    // The moment is one of many: all are tried.
    for (let n = 1; n < 120; n++) {
      const rig = new Rig(makeFolders([tree]))
      const peer = new Peer(rig.state)
      const d2 = rig.node('d2')
      const a = rig.node('d1/a')
      let isStarted = false
      const end = atLock(rig, n, () => {
        isStarted = true
        peer.start({ verb: 'lookup', node: d2, name: 'b' })
      })
      t.equal(rig.chmodNode(a, 0o600), 0)
      end()
      const b = isStarted ? peer.join() : 0
      if (isStarted) t.equal(b, a, `moment ${n}`)
      if (b > 0) peer.run({ verb: 'forget', node: b })
      t.strictSame([...rig.names('d1'), ...rig.names('d2')], ['a', 'b'], `moment ${n}`)
      t.equal(rig.stat('d2/b').mode & 0o777, 0o600)
      t.equal(rig.stat('d2/b').ino, rig.stat('d1/a').ino)
      t.strictSame(rig.problemsAtRest(), [])
      await peer.end()
      rig.end()
      if (!isStarted) break
    }
  },
)

const finders: [string, (rig: Rig, d2: number) => number][] = [
  ['a lookup', (rig, d2) => rig.lookup(d2, 'b')],
  ['READDIRPLUS', (rig) => rig.readdirplus('d2').find(({ name }) => name === 'b')!.node],
]
for (const [title, look] of finders) {
  t.test(`${title} finds a file that is being copied up by another name`, { skip }, async (t) => {
    const tree: Tree = { d1: { a: file('twin') }, d2: { b: link('d1/a') } }
    for (let n = 1; n < 120; n++) {
      const rig = new Rig(makeFolders([tree]))
      const peer = new Peer(rig.state)
      const d2 = rig.node('d2')
      const a = rig.node('d1/a')
      let isStarted = false
      const end = atLock(rig, n, () => {
        isStarted = true
        peer.start({ verb: 'chmod', node: a, mode: 0o600 })
      })
      const b = look(rig, d2)
      end()
      if (isStarted) t.equal(peer.join(), 0)
      else t.equal(rig.chmodNode(a, 0o600), 0)
      if (b !== 0) t.equal(b, a, `moment ${n}`)
      t.equal(rig.node('d2/b'), a)
      t.equal(rig.attrOf(a).mode & 0o777, 0o600)
      t.strictSame(rig.problemsAtRest(), [])
      await peer.end()
      rig.end()
      if (!isStarted) break
    }
  })
}

t.test('a file copied up while it is about to be removed is removed', { skip }, async (t) => {
  for (let n = 1; n < 120; n++) {
    const rig = new Rig(makeFolders([{ f: 'lower', g: 'other' }]))
    const peer = new Peer(rig.state)
    const f = rig.node('f')
    let isStarted = false
    const end = atLock(rig, n, () => {
      isStarted = true
      // An open that may write copies up; the kernel holds no lock for it.
      peer.start({ verb: 'open', node: f, flags: 2 })
    })
    t.equal(rig.fs.unlink(ROOT, NAME, rig.put(NAME, 'f')), 0, `moment ${n}`)
    end()
    const r = isStarted ? peer.join() : -1
    if (r >= 0) peer.run({ verb: 'release', node: f, handle: r })
    t.strictSame(rig.names(''), ['g'])
    t.strictSame(rig.problemsAtRest(), [])
    await peer.end()
    rig.end()
    const again = new Rig(rig.folders)
    t.strictSame(again.names(''), ['g'], 'also after a remount')
    again.end()
    if (!isStarted) break
  }
})

t.test(
  'flags are those of the file that was asked for, also when it is removed meanwhile',
  { skip },
  async (t) => {
    const FS_IOC_GETFLAGS = 0x80086601
    const faults = new Faults()
    const rig = new Rig(makeFolders([{}], { f: 'upper' }), { sys: faults.sys })
    const peer = new Peer(rig.state)
    const f = rig.node('f')
    const ask = () => rig.fs.ioctl(f, NO_HANDLE, FS_IOC_GETFLAGS, IN, 0, OUT, 8)
    const before = ask()
    let isDone = false
    faults.before = (name) => {
      if (name !== 'openAt' || isDone) return
      isDone = true
      t.equal(peer.run({ verb: 'unlink', node: ROOT, name: 'f' }), 0)
    }
    t.equal(ask(), before)
    t.ok(isDone)
    t.strictSame(rig.problemsAtRest(), [])
    await peer.end()
    rig.end()
  },
)

t.test('a lower opened while it is copied up is not given to the kernel', { skip }, async (t) => {
  for (let n = 1; n < 80; n++) {
    const faults = new Faults()
    const backings = new Map<number, string>()
    let serial = 0
    const rig = new Rig(makeFolders([{ f: 'lower' }]), {
      ...{ sys: faults.sys, dataMode: 'passthrough', passthroughMin: 1 },
    })
    faults.before = (name, args) => {
      if (name === 'backingOpen') {
        backings.set(++serial, readOf(rig, args[1]!))
        return serial
      }
      return name === 'backingClose' ? 0 : undefined
    }
    const peer = new Peer(rig.state)
    const f = rig.node('f')
    let isStarted = false
    const end = atLock(rig, n, () => {
      isStarted = true
      peer.start({ verb: 'chmod', node: f, mode: 0o600 })
    })
    const reader = rig.openNode(f)
    end()
    t.ok(reader > 0, `moment ${n}`)
    if (isStarted) t.equal(peer.join(), 0)
    let writer = rig.open('f', 2)
    // The kernel looks the name up again, and finds the node that took over.
    if (writer === -ESTALE) writer = rig.open('f', 2)
    t.ok(writer > 0, `errno ${-writer}`)
    t.equal(backings.get(rig.fs.opened.backingId), 'upper', 'the writer has the upper')
    rig.release(writer)
    t.strictSame(rig.problemsAtRest(), [])
    faults.before = undefined
    await peer.end()
    rig.end()
    if (!isStarted) break
  }
})

/** Tells in which layer the file behind an fd is. */
function readOf(rig: Rig, fd: number): string {
  const path = readlinkSync(`/proc/self/fd/${fd}`)
  return path.startsWith(rig.folders.upper!) || path.startsWith(rig.folders.work) ? 'upper' : 'lower'
}

t.test('a listing made during a copy-up does not lead back to the lower', { skip }, async (t) => {
  const faults = new Faults()
  const rig = new Rig(makeFolders([{ d: { f: 'lower' } }]), { sys: faults.sys })
  const peer = new Peer(rig.state)
  const f = rig.node('d/f')
  let isDone = false
  faults.after = (name) => {
    if (name !== 'listDirectory' || isDone) return
    isDone = true
    t.equal(peer.run({ verb: 'chmod', node: f, mode: 0o600 }), 0)
  }
  const d = rig.node('d')
  rig.readdirPart(d, 0)
  t.ok(isDone)
  rig.fs.forget(f, rig.held.get(f)!)
  rig.held.delete(f)
  rig.readdirplus('d')
  t.equal(rig.stat('d/f').mode & 0o777, 0o600)
  t.strictSame(rig.problemsAtRest(), [])
  await peer.end()
  rig.end()
})
