// A worker's cache of directory fds: what it keeps, gives and closes, and when.

import t from 'tap'
import { type Native, native } from '../../src/sys/native.js'
import { DirFds } from '../../src/union/dir-fds.js'

function fixture(max: number) {
  const closed: number[] = []
  const close = (fd: number) => closed.push(fd)
  const sys: Native = new Proxy(native, {
    get: (target, name: string) => (name === 'close' ? close : target[name as keyof Native]),
  })
  return { closed, fds: new DirFds(sys, max) }
}

t.test('an fd belongs to a node, a layer and a generation', async (t) => {
  const { closed, fds } = fixture(64)
  fds.set(2, 0, 7, 10)
  fds.set(2, 1, 7, 11)
  t.equal(fds.get(2, 0, 7), 10)
  t.equal(fds.get(2, 1, 7), 11)
  t.equal(fds.get(2, 2, 7), -1)
  t.equal(fds.get(3, 0, 7), -1)
  t.equal(fds.get(2, 0, 8), -1, 'the node number was given to another directory')
  t.equal(fds.get(2, 0, 7), -1, 'and the old fd is let go')
  fds.close()
  t.strictSame(closed.sort(), [10, 11])
})

t.test('what falls out is closed later, oldest first', async (t) => {
  const { closed, fds } = fixture(64)
  for (let i = 0; i < 64 + 2048; i++) fds.set(i + 2, 0, 1, 1000 + i)
  t.strictSame(closed, [], 'the running request may hold any of them')
  fds.set(9999, 0, 1, 5000)
  t.equal(closed.length, 1024)
  t.equal(closed[0], 1000)
  t.equal(new Set(closed).size, 1024)
  fds.close()
  t.equal(new Set(closed).size, 64 + 2048 + 1)
  t.equal(closed.length, 64 + 2048 + 1)
})

t.test('out of fds, nothing that was used lately is closed', async (t) => {
  const { closed, fds } = fixture(8192)
  for (let i = 0; i < 10; i++) fds.set(i + 2, 0, 1, 100 + i)
  fds.drop(2, 0)
  fds.shrink()
  t.strictSame(closed, [], 'a request holds them perhaps')
  for (let i = 0; i < 8000; i++) fds.set(i + 100, 0, 1, 1000 + i)
  fds.shrink()
  t.ok(closed.length >= 3900, `${closed.length} are closed`)
  t.ok(closed.includes(100))
  t.notOk(
    closed.some((fd) => fd > 5000),
    'the last 4,000 are not',
  )
  t.equal(fds.get(8099, 0, 1), 8999)
  fds.close()
  t.equal(new Set(closed).size, 8010)
  t.equal(closed.length, 8010)
})
