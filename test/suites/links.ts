// Hard links and inode numbers.
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import type { Case, Scene, Suite } from '../support/suite.js'
import { O_APPEND, O_RDONLY, O_RDWR, O_TMPFILE, O_WRONLY } from '../support/syscalls.js'
import { char, dir, fifo, link, opaque, socket, symlink, type Tree, whiteout } from '../support/tree.js'

const nlink = (s: Scene, name: string) => s.root.lstat(s.at(name)).nlink
const ino = (s: Scene, name: string) => s.root.lstat(s.at(name)).ino

const links: Case[] = [
  {
    title: 'link of a lower file gives two names of one upper inode',
    lines: [58],
    lowers: [{ f: 'x', d: dir() }],
    run(s) {
      const before = ino(s, 'f')
      s.root.link(s.at('f'), s.at('d/g'))
      for (const name of ['f', 'd/g']) assert.deepEqual([ino(s, name), nlink(s, name)], [before, 2])
      assert.equal(s.root.lstat(s.up('f')).ino, s.root.lstat(s.up('d/g')).ino)
      s.root.put(s.at('d/g'), 'y', O_WRONLY | O_APPEND)
      assert.equal(s.root.read(s.at('f')), 'xy')
    },
  },
  {
    title: 'a write through one of two lower links is seen through the other, also after a remount',
    lines: [59],
    lowers: [{ d: dir({ a: 'old', b: link('d/a') }) }],
    run(s) {
      assert.equal(s.root.read(s.at('d/b')), 'old')
      s.root.put(s.at('d/a'), '+new', O_WRONLY | O_APPEND)
      for (let i = 0; i < 2; i++) {
        assert.equal(s.root.read(s.at('d/b')), 'old+new')
        assert.deepEqual([nlink(s, 'd/a'), nlink(s, 'd/b')], [2, 2])
        assert.equal(ino(s, 'd/a'), ino(s, 'd/b'))
        s.remount()
      }
      s.root.chmod(s.at('d/b'), 0o600)
      assert.equal(s.root.lstat(s.at('d/a')).mode, 0o600)
    },
  },
  {
    title: 'lower links in different directories stay one file when one is opened for write',
    lines: [59],
    lowers: [{ a: 'old', d: dir({ b: link('a') }), e: dir({ c: link('a') }) }],
    run(s) {
      s.root.put(s.at('a'), 'NEW', O_WRONLY)
      for (let i = 0; i < 2; i++) {
        for (const name of ['a', 'd/b', 'e/c'])
          assert.deepEqual([s.root.read(s.at(name)), nlink(s, name)], ['NEW', 3])
        s.remount()
      }
      s.root.rename(s.at('d/b'), s.at('e/b'))
      s.root.put(s.at('e/b'), 'END', O_WRONLY)
      assert.deepEqual([s.root.read(s.at('a')), s.root.read(s.at('e/c')), nlink(s, 'a')], ['END', 'END', 3])
    },
  },
  {
    title: 'a link added to a group of lower links counts with them, also after a remount',
    lines: [59, 60],
    lowers: [{ a: 'x', b: link('a') }],
    run(s) {
      s.root.link(s.at('a'), s.at('c'))
      for (let i = 0; i < 2; i++) {
        assert.deepEqual(
          ['a', 'b', 'c'].map((name) => nlink(s, name)),
          [3, 3, 3],
        )
        s.root.put(s.at('b'), String(i), O_WRONLY)
        assert.deepEqual([s.root.read(s.at('a')), s.root.read(s.at('c'))], [String(i), String(i)])
        s.remount()
      }
      s.root.unlink(s.at('b'))
      assert.equal(nlink(s, 'a'), 2)
    },
  },
  {
    title: 'unlink of one of two lower links leaves nlink 1 at the other',
    lines: [60],
    lowers: [{ a: 'x', b: link('a') }],
    run(s) {
      s.root.unlink(s.at('a'))
      assert.equal(nlink(s, 'b'), 1)
      s.root.chmod(s.at('b'), 0o600)
      assert.equal(nlink(s, 'b'), 1)
      s.remount()
      assert.equal(nlink(s, 'b'), 1)
    },
  },
  {
    title: 'a file that is open by a name that has gone is one with its last name',
    lines: [60, 72],
    lowers: [{ a: 'some text', b: link('a') }],
    upper: { c: 'some text', d: link('c') },
    run(s) {
      for (const [open, last] of [
        ['a', 'b'],
        ['c', 'd'],
      ] as const) {
        const fd = s.root.open(s.at(open), O_RDWR)
        s.root.unlink(s.at(open))
        const size = () => s.root.fstat(fd).size
        assert.equal(size(), 9)
        assert.equal(s.root.pread(fd, 100, 0), 'some text')
        s.other.put(s.at(last), 'MORE of it', O_WRONLY)
        assert.deepEqual([size(), s.root.pread(fd, 100, 0)], [10, 'MORE of it'], last)
        assert.deepEqual([s.root.fstat(fd).nlink, nlink(s, last)], [1, 1], last)
        s.root.pwrite(fd, 'less', 0)
        assert.equal(s.other.read(s.at(last)), 'less of it', last)
        s.other.link(s.at(last), s.at(`${last}2`))
        assert.equal(s.root.fstat(fd).nlink, 2, last)
        s.root.close(fd)
      }
    },
  },
  {
    title: 'a file that is open by a name that has gone is copied up with its other names',
    lines: [60, 73],
    lowers: [{ a: 'some text', d: dir({ b: link('a'), c: link('a') }) }],
    run(s) {
      const fd = s.root.open(s.at('a'), O_RDONLY)
      s.root.unlink(s.at('a'))
      s.root.fchmod(fd, 0o600)
      assert.equal(s.root.fstat(fd).nlink, 2)
      for (const name of ['d/b', 'd/c']) {
        const { mode, nlink, ino } = s.root.lstat(s.at(name))
        assert.deepEqual([mode, nlink, ino], [0o600, 2, s.root.fstat(fd).ino], name)
      }
      s.root.put(s.at('d/b'), 'NEW', O_WRONLY)
      assert.equal(s.root.pread(fd, 100, 0), 'NEWe text')
      assert.equal(s.root.read(s.at('d/c')), 'NEWe text')
    },
  },
  {
    title: 'nlink is right on the first stat',
    lines: [61],
    lowers: [{ a: 'x', d: dir({ b: link('a'), c: link('a') }) }],
    run(s) {
      assert.equal(nlink(s, 'd/c'), 3)
      assert.equal(nlink(s, 'a'), 3)
    },
  },
  {
    title: 'link of a symlink links the symlink, of a directory is EPERM, across lower directories works',
    lines: [62],
    lowers: [{ s: symlink('f'), f: 'x', a: dir({ f: 'a' }), b: dir() }],
    run(s) {
      s.root.link(s.at('s'), s.at('s2'))
      assert.equal(s.root.lstat(s.at('s2')).type, 'symlink')
      assert.deepEqual([ino(s, 's2'), nlink(s, 's2')], [ino(s, 's'), 2])
      assert.equal(s.isUp('f'), false)
      assert.equal(s.root.errno('link', s.at('a'), s.at('a2')), 'EPERM')
      s.root.link(s.at('a/f'), s.at('b/g'))
      assert.deepEqual([s.root.read(s.at('b/g')), nlink(s, 'a/f')], ['a', 2])
      assert.equal(s.root.errno('link', s.at('f'), s.at('a/f')), 'EEXIST')
    },
  },
]

