// Mounting through the helper, and making files where ids have no mapping.

import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { EBADF, EINVAL, ENOENT, ENOTDIR, EPERM } from '../../src/base/errno.js'
import { native } from '../../src/sys/native.js'
import { built, needsRoot, O_DIRECTORY, sandbox } from './sandbox.js'

const { path } = sandbox()

t.test('a helper that is not there is ENOENT without words', async (t) => {
  t.equal(native.fusermount('mica-no-such-helper', '', Buffer.from(path)), -ENOENT)
  t.equal(native.lastMessage(), '')
})

const hasHelper = spawnSync('fusermount3', ['-V']).status === 0

t.test(
  'fusermount3 gives the device, or its words',
  { skip: hasHelper ? needsRoot : 'no fusermount3' },
  async (t) => {
    const target = join(path, 'mnt')
    t.equal(native.fusermount('fusermount3', 'fsname=mica', Buffer.from(target)), -EPERM)
    t.match(native.lastMessage(), /^fusermount3: .*No such file or directory$/)
    mkdirSync(target)
    const before = readdirSync('/proc/self/fd').length
    const device = native.fusermount('fusermount3', 'fsname=mica,subtype=mica', Buffer.from(target))
    t.ok(device >= 0, native.lastMessage())
    t.match(readFileSync('/proc/self/mounts', 'utf8'), `mica ${target} fuse.mica`)
    t.equal(native.umount(Buffer.from(target), 2), 0)
    t.equal(native.close(device), 0)
    t.equal(readdirSync('/proc/self/fd').length, before, 'no fd is left open')
    t.notOk(readFileSync('/proc/self/mounts', 'utf8').includes(target))
  },
)

t.test('mount and umount pass errors through', async (t) => {
  t.equal(native.umount(Buffer.from(path), 0), process.getuid?.() === 0 ? -EINVAL : -EPERM)
  const mounted = native.mount('x', Buffer.from('/dev/null'), 'tmpfs', 0, '')
  t.equal(mounted, process.getuid?.() === 0 ? -ENOTDIR : -EPERM)
  t.equal(native.backingOpen(54321, 0, 1), -EBADF)
  t.ok(native.cloneDevice(54321) < 0)
})

t.test('a user namespace with one id makes every file as that id', async (t) => {
  const target = join(path, 'ours')
  mkdirSync(target)
  chmodSync(target, 0o777)
  const script = `
    const n = require(${JSON.stringify(built('mica.node'))})
    const a = new Uint8Array(65536)
    n.attach(a, new Uint8Array(8))
    const put = (at, s) => (a.set(Buffer.from(s + '\\0'), at), at)
    const d = n.openPath(Buffer.from(${JSON.stringify(target)}), ${O_DIRECTORY}, 0)
    console.log(JSON.stringify([n.createAt(d, put(64, 'f'), 0o202, 0o4644, 1000, 1000, 0o022) > 0,
      n.mkdirAt(d, put(64, 'd'), 0o755, 0, 0, 0), n.mknodAt(d, put(64, 'w'), 0o020000, 0, 5, 5, 0),
      n.symlinkAt(put(128, 't'), d, put(64, 'l'), 77, 0)]))`
  // `env -i`: the test runner puts loaders into every child's environment.
  const command = ['-Ur', 'env', '-i', process.execPath, '-e', script]
  const run = spawnSync('unshare', command, { encoding: 'utf8' })
  if (run.status !== 0) return t.pass('not run', { skip: `no user namespaces: ${run.stderr}` })
  const results = JSON.parse(run.stdout)
  t.same([results[0], results[1], results[3]], [true, 0, 0])
  t.ok(results[2] === 0 || results[2] === -EPERM, 'a whiteout device is the kernel’s decision')
  const file = statSync(join(target, 'f'))
  t.same([file.uid, file.mode & 0o7777], [process.getuid!(), 0o4644])
})

t.test('limits, names and CPUs of the process', async (t) => {
  const limit = native.raiseFileLimit()
  t.ok(limit > 0)
  t.match(readFileSync('/proc/self/limits', 'utf8'), new RegExp(`Max open files +${limit} `))
  const allowed = () =>
    /Cpus_allowed_list:\s*(\S+)/.exec(readFileSync('/proc/thread-self/status', 'utf8'))![1]
  const before = allowed()
  const cpu = Number.parseInt(before!, 10)
  t.equal(native.pinToCpu(cpu), 0)
  t.equal(allowed(), `${cpu}`)
  t.equal(native.pinToCpu(-1), 0)
  t.equal(allowed(), before)
  t.equal(native.pinToCpu(100000), -EINVAL)
  t.equal(native.setThreadName('mica-test'), 0)
  t.equal(readFileSync('/proc/thread-self/comm', 'utf8'), 'mica-test\n')
})
