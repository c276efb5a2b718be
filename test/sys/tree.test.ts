// Removing trees: all of it, only it, however deep.

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { EBUSY, EXDEV } from '../../src/base/errno.js'
import { native } from '../../src/sys/native.js'
import { needsRoot, O_DIRECTORY, O_PATH, ref, sandbox } from './sandbox.js'

const { path, fd } = sandbox()
const open = (name: string) => native.openAt(fd, ref(name), O_PATH | O_DIRECTORY)

t.test('removeTree empties a directory and follows no link', async (t) => {
  mkdirSync(join(path, 'kept'))
  writeFileSync(join(path, 'kept/file'), '')
  mkdirSync(join(path, 'tree/a/b/c'), { recursive: true })
  symlinkSync(join(path, 'kept'), join(path, 'tree/a/link'))
  for (let i = 0; i < 2000; i++) writeFileSync(join(path, `tree/a/file${i}`), '')
  const tree = open('tree')
  t.equal(native.removeTree(tree), 0)
  t.same(readdirSync(join(path, 'tree')), [])
  t.same(readdirSync(join(path, 'kept')), ['file'])
  native.close(tree)
})

t.test('a tree of any depth goes', async (t) => {
  mkdirSync(join(path, 'deep'))
  let dir = open('deep')
  for (let i = 0; i < 3000; i++) {
    if (native.mkdirAt(dir, ref('directory'), 0o755, -1, -1, 0) !== 0) t.fail('mkdirAt')
    const next = native.openAt(dir, ref('directory'), O_PATH | O_DIRECTORY)
    native.close(dir)
    dir = next
  }
  native.close(dir)
  const before = readdirSync('/proc/self/fd').length
  const deep = open('deep')
  t.equal(native.removeTree(deep), 0)
  native.close(deep)
  t.same(readdirSync(join(path, 'deep')), [])
  t.equal(readdirSync('/proc/self/fd').length, before, 'no fd is left')
})

t.test('a mount inside is not entered', { skip: needsRoot }, async (t) => {
  for (const kind of ['tmpfs', 'bind']) {
    const root = join(path, kind)
    mkdirSync(join(root, 'mounted'), { recursive: true })
    mkdirSync(join(root, 'plain'))
    mkdirSync(join(path, `source-${kind}`))
    const args = kind === 'bind' ? ['--bind', join(path, `source-${kind}`)] : ['-t', 'tmpfs', 'none']
    if (spawnSync('mount', [...args, join(root, 'mounted')]).status !== 0)
      return t.pass('not run', { skip: 'mount is not permitted' })
    t.teardown(() => spawnSync('umount', [join(root, 'mounted')]))
    writeFileSync(join(root, 'mounted/precious'), '')
    const dir = open(kind)
    const result = native.removeTree(dir)
    t.ok(result === -EXDEV || result === -EBUSY, `${kind}: ${result}`)
    t.ok(existsSync(join(root, 'mounted/precious')))
    t.notOk(existsSync(join(root, 'plain')), 'the rest went')
    native.close(dir)
  }
})

t.test('removeTreeLater removes the directory as well', async (t) => {
  mkdirSync(join(path, 'later/a/b'), { recursive: true })
  t.equal(native.removeTreeLater(fd, ref('later')), 0)
  for (let i = 0; i < 500 && existsSync(join(path, 'later')); i++)
    await new Promise((resolve) => setTimeout(resolve, 5))
  t.notOk(existsSync(join(path, 'later')))
})
