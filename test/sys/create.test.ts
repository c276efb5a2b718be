// Making: owner, umask, setgid directories and default ACLs as if the caller had made it.

import { spawnSync } from 'node:child_process'
import { chmodSync, chownSync, copyFileSync, mkdirSync, readlinkSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { EEXIST } from '../../src/base/errno.js'
import { native } from '../../src/sys/native.js'
import {
  built,
  look,
  needsRoot,
  O_DIRECTORY,
  O_EXCL,
  O_RDONLY,
  O_RDWR,
  ref,
  ref2,
  ref3,
  sandbox,
  value,
} from './sandbox.js'

const { path, fd } = sandbox()
const bits = (name: string) => look(fd, name).mode & 0o7777

function directory(name: string, mode: number, uid = 0, gid = 0): number {
  mkdirSync(join(path, name))
  if (process.getuid?.() === 0) chownSync(join(path, name), uid, gid)
  chmodSync(join(path, name), mode)
  return native.openPath(Buffer.from(join(path, name)), O_RDONLY | O_DIRECTORY, 0)
}

/** posix_acl_xattr: user::rwx user:1000:rwx group::rwx mask::rwx other::r-x. */
function acl(): Buffer {
  const entries: [tag: number, perm: number, id: number][] = [
    [1, 7, 0xffffffff],
    [2, 7, 1000],
    [4, 7, 0xffffffff],
    [16, 7, 0xffffffff],
    [32, 5, 0xffffffff],
  ]
  const bytes = Buffer.alloc(4 + entries.length * 8)
  bytes.writeUInt32LE(2, 0)
  entries.forEach(([tag, perm, id], i) => {
    bytes.writeUInt16LE(tag, 4 + i * 8)
    bytes.writeUInt16LE(perm, 6 + i * 8)
    bytes.writeUInt32LE(id, 8 + i * 8)
  })
  return bytes
}

t.test('the mode is what the umask leaves of it', async (t) => {
  const table: [mode: number, umask: number, result: number][] = [
    [0o666, 0o022, 0o644],
    [0o777, 0o077, 0o700],
    [0o666, 0, 0o666],
    [0o4755, 0o022, 0o4755],
    [0o666, 0o777, 0],
  ]
  for (const [i, [mode, umask, result]] of table.entries()) {
    const file = native.createAt(fd, ref(`file${i}`), O_RDWR | O_EXCL, mode, -1, -1, umask)
    t.ok(file > 0)
    native.close(file)
    t.equal(bits(`file${i}`), result)
  }
  t.equal(native.mkdirAt(fd, ref('dir'), 0o1777, -1, -1, 0o027), 0)
  t.equal(bits('dir'), 0o1750)
  t.equal(native.createAt(fd, ref('file0'), O_RDWR | O_EXCL, 0o666, -1, -1, 0), -EEXIST)
})

t.test('every kind of file gets the given owner', { skip: needsRoot }, async (t) => {
  const file = native.createAt(fd, ref('u-file'), O_RDWR | O_EXCL, 0o640, 1234, 5678, 0o022)
  t.ok(file > 0)
  native.close(file)
  t.equal(native.mkdirAt(fd, ref('u-dir'), 0o755, 1234, 5678, 0), 0)
  t.equal(native.mknodAt(fd, ref('u-fifo'), 0o010644, 0, 1234, 5678, 0), 0)
  t.equal(native.mknodAt(fd, ref('u-null'), 0o020666, 0x103, 1234, 5678, 0), 0)
  t.equal(native.mknodAt(fd, ref('u-whiteout'), 0o020000, 0, 1234, 5678, 0), 0)
  t.equal(native.symlinkAt(ref2('somewhere'), fd, ref('u-link'), 1234, 5678), 0)
  for (const name of ['u-file', 'u-dir', 'u-fifo', 'u-null', 'u-whiteout', 'u-link']) {
    const { uid, gid } = look(fd, name)
    t.same([uid, gid], [1234, 5678], name)
  }
  t.equal(look(fd, 'u-null').rdev, 0x103)
  t.equal(readlinkSync(join(path, 'u-link')), 'somewhere')
  const own = native.createAt(fd, ref('mine'), O_RDWR | O_EXCL, 0o600, 0, 0, 0o022)
  native.close(own)
  t.equal(look(fd, 'mine').uid, 0, 'and the thread is itself again')
})

t.test(
  'permissions were decided above: a closed directory is no obstacle',
  { skip: needsRoot },
  async (t) => {
    const dir = directory('closed', 0o000, 4321, 4321)
    for (let i = 0; i < 2; i++) {
      const file = native.createAt(dir, ref(`x${i}`), O_RDWR | O_EXCL, 0o600, 1234 + i, 1234, 0)
      t.ok(file > 0, `${file}`)
      native.close(file)
    }
    t.equal(native.unlinkAt(dir, ref('x0'), 0), 0)
    native.close(dir)
  },
)

t.test('a setgid directory gives its group', { skip: needsRoot }, async (t) => {
  const dir = directory('setgid', 0o2777, 0, 777)
  native.close(native.createAt(dir, ref('file'), O_RDWR | O_EXCL, 0o644, 1234, 5678, 0))
  native.mkdirAt(dir, ref('dir'), 0o755, 1234, 5678, 0)
  t.same([look(dir, 'file').uid, look(dir, 'file').gid], [1234, 777])
  t.equal(look(dir, 'dir').mode & 0o7777, 0o2755)
  native.close(dir)
})

t.test('a default ACL takes the place of the umask', async (t) => {
  const dir = directory('acl', 0o755)
  const bytes = acl()
  const set = native.setXattrAt(dir, 0, ref3('system.posix_acl_default'), value(bytes), bytes.length, 0)
  if (set === -95) return t.pass('not run', { skip: 'the file system has no ACLs' })
  t.equal(set, 0)
  const file = native.createAt(dir, ref('file'), O_RDWR | O_EXCL, 0o666, -1, -1, 0o077)
  native.close(file)
  t.equal(look(dir, 'file').mode & 0o7777, 0o664)
  native.close(dir)
})

t.test('a temporary file has no name until it is linked', async (t) => {
  const file = native.tmpfileAt(fd, O_RDWR, 0o640, -1, -1, 0o022)
  t.ok(file > 0)
  t.equal(native.write(file, 0, 3, ref('abc')), 3)
  t.equal(native.linkAt(file, 0, fd, ref('linked')), 0)
  native.close(file)
  t.equal(look(fd, 'linked').size, 3)
  t.equal(bits('linked'), 0o640)
})

t.test('without the right to switch ids files are made as ourselves', { skip: needsRoot }, async (t) => {
  const dir = directory('ours', 0o777, 1000, 1000)
  native.close(dir)
  const addon = join(path, 'addon.node')
  copyFileSync(built('mica.node'), addon)
  const script = `
    const n = require(${JSON.stringify(addon)})
    const a = new Uint8Array(65536)
    n.attach(a, new Uint8Array(8))
    const put = (at, s) => (a.set(Buffer.from(s + '\\0'), at), at)
    const d = n.openPath(Buffer.from(${JSON.stringify(join(path, 'ours'))}), ${O_DIRECTORY}, 0)
    const r = [n.createAt(d, put(64, 'f'), 0o202, 0o4666, 4242, 4242, 0o022), n.mkdirAt(d, put(64, 'd'), 0o777, 0, 0, 0o002),
      n.symlinkAt(put(128, 'to'), d, put(64, 'l'), 0, 0)]
    process.exit(r[0] > 0 && r[1] === 0 && r[2] === 0 ? 0 : 1)`
  chmodSync(path, 0o755)
  // `env -i`: the test runner puts loaders into every child's environment.
  const run = spawnSync('env', ['-i', process.execPath, '-e', script], {
    uid: 1000,
    gid: 1000,
    encoding: 'utf8',
  })
  if (run.status === 126) return t.pass('not run', { skip: 'uid 1000 may not run this node' })
  t.equal(run.status, 0, run.stderr)
  const file = statSync(join(path, 'ours/f'))
  t.same([file.uid, file.gid, file.mode & 0o7777], [1000, 1000, 0o4644])
  t.equal(statSync(join(path, 'ours/d')).mode & 0o777, 0o775)
})