const everyKind: Tree = {
  file: 'x',
  dir: dir({ in: 'x' }),
  merged: dir({ top: 'x' }),
  symlink: symlink('x'),
  fifo: fifo(),
  socket: socket(),
  char: char(1, 3),
}
const kindOf = (name: string) => (name === 'merged' ? 'dir' : name)

const inodes: Case[] = [
  {
    title: 'st_dev is one, st_ino unique over layers on two devices, both kept by copy-up and remount',
    lines: [63],
    mount: { kernel: ['xino=on'] },
    volumes: { lowers: [{ tmpfs: 'size=4m' }, { tmpfs: 'size=4m' }] },
    lowers: [
      Object.fromEntries(['a', 'b', 'c', 'd'].map((name) => [name, name])),
      Object.fromEntries(['e', 'f', 'g', 'h'].map((name) => [name, name])),
    ],
    upper: { up: 'x', updir: dir() },
    run(s) {
      const lowerInos = [0, 1].flatMap((i) =>
        s.root.list(s.low('', i)).map((n) => s.root.lstat(s.low(n, i)).ino),
      )
      assert.ok(new Set(lowerInos).size < lowerInos.length, 'the layers have numbers in common')
      const names = s.root.list(s.at())
      const look = () => names.map((name) => s.root.lstat(s.at(name)))
      const first = look()
      assert.equal(new Set(first.map((st) => st.ino)).size, names.length)
      assert.equal(new Set(first.map((st) => st.dev)).size, 1)
      const inos = first.map((st) => st.ino)
      for (const name of ['a', 'f']) s.root.chmod(s.at(name), 0o600)
      assert.deepEqual(
        look().map((st) => st.ino),
        inos,
      )
      s.remount()
      assert.deepEqual(
        look().map((st) => st.ino),
        inos,
      )
    },
  },
  {
    title: 'st_ino stays over copy-up, rename and remount for files and directories',
    lines: [63],
    lowers: [{ f: 'x', d: dir({ g: 'x' }), m: dir({ low: 'x' }) }, { m: dir({ bottom: 'x' }) }],
    upper: { m: dir() },
    run(s) {
      const names = ['f', 'd', 'd/g', 'm', 'm/low', 'm/bottom', '.']
      const look = () => names.map((name) => ino(s, name))
      const inos = look()
      s.root.chmod(s.at('f'), 0o600)
      s.root.chmod(s.at('d/g'), 0o600)
      s.root.chmod(s.at('m'), 0o700)
      assert.deepEqual(look(), inos)
      s.remount()
      assert.deepEqual(look(), inos)
    },
  },
  {
    title: 'd_ino is st_ino and d_type is right, for . and .. too, before and after a lookup',
    lines: [64, 65],
    lowers: [{ d: dir(everyKind) }, { d: dir({ merged: dir({ bottom: 'x' }), low: 'x' }) }],
    upper: { d: dir({ up: 'x', copied: 'x' }) },
    run(s) {
      const check = () => {
        for (const entry of s.root.getdents(s.at('d'))) {
          const st = s.root.lstat(`${s.at('d')}/${entry.name}`)
          assert.equal(entry.ino, st.ino, entry.name)
          assert.equal(entry.type, st.type, entry.name)
          if (entry.name in everyKind) assert.equal(entry.type, kindOf(entry.name))
        }
      }
      // The first listing meets an empty cache, the next ones a full one, the last a copied-up file.
      check()
      check()
      s.root.chmod(s.at('d/low'), 0o600)
      check()
      assert.equal(s.root.getdents(s.at('d')).length, Object.keys(everyKind).length + 5)
    },
  },
  {
    title: 'd_type is right over a lower that gives DT_UNKNOWN',
    lines: [65],
    volumes: { lowers: [{ ext4: ['-O', '^filetype'], sizeMb: 16 }, null] },
    lowers: [{ d: dir(everyKind) }, { d: dir({ merged: dir({ bottom: 'x' }) }) }],
    fails: { kernel: 'it passes DT_UNKNOWN on' },
    run(s) {
      assert.ok(s.root.getdents(s.low('d')).some((entry) => entry.type === 'unknown'))
      for (const entry of s.root.getdents(s.at('d'))) {
        assert.equal(entry.type, s.root.lstat(`${s.at('d')}/${entry.name}`).type, entry.name)
      }
    },
  },
  {
    title: 'two names of one bind-mounted directory both show',
    lines: [66],
    own: true,
    lowers: [{ x: dir({ f: 'x' }), y: dir() }],
    prepare: (s) => assert.equal(s.root.call('run', ['/bin/mount', '--bind', s.low('x'), s.low('y')]), 0),
    run(s) {
      assert.deepEqual(s.root.list(s.at()), ['x', 'y'])
      for (const name of ['x', 'y']) assert.equal(s.root.lstat(s.at(name)).type, 'dir')
      assert.deepEqual(s.root.list(s.at('x')), ['f'])
      s.root.chmod(s.at('x/f'), 0o600)
      assert.deepEqual(s.root.list(s.at()), ['x', 'y'])
    },
  },
  {
    title: 'no st_ino is 0, and the root has one that names the same directory after a remount',
    lines: [67],
    own: true,
    lowers: [{ f: 'x' }],
    run(s) {
      const root = ino(s, '.')
      assert.notEqual(root, 0n)
      assert.notEqual(ino(s, 'f'), root)
      const dot = s.root.getdents(s.at()).find((entry) => entry.name === '.')
      assert.equal(dot!.ino, root)
      s.remount()
      assert.equal(ino(s, '.'), root)
    },
  },
  {
    title: 'st_ino is the same after the kernel has forgotten the inode',
    lines: [68],
    lowers: [{ d: dir(Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`f${i}`, '']))) }],
    upper: { d: dir({ up: 'x' }), o: opaque({ f: 'x' }), w: whiteout() },
    run(s) {
      s.root.put(s.at('d/new'), 'x')
      s.root.chmod(s.at('d/f7'), 0o600)
      const look = () => s.root.snapshot(s.at(), ['ino'])
      const before = look()
      writeFileSync('/proc/sys/vm/drop_caches', '2')
      assert.deepEqual(look(), before)
    },
  },
  {
    title: 'an O_TMPFILE can be given a name through /proc/self/fd, an unlinked file can not',
    lines: [69, 76],
    lowers: [{ d: dir(), f: 'x' }],
    run(s) {
      const fd = s.root.open(s.at('d'), O_RDWR | O_TMPFILE, 0o640)
      s.root.write(fd, 'temporary')
      s.root.call('linkat_fd', fd, s.at('d/named'))
      assert.equal(s.root.read(s.at('d/named')), 'temporary')
      assert.deepEqual([nlink(s, 'd/named'), s.root.fstat(fd).ino], [1, ino(s, 'd/named')])
      const gone = s.root.open(s.at('f'), O_RDWR)
      s.root.unlink(s.at('f'))
      assert.equal(s.root.errno('linkat_fd', gone, s.at('d/again')), 'ENOENT')
      assert.deepEqual(s.root.list(s.at('d')), ['named'])
    },
  },
]

export const hardLinks: Suite = { name: 'links and inode numbers', cases: [...links, ...inodes] }
