// Opening never leaves its directory; fds can be reopened and replaced.

import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { EBADF, ELOOP, ENOENT, ENOTDIR, EXDEV } from '../../src/base/errno.js'
import { native } from '../../src/sys/native.js'
import { O_DIRECTORY, O_PATH, O_RDONLY, O_RDWR, OUTPUT, output, ref, sandbox } from './sandbox.js'

const { path, fd } = sandbox()
mkdirSync(join(path, 'a/b'), { recursive: true })
writeFileSync(join(path, 'a/b/file'), 'deep')
symlinkSync('a', join(path, 'link'))
symlinkSync('/etc/passwd', join(path, 'a/out'))

for (const isLimited of [0, 1]) {
  t.test(`openAt keeps inside its directory${isLimited ? ' on an older kernel' : ''}`, async (t) => {
    native.limitKernelCalls(isLimited)
    t.teardown(() => native.limitKernelCalls(0))
    const table: [name: string, results: number[]][] = [
      ['link', [-ELOOP]],
      // An older kernel sees a link where a directory is needed.
      ['link/b/file', [-ELOOP, -ENOTDIR]],
      ['a/out', [-ELOOP]],
      ['..', [-EXDEV]],
      ['a/../../..', [-EXDEV]],
      ['/etc/passwd', [-EXDEV]],
      ['a/none', [-ENOENT]],
      ['a/b/file/x', [-ENOTDIR]],
    ]
    for (const [name, results] of table) {
      const result = native.openAt(fd, ref(name), O_RDONLY)
      t.ok(results.includes(result), `${name}: ${result}`)
    }
    const file = native.openAt(fd, ref('a//b/file'), O_RDONLY)
    t.ok(file > 0)
    t.equal(native.close(file), 0)
  })
}

t.test('openAt opens paths of several components and links as O_PATH', async (t) => {
  const file = native.openAt(fd, ref('a/b/file'), O_RDONLY)
  t.equal(native.read(file, 0, 100, OUTPUT), 4)
  t.equal(output(4).toString(), 'deep')
  const link = native.openAt(fd, ref('link'), O_PATH)
  t.ok(link > 0)
  t.equal(native.readlinkAt(link, 0, OUTPUT, 100), 1)
  // FMODE_EXEC, which the kernel puts into the flags of an open for execution.
  const executed = native.openAt(fd, ref('a/b/file'), O_RDONLY | 0x20)
  t.ok(executed > 0)
  for (const each of [file, link, executed]) t.equal(native.close(each), 0)
  t.equal(native.close(file), -EBADF)
})

t.test('ref 0 reopens what an fd is', async (t) => {
  const pinned = native.openAt(fd, ref('a/b/file'), O_PATH)
  const file = native.openAt(pinned, 0, O_RDWR)
  t.equal(native.write(file, 4, 5, ref(' more')), 5)
  t.equal(readFileSync(join(path, 'a/b/file'), 'utf8'), 'deep more')
  const dir = native.openAt(fd, 0, O_RDONLY | O_DIRECTORY)
  t.ok(native.getdents(dir, OUTPUT, 4096) > 0)
  t.equal(native.openAt(54321, 0, O_RDONLY), -EBADF)
  for (const each of [pinned, file, dir]) native.close(each)
})

t.test('replaceFd puts another file behind a number', async (t) => {
  writeFileSync(join(path, 'other'), 'OTHER')
  const old = native.openAt(fd, ref('a/b/file'), O_RDONLY)
  const next = native.openAt(fd, ref('other'), O_RDWR)
  t.equal(native.replaceFd(next, old), old)
  native.close(next)
  t.equal(native.read(old, 0, 100, OUTPUT), 5)
  t.equal(native.getFl(old) & 3, O_RDWR)
  t.equal(native.setFl(old, 0o2000), 0)
  t.ok(native.getFl(old) & 0o2000)
  native.close(old)
})

t.test('openPath takes bytes and follows links', async (t) => {
  const etc = native.openPath(Buffer.from(join(path, 'a/out')), O_RDONLY, 0)
  t.ok(etc > 0)
  native.close(etc)
  t.equal(native.openPath(Buffer.from('a\0b'), O_RDONLY, 0), -ENOENT)
})
