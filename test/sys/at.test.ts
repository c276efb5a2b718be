// Looking: statAt, statLayers, readlinkAt, getdents, fstatfs, and places that are not in the arena.

import { mkdirSync, statfsSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { EFAULT, EINVAL, ENAMETOOLONG, ENOENT, ENOTDIR } from '../../src/base/errno.js'
import { native } from '../../src/sys/native.js'
import { SCRATCH_DIRENTS, SCRATCH_LIST, SCRATCH_STAT } from '../../src/vfs/arena.js'
import { arena, BEYOND, look, names, O_DIRECTORY, O_RDONLY, OUTPUT, output, ref, sandbox } from './sandbox.js'

const { path, fd } = sandbox()
const longest = 'n'.repeat(255)
const notUtf8 = Buffer.from([0xff, 0xfe, 0x80, 0x41])

t.test('statAt gives what stat(2) gives', async (t) => {
  writeFileSync(join(path, 'file'), 'hello')
  const expected = statSync(join(path, 'file'))
  const found = look(fd, 'file')
  t.equal(found.ino, expected.ino)
  t.equal(found.size, 5)
  t.equal(found.mode, expected.mode)
  t.equal(found.mtime, Math.floor(expected.mtimeMs / 1000))
  t.equal(look(fd, '').ino, statSync(path).ino, 'ref 0 is the fd itself')
})

t.test('statAt does not follow a link', async (t) => {
  symlinkSync('file', join(path, 'link'))
  t.equal(look(fd, 'link').mode & 0o170000, 0o120000)
  t.equal(native.readlinkAt(fd, ref('link'), OUTPUT, 4096), 4)
  t.equal(output(4).toString(), 'file')
})

t.test('names of 255 bytes and names that are not UTF-8 are names', async (t) => {
  for (const name of [longest, notUtf8]) {
    writeFileSync(Buffer.concat([Buffer.from(`${path}/`), Buffer.from(name)]), 'x')
    t.equal(look(fd, name).size, 1)
  }
  t.equal(native.statAt(fd, ref('n'.repeat(256)), SCRATCH_STAT), -ENAMETOOLONG)
  t.equal(native.statAt(fd, ref('file/below'), SCRATCH_STAT), -ENOTDIR)
})

t.test('a negative ref is a name in the shared name arena', async (t) => {
  names.set(Buffer.from('file\0'), 24)
  t.equal(native.statAt(fd, -3, SCRATCH_STAT), 0)
  names.fill(0x61, names.length - 8)
  t.equal(native.statAt(fd, -(names.length / 8 - 1), SCRATCH_STAT), -EFAULT, 'one without a NUL is refused')
  t.equal(native.statAt(fd, -(names.length / 8), SCRATCH_STAT), -EFAULT, 'one outside is refused')
})

t.test('a place outside of the arena gives EFAULT, a value of another type EINVAL', async (t) => {
  t.equal(native.statAt(fd, ref('file'), BEYOND), -EFAULT)
  t.equal(native.statAt(fd, ref('file'), -4), -EFAULT)
  t.equal(native.statAt(fd, arena.bytes.length + 10, SCRATCH_STAT), -EFAULT)
  t.equal(native.readlinkAt(fd, ref('link'), OUTPUT, 2 ** 31), -EFAULT)
  t.equal(native.getdents(fd, BEYOND, 4096), -EFAULT)
  t.equal(native.statAt(fd, undefined as unknown as number, SCRATCH_STAT), -EINVAL)
  t.equal(native.statLayers(BEYOND, 100, 0, ref('file'), 0, SCRATCH_STAT), -EFAULT)
})

t.test('statLayers answers with the first layer that has the name', async (t) => {
  const fds: number[] = []
  for (const layer of ['a', 'b', 'c', 'd']) {
    mkdirSync(join(path, layer))
    fds.push(native.openPath(Buffer.from(join(path, layer)), O_RDONLY | O_DIRECTORY, 0))
  }
  writeFileSync(join(path, 'b/one'), '1')
  writeFileSync(join(path, 'd/one'), '1234')
  writeFileSync(join(path, 'd/two'), '12')
  writeFileSync(join(path, 'b/.wh.two'), '')
  writeFileSync(join(path, 'd/three'), '123')
  writeFileSync(join(path, 'd/.wh.three'), '')
  arena.i32.set([fds[0]!, -1, fds[1]!, fds[2]!, fds[3]!], SCRATCH_LIST >> 2)

  const table: [name: string, from: number, dotWhiteouts: number, result: number][] = [
    ['one', 0, 0, 2],
    ['one', 0, 1, 2],
    ['one', 3, 0, 4],
    ['one', 5, 0, -ENOENT],
    ['two', 0, 0, 4],
    ['two', 0, 1, -ENOENT],
    ['two', 3, 1, 4],
    ['three', 0, 1, 4],
    ['none', 0, 1, -ENOENT],
    ['n'.repeat(255), 0, 1, -ENOENT],
    ['n'.repeat(256), 0, 1, -ENOENT],
  ]
  for (const [name, from, dots, result] of table)
    t.equal(
      native.statLayers(SCRATCH_LIST, 5, from, ref(name), dots, SCRATCH_STAT),
      result,
      `${name.slice(0, 9)} from ${from}, dots ${dots}`,
    )
  for (const each of fds) native.close(each)
  t.equal(
    native.statLayers(SCRATCH_LIST, 5, 0, ref('one'), 0, SCRATCH_STAT),
    -9,
    'a closed fd is not "absent"',
  )
})

t.test('getdents gives raw records', async (t) => {
  const dir = native.openPath(Buffer.from(path), O_RDONLY | O_DIRECTORY, 0)
  const length = native.getdents(dir, SCRATCH_DIRENTS, 65536)
  t.ok(length > 24)
  const bytes = Buffer.from(arena.bytes.subarray(SCRATCH_DIRENTS, SCRATCH_DIRENTS + length))
  t.ok(bytes.includes(notUtf8))
  t.equal(native.getdents(dir, SCRATCH_DIRENTS, 65536), 0)
  t.equal(native.lseek(dir, 0, 0), 0)
  t.equal(native.getdents(dir, SCRATCH_DIRENTS, 65536), length)
  native.close(dir)
})

t.test('fstatfs fills a fuse_kstatfs', async (t) => {
  const expected = statfsSync(path)
  t.equal(native.fstatfs(fd, OUTPUT), 0)
  t.equal(Number(output(8).readBigUInt64LE(0)), expected.blocks)
  t.equal(output(80).readUInt32LE(40), expected.bsize)
  t.equal(output(80).readUInt32LE(44), 255)
  t.equal(native.fsType(fd), expected.type >>> 0)
})
