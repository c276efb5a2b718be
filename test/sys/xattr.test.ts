// Extended attributes of names, fds, O_PATH fds and symbolic links, on this kernel and an older one.

import { symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { E2BIG, EBADF, EEXIST, EFAULT, ENODATA, ENOENT, ERANGE } from '../../src/base/errno.js'
import { native } from '../../src/sys/native.js'
import { BEYOND, isRoot, O_PATH, O_RDONLY, OUTPUT, output, ref, ref2, sandbox, value } from './sandbox.js'

const { path, fd } = sandbox()
// Links carry no user. attributes; trusted. ones need root.
const space = isRoot ? 'trusted.' : 'user.'
const name = `${space}mica.test`

const set = (at: number, path: number, text: string, flags = 0) =>
  native.setXattrAt(at, path, ref2(name), value(Buffer.from(text)), text.length, flags)
const get = (at: number, path: number) => {
  const length = native.getXattrAt(at, path, ref2(name), OUTPUT, 100)
  return length < 0 ? length : output(length).toString()
}

for (const isLimited of [0, 1]) {
  t.test(isLimited ? 'on an older kernel' : 'on this kernel', async (t) => {
    native.limitKernelCalls(isLimited)
    t.teardown(() => native.limitKernelCalls(0))
    const file = `file${isLimited}`
    const link = `link${isLimited}`
    writeFileSync(join(path, file), '')
    symlinkSync(file, join(path, link))

    t.test('a name has attributes', async (t) => {
      t.equal(get(fd, ref(file)), -ENODATA)
      t.equal(set(fd, ref(file), 'one', 1), 0)
      t.equal(set(fd, ref(file), 'two', 1), -EEXIST, 'XATTR_CREATE')
      t.equal(get(fd, ref(file)), 'one')
      t.equal(native.getXattrAt(fd, ref(file), ref2(name), 0, 0), 3, 'capacity 0 asks for the size')
      t.equal(native.getXattrAt(fd, ref(file), ref2(name), OUTPUT, 2), -ERANGE)
      t.equal(get(fd, ref('none')), -ENOENT)
    })

    t.test('a list is names with a NUL behind each', async (t) => {
      const length = native.listXattrAt(fd, ref(file), OUTPUT, 4096)
      t.ok(output(length).toString().split('\0').includes(name))
      t.equal(native.listXattrAt(fd, ref(file), 0, 0), length)
    })

    t.test('an O_PATH fd and an open fd have the same attributes as the name', async (t) => {
      for (const flags of [O_PATH, O_RDONLY]) {
        const opened = native.openAt(fd, ref(file), flags)
        t.equal(set(opened, 0, `by fd ${flags}`), 0)
        t.equal(get(fd, ref(file)), `by fd ${flags}`)
        t.equal(get(opened, 0), `by fd ${flags}`)
        t.ok(native.listXattrAt(opened, 0, OUTPUT, 4096) > name.length)
        native.close(opened)
      }
    })

    t.test('an unlinked file keeps them', async (t) => {
      writeFileSync(join(path, 'unlinked'), '')
      const opened = native.openAt(fd, ref('unlinked'), O_PATH)
      unlinkSync(join(path, 'unlinked'))
      t.equal(set(opened, 0, 'still'), 0)
      t.equal(get(opened, 0), 'still')
      native.close(opened)
    })

    t.test('a symbolic link has its own', { skip: isRoot ? false : 'needs root' }, async (t) => {
      t.equal(set(fd, ref(link), 'of the link'), 0)
      t.equal(get(fd, ref(link)), 'of the link')
      t.not(get(fd, ref(file)), 'of the link')
      const pinned = native.openAt(fd, ref(link), O_PATH)
      t.equal(get(pinned, 0), 'of the link')
      t.equal(native.removeXattrAt(pinned, 0, ref2(name)), 0)
      t.equal(get(fd, ref(link)), -ENODATA)
      native.close(pinned)
    })

    t.test('errors stay errors', async (t) => {
      t.equal(native.removeXattrAt(fd, ref(file), ref2(name)), 0)
      t.equal(native.removeXattrAt(fd, ref(file), ref2(name)), -ENODATA)
      t.equal(get(54321, 0), -EBADF)
      t.equal(get(54321, ref(file)), -EBADF)
      t.equal(native.setXattrAt(fd, ref(file), ref2(name), OUTPUT, 65537, 0), -E2BIG)
      t.equal(native.getXattrAt(fd, ref(file), ref2(name), BEYOND, 100), -EFAULT)
    })
  })
}
