// Names that are deleted, and directories that hide what lies below them.
import assert from 'node:assert/strict'
import { join } from 'node:path'
import type { Case, Scene, Suite } from '../support/suite.js'
import { O_CREAT, O_WRONLY, RENAME_NOREPLACE, RENAME_WHITEOUT, S_IFCHR } from '../support/syscalls.js'
import { char, dir, fifo, file, opaque, symlink, whiteout } from '../support/tree.js'

const longName = 'n'.repeat(255)
const kernelKnowsNot = { kernel: 'the kernel has no .wh. names' }

/** How each kind of thing is made at a path. */
const makers: Record<string, (s: Scene, path: string) => void> = {
  file: (s, path) => s.root.put(path, 'new'),
  directory: (s, path) => s.root.mkdir(path),
  symlink: (s, path) => s.root.symlink('target', path),
  link: (s, path) => s.root.link(s.at('source'), path),
  node: (s, path) => s.root.mknod(path, S_IFCHR | 0o600, 1, 3),
  fifo: (s, path) => s.root.mkfifo(path),
  rename: (s, path) => s.root.rename(s.at('source'), path),
  'rename without replacing': (s, path) => s.root.renameat2(s.at('source'), path, RENAME_NOREPLACE),
}

const removal: Case[] = [
  {
    title: 'unlink of a lower file leaves char 0:0',
    lines: [1],
    lowers: [{ f: 'lower', d: dir({ f: 'lower' }) }],
    run(s) {
      for (const name of ['f', 'd/f']) {
        s.root.unlink(s.at(name))
        assert.ok(s.isWhiteout(name))
        assert.equal(s.root.errno('lstat', s.at(name)), 'ENOENT')
      }
      assert.deepEqual(s.root.list(s.at('d')), [])
    },
  },
  {
    title: 'unlink of every kind of lower node leaves a whiteout',
    lines: [1],
    lowers: [{ link: symlink('x'), fifo: fifo(), char: char(1, 3), file: file('', { mode: 0 }) }],
    run(s) {
      for (const name of ['link', 'fifo', 'char', 'file']) {
        s.root.unlink(s.at(name))
        assert.ok(s.isWhiteout(name), name)
      }
      assert.deepEqual(s.root.list(s.at()), [])
    },
  },
  {
    title: 'unlink of an upper-only name in a merged directory leaves nothing',
    lines: [2],
    lowers: [{ d: dir({ other: 'x' }) }],
    upper: { d: dir({ old: 'upper' }) },
    run(s) {
      s.root.put(s.at('d/new'), 'x')
      for (const name of ['old', 'new']) s.root.unlink(s.at(`d/${name}`))
      assert.deepEqual(s.root.list(s.up('d')), [])
      assert.deepEqual(s.root.list(s.at('d')), ['other'])
    },
  },
  {
    title: 'unlink in an opaque or pure upper directory leaves nothing',
    lines: [3],
    lowers: [{ opaque: dir({ f: 'hidden' }) }],
    upper: { opaque: opaque({ f: 'upper' }), pure: dir({ f: 'upper', d: dir() }) },
    run(s) {
      s.root.unlink(s.at('opaque/f'))
      s.root.unlink(s.at('pure/f'))
      s.root.rmdir(s.at('pure/d'))
      assert.deepEqual(s.root.list(s.up('opaque')), [])
      assert.deepEqual(s.root.list(s.up('pure')), [])
      assert.deepEqual(s.root.list(s.at('opaque')), [])
    },
  },
  {
    title: 'unlink of an upper copy never shows the lower file for an instant',
    lines: [4],
    lowers: [{ f: 'lower content' }],
    upper: { f: 'upper content' },
    run(s) {
      const stop = join(s.fixture.folder, 'stop-whiteout')
      s.other.call('getpid')
      s.other.start('watch_file', s.at('f'), stop, 'lower content')
      for (let i = 0; i < 150; i++) {
        s.root.unlink(s.at('f'))
        assert.equal(s.root.errno('lstat', s.at('f')), 'ENOENT')
        s.root.put(s.at('f'), 'upper content')
      }
      s.root.put(stop, '')
      const [found, rounds] = s.other.finish<[number, number]>('watch_file')
      assert.ok(rounds > 20, 'the other process looked often')
      assert.equal(found, 0)
      s.root.unlink(s.at('f'))
      assert.ok(s.isWhiteout('f'))
    },
  },
  {
    title: 'rmdir of a lower directory leaves a whiteout like that of a file',
    lines: [5],
    lowers: [{ d: dir(), f: 'x' }],
    run(s) {
      s.root.rmdir(s.at('d'))
      s.root.unlink(s.at('f'))
      assert.ok(s.isWhiteout('d'))
      const [d, f] = [s.root.lstat(s.up('d')), s.root.lstat(s.up('f'))]
      assert.deepEqual([d.mode, d.uid, d.gid], [f.mode, f.uid, f.gid])
      assert.equal(s.root.errno('stat_', s.at('d')), 'ENOENT')
    },
  },
  {
    title: 'rmdir of a merged directory that holds only whiteouts succeeds and takes them along',
    lines: [6],
    lowers: [{ d: dir({ a: 'x', b: dir() }), e: dir({ a: 'x' }) }],
    upper: { d: dir({ a: whiteout(), b: whiteout() }) },
    run(s) {
      s.root.unlink(s.at('e/a'))
      for (const name of ['d', 'e']) {
        s.root.rmdir(s.at(name))
        assert.ok(s.isWhiteout(name))
      }
      assert.deepEqual(s.fixture.leftovers(), [])
    },
  },
  {
    title: 'rmdir of a merged directory with a visible lower entry is refused and copies nothing up',
    lines: [7],
    lowers: [{ merged: dir({ a: 'x', b: 'x' }), lower: dir({ a: 'x' }) }],
    upper: { merged: dir({ a: whiteout() }) },
    run(s) {
      assert.equal(s.root.errno('rmdir', s.at('merged')), 'ENOTEMPTY')
      assert.equal(s.root.errno('rmdir', s.at('lower')), 'ENOTEMPTY')
      assert.deepEqual(s.root.walk(s.up()), ['merged/', 'merged/a%'])
    },
  },
]

