// Changing: links, renames, modes, owners and times, of names, links and O_PATH fds.

import { linkSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { EBADF, EEXIST, EFAULT, ENOENT, ENOTEMPTY, EOPNOTSUPP } from '../../src/base/errno.js'
import { native } from '../../src/sys/native.js'
import {
  AT_REMOVEDIR,
  arena,
  look,
  needsRoot,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  OUTPUT,
  ref,
  ref2,
  sandbox,
} from './sandbox.js'

const { path, fd } = sandbox()
const file = (name: string, text = name) => writeFileSync(join(path, name), text)

t.test('renameAt replaces, refuses to replace, and exchanges', async (t) => {
  file('a')
  file('b')
  t.equal(native.renameAt(fd, ref('a'), fd, ref2('b'), 1), -EEXIST)
  t.equal(native.renameAt(fd, ref('a'), fd, ref2('b'), 2), 0)
  t.equal(readFileSync(join(path, 'a'), 'utf8'), 'b')
  t.equal(native.renameAt(fd, ref('a'), fd, ref2('b'), 0), 0)
  t.equal(native.renameAt(fd, ref('a'), fd, ref2('b'), 0), -ENOENT)
  t.equal(readFileSync(join(path, 'b'), 'utf8'), 'b')
})

t.test('linkAt links names, fds and symbolic links themselves', async (t) => {
  file('target')
  symlinkSync('target', join(path, 'symlink'))
  t.equal(native.linkAt(fd, ref('target'), fd, ref2('hard')), 0)
  t.equal(native.linkAt(fd, ref('symlink'), fd, ref2('hard-symlink')), 0)
  t.equal(look(fd, 'hard-symlink').mode & 0o170000, 0o120000)
  const pinned = native.openAt(fd, ref('target'), O_PATH)
  t.equal(native.linkAt(pinned, 0, fd, ref2('hard2')), 0)
  native.close(pinned)
  t.equal(look(fd, 'target').nlink, 3)
})

t.test('unlinkAt removes files and, asked to, empty directories', async (t) => {
  mkdirSync(join(path, 'dir/sub'), { recursive: true })
  t.equal(native.unlinkAt(fd, ref('dir'), AT_REMOVEDIR), -ENOTEMPTY)
  t.equal(native.unlinkAt(fd, ref('dir/sub'), AT_REMOVEDIR), 0)
  t.equal(native.unlinkAt(fd, ref('dir'), AT_REMOVEDIR), 0)
  file('gone')
  t.equal(native.unlinkAt(fd, ref('gone'), 0), 0)
})

for (const isLimited of [0, 1]) {
  t.test(`chmodAt does not follow links${isLimited ? ' on an older kernel' : ''}`, async (t) => {
    native.limitKernelCalls(isLimited)
    t.teardown(() => native.limitKernelCalls(0))
    const name = `mode${isLimited}`
    file(name)
    symlinkSync(name, join(path, `to-${name}`))
    t.equal(native.chmodAt(fd, ref(name), 0o4711), 0)
    t.equal(look(fd, name).mode & 0o7777, 0o4711)
    t.equal(native.chmodAt(fd, ref(`to-${name}`), 0o600), -EOPNOTSUPP)
    t.equal(look(fd, name).mode & 0o7777, 0o4711, 'the target kept its mode')
    for (const flags of [O_PATH, O_RDONLY]) {
      const opened = native.openAt(fd, ref(name), flags)
      t.equal(native.chmodAt(opened, 0, 0o640 + (flags % 8)), 0)
      t.equal(look(fd, name).mode & 0o7777, 0o640)
      native.close(opened)
    }
    t.equal(native.chmodAt(65432, 0, 0o600), -EBADF)
  })
}

t.test('chownAt changes links themselves and O_PATH fds', { skip: needsRoot }, async (t) => {
  file('owned')
  symlinkSync('owned', join(path, 'owned-link'))
  t.equal(native.chownAt(fd, ref('owned-link'), 11, 22), 0)
  t.same([look(fd, 'owned-link').uid, look(fd, 'owned').uid], [11, 0])
  const pinned = native.openAt(fd, ref('owned'), O_PATH)
  t.equal(native.chownAt(pinned, 0, -1, 33), 0)
  t.same([look(fd, 'owned').uid, look(fd, 'owned').gid], [0, 33])
  t.equal(native.chownAt(pinned, 0, 4294967294, -1), 0, 'ids above 2^31 are ids')
  t.equal(look(fd, 'owned').uid, 4294967294)
  native.close(pinned)
})

t.test('utimensAt sets, omits, and takes the clock', async (t) => {
  file('times')
  symlinkSync('times', join(path, 'times-link'))
  const w = OUTPUT >> 2
  arena.u32.set([0, 0, 0x3ffffffe, 0x80000001, 1, 999_999_999], w)
  t.equal(native.utimensAt(fd, ref('times'), OUTPUT), 0)
  const { mtime, mtimeNs } = look(fd, 'times')
  t.same([mtime, mtimeNs], [0x180000001, 999_999_999], 'seconds have 64 bits')
  arena.u32.set([1, 0, 0, 100, 0, 5], w)
  t.equal(native.utimensAt(fd, ref('times-link'), OUTPUT), 0)
  t.equal(look(fd, 'times-link').mtime, 100)
  t.equal(look(fd, 'times').mtime, 0x180000001, 'the target kept its time')
  const pinned = native.openAt(fd, ref('times'), O_PATH)
  t.equal(native.utimensAt(pinned, 0, OUTPUT), 0)
  t.equal(look(fd, 'times').mtime, 100)
  arena.u32.set([0, 0, 0x3fffffff, 0, 0, 0x3fffffff], w)
  t.equal(native.utimensAt(pinned, 0, OUTPUT), 0)
  t.ok(Math.abs(look(fd, 'times').mtime - Date.now() / 1000) < 5)
  t.equal(native.utimensAt(pinned, 0, arena.bytes.length - 20), -EFAULT)
  native.close(pinned)
})

t.test('a hard link counts, and truncate keeps what it is told', async (t) => {
  file('long', 'x'.repeat(1000))
  linkSync(join(path, 'long'), join(path, 'long2'))
  t.equal(look(fd, 'long').nlink, 2)
  const opened = native.openAt(fd, ref('long'), O_RDWR)
  t.equal(native.truncate(opened, 5_000_000_000), 0)
  t.equal(look(fd, 'long').size, 5_000_000_000)
  native.close(opened)
})