const creation: Case[] = [
  {
    title: 'mkdir over a whiteout stays empty after a remount, at every depth',
    lines: [8],
    own: true,
    lowers: [{ d: dir({ f: 'x', s: dir({ f: 'x' }) }), a: dir({ b: dir({ c: dir({ f: 'x' }) }) }) }],
    run(s) {
      s.root.unlink(s.at('d/s/f'))
      s.root.rmdir(s.at('d/s'))
      s.root.unlink(s.at('d/f'))
      s.root.unlink(s.at('a/b/c/f'))
      for (const name of ['d', 'a/b/c']) {
        s.root.rmdir(s.at(name))
        s.root.mkdir(s.at(name))
        assert.equal(s.root.getxattr(s.up(name), 'trusted.overlay.opaque'), 'y')
        assert.deepEqual(s.root.list(s.at(name)), [])
      }
      s.remount()
      assert.deepEqual(s.root.list(s.at('d')), [])
      assert.deepEqual(s.root.list(s.at('a/b/c')), [])
      assert.equal(s.root.errno('lstat', s.at('d/s')), 'ENOENT')
      s.root.mkdir(s.at('d/s'))
      assert.deepEqual(s.root.list(s.at('d/s')), [])
    },
  },
  {
    title: 'mkdir of a name that no lower has is an empty directory, opaque or not',
    lines: [9],
    lowers: [{ d: dir() }],
    run(s) {
      s.root.mkdir(s.at('d/new'))
      s.remount()
      assert.deepEqual(s.root.list(s.at('d/new')), [])
    },
  },
  {
    title: 'what is created over a whiteout belongs to the caller',
    lines: [10],
    lowers: [{ d: dir({ f: 'x', g: dir(), h: 'x', i: 'x' }, { mode: 0o1777 }) }],
    upper: { d: dir({ f: whiteout(), g: whiteout(), h: whiteout(), i: whiteout() }, { mode: 0o1777 }) },
    run(s) {
      s.user.put(s.at('d/f'), 'mine')
      s.user.mkdir(s.at('d/g'))
      s.user.symlink('x', s.at('d/h'))
      s.user.mkfifo(s.at('d/i'))
      for (const name of ['f', 'g', 'h', 'i']) {
        for (const place of [s.at(`d/${name}`), s.up(`d/${name}`)]) {
          const { uid, gid } = s.root.lstat(place)
          assert.deepEqual([uid, gid], [1000, 1000], place)
        }
      }
    },
  },
  {
    title: 'the fsuid and fsgid of a caller decide, not its uid',
    lines: [10],
    lowers: [{ d: dir({ f: 'x' }, { mode: 0o777 }) }],
    upper: { d: dir({ f: whiteout() }, { mode: 0o777 }) },
    run(s) {
      s.other.call('setfsuid', 1234, 4321)
      try {
        s.other.put(s.at('d/f'), 'x')
      } finally {
        s.other.call('setfsuid', 0, 0)
      }
      const { uid, gid } = s.root.lstat(s.at('d/f'))
      assert.deepEqual([uid, gid], [1234, 4321])
    },
  },
  {
    title: 'what is created over a whiteout in a setgid directory gets its group, a directory S_ISGID too',
    lines: [11],
    lowers: [{ d: dir({ f: 'x', g: dir() }, { mode: 0o2777, gid: 555 }) }],
    upper: { d: dir({ f: whiteout(), g: whiteout() }, { mode: 0o2777, gid: 555 }) },
    run(s) {
      s.root.put(s.at('d/f'), 'x')
      s.root.mkdir(s.at('d/g'))
      s.user.mkdir(s.at('d/new'))
      for (const name of ['f', 'g', 'new']) assert.equal(s.root.lstat(s.at(`d/${name}`)).gid, 555, name)
      for (const name of ['g', 'new']) assert.ok(s.root.lstat(s.at(`d/${name}`)).mode & 0o2000, name)
    },
  },
  ...Object.entries(makers).map(
    ([what, make]): Case => ({
      title: `${what} onto a whiteout succeeds and replaces it`,
      lines: [12],
      lowers: [{ f: 'hidden', d: dir({ f: 'hidden' }), source: 'source' }],
      upper: { f: whiteout() },
      run(s) {
        s.root.unlink(s.at('d/f'))
        make(s, s.at('f'))
        s.root.put(s.at('source'), 'again')
        make(s, s.at('d/f'))
        for (const name of ['f', 'd/f']) {
          assert.equal(s.isWhiteout(name), false)
          assert.ok(s.root.exists(s.at(name)))
        }
      },
    }),
  ),
]

const layering: Case[] = [
  {
    title: 'whiteouts appear in no listing, no stat and no walk by ..',
    lines: [13],
    lowers: [{ d: dir({ gone: whiteout(), stays: 'x' }) }, { d: dir({ gone: 'x', sub: dir({ f: 'x' }) }) }],
    upper: { d: dir({ 'also-gone': whiteout() }) },
    run(s) {
      const names = s.root.getdents(s.at('d')).map((entry) => entry.name)
      assert.deepEqual(names.sort(), ['.', '..', 'stays', 'sub'])
      for (const name of ['gone', 'also-gone', 'sub/../gone']) {
        assert.equal(s.root.errno('lstat', s.at(`d/${name}`)), 'ENOENT')
      }
      assert.equal(s.root.errno('open', `${s.at('d')}/sub/../gone`, 0), 'ENOENT')
    },
  },
  {
    title: 'a whiteout in a middle layer hides only the layers below it',
    lines: [13],
    lowers: [
      { d: dir({ a: 'top' }) },
      { d: dir({ a: whiteout(), b: whiteout() }) },
      { d: dir({ a: 'low', b: 'low', c: 'low' }) },
    ],
    run(s) {
      assert.deepEqual(s.root.list(s.at('d')), ['a', 'c'])
      assert.equal(s.root.read(s.at('d/a')), 'top')
      assert.equal(s.root.errno('lstat', s.at('d/b')), 'ENOENT')
    },
  },
  {
    title: 'a real entry wins over a .wh. whiteout of its name in the same layer',
    lines: [14],
    skip: kernelKnowsNot,
    lowers: [
      { f: 'real', '.wh.f': '', d: dir({ a: 'real' }), '.wh.d': '' },
      { f: 'hidden', d: dir({ b: 'hidden' }) },
    ],
    run(s) {
      assert.equal(s.root.read(s.at('f')), 'real')
      assert.deepEqual(s.root.list(s.at()), ['d', 'f'])
      assert.deepEqual(s.root.list(s.at('d')), ['a'])
    },
  },
  {
    title: '.wh..wh..opq hides the lowers and no sibling of its own layer',
    lines: [15],
    skip: kernelKnowsNot,
    lowers: [
      { d: dir({ '-first': 'a', '.wh..wh..opq': '', zlast: 'a' }) },
      { d: dir({ hidden: 'b', zlast: 'b' }) },
    ],
    run(s) {
      assert.deepEqual(s.root.list(s.at('d')), ['-first', 'zlast'])
      assert.equal(s.root.read(s.at('d/zlast')), 'a')
      assert.equal(s.root.errno('lstat', s.at('d/.wh..wh..opq')), 'ENOENT')
      assert.equal(s.root.errno('lstat', s.at('d/hidden')), 'ENOENT')
    },
  },
  {
    title: 'an empty file with overlay.whiteout in a directory with opaque=x is a whiteout',
    lines: [16],
    own: true,
    lowers: [
      {
        d: dir(
          { f: file('', { xattrs: { 'trusted.overlay.whiteout': 'y' } }), own: 'x' },
          { xattrs: { 'trusted.overlay.opaque': 'x' } },
        ),
      },
      { d: dir({ f: 'hidden', g: 'seen' }) },
    ],
    run(s) {
      assert.equal(s.root.errno('lstat', s.at('d/f')), 'ENOENT')
      assert.deepEqual(s.root.list(s.at('d')), ['g', 'own'])
      assert.equal(s.root.read(s.at('d/g')), 'seen')
    },
  },
  {
    title: 'an opaque directory hides all layers below, nothing of its own and not its parent',
    lines: [17],
    lowers: [
      { p: dir({ d: dir({ top: '' }) }) },
      { p: dir({ d: opaque({ middle: '' }) }) },
      { p: dir({ d: dir({ low: '' }), sibling: '' }) },
    ],
    run(s) {
      assert.deepEqual(s.root.list(s.at('p/d')), ['middle', 'top'])
      assert.deepEqual(s.root.list(s.at('p')), ['d', 'sibling'])
      assert.equal(s.root.errno('lstat', s.at('p/d/low')), 'ENOENT')
    },
  },
  {
    title: 'a file hides a lower directory of its name; once removed a whiteout does',
    lines: [18],
    lowers: [{ d: 'file' }, { d: dir({ f: 'x' }), e: dir({ f: 'x' }) }],
    upper: { e: 'upper file' },
    run(s) {
      for (const name of ['d', 'e']) {
        assert.equal(s.root.lstat(s.at(name)).type, 'file')
        assert.equal(s.root.errno('lstat', s.at(`${name}/f`)), 'ENOTDIR')
        s.root.unlink(s.at(name))
        assert.ok(s.isWhiteout(name))
        assert.equal(s.root.errno('lstat', s.at(name)), 'ENOENT')
      }
    },
  },
  {
    title: 'directories above and below a file do not merge',
    lines: [19],
    lowers: [{ d: dir({ top: '' }) }, { d: 'file' }, { d: dir({ bottom: '' }) }],
    run(s) {
      assert.deepEqual(s.root.list(s.at('d')), ['top'])
      assert.equal(s.root.errno('lstat', s.at('d/bottom')), 'ENOENT')
    },
  },
  {
    title: 'mknod of char 0:0 is refused and leaves nothing',
    lines: [20],
    lowers: [{ d: dir({ f: 'x' }) }],
    run(s) {
      assert.equal(s.root.errno('mknod', s.at('d/w'), S_IFCHR, 0, 0), 'EPERM')
      assert.equal(s.isUp('d/w'), false)
      assert.deepEqual(s.root.list(s.at('d')), ['f'])
    },
  },
  {
    title: 'RENAME_WHITEOUT by a user is refused',
    lines: [21],
    lowers: [{ f: 'x' }],
    run(s) {
      assert.equal(s.root.errno('renameat2', s.at('f'), s.at('g'), RENAME_WHITEOUT), 'EINVAL')
      assert.deepEqual(s.root.list(s.at()), ['f'])
    },
  },
  {
    title: 'a name of 255 bytes can be deleted and made again',
    lines: [22],
    lowers: [{ [longName]: 'x', d: dir({ [longName]: dir() }) }],
    run(s) {
      s.root.unlink(s.at(longName))
      assert.ok(s.isWhiteout(longName))
      s.root.rmdir(s.at(`d/${longName}`))
      assert.deepEqual(s.root.list(s.at('d')), [])
      s.root.put(s.at(longName), 'again', O_WRONLY | O_CREAT)
      assert.equal(s.root.read(s.at(longName)), 'again')
      assert.equal(s.root.errno('lstat', s.at(`${longName}x`)), 'ENAMETOOLONG')
    },
  },
  {
    title: 'copying up a lower directory leaves its overlay xattrs behind',
    lines: [24],
    own: true,
    lowers: [
      { d: opaque({ f: 'x' }, { xattrs: { 'trusted.overlay.origin': 'o', 'user.keep': 'k' } }) },
      { d: dir({ hidden: 'x' }) },
    ],
    run(s) {
      s.root.put(s.at('d/new'), 'x')
      assert.equal(s.isOpaque('d'), false)
      assert.equal(s.root.errno('getxattr', s.up('d'), 'trusted.overlay.redirect'), 'ENODATA')
      if (s.root.errno('getxattr', s.up('d'), 'trusted.overlay.origin') === 'ok') {
        assert.notEqual(s.root.getxattr(s.up('d'), 'trusted.overlay.origin'), 'o')
      }
      assert.equal(s.root.getxattr(s.up('d'), 'user.keep'), 'k')
      assert.deepEqual(s.root.list(s.at('d')), ['f', 'new'])
    },
  },
]

export const whiteouts: Suite = { name: 'whiteouts', cases: [...removal, ...creation, ...layering] }
