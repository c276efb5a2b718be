// Rename: what it leaves behind, what it may replace, and what moves with a directory.
import assert from 'node:assert/strict'
import type { Case, Scene, Suite } from '../support/suite.js'
import { O_APPEND, O_RDONLY, O_RDWR, RENAME_EXCHANGE, RENAME_NOREPLACE } from '../support/syscalls.js'
import { dir, link, opaque, whiteout } from '../support/tree.js'

/** The parent of a directory is what `..` says, looked up and listed. */
function checkParent(s: Scene, parent: string, name: string): void {
  const { ino } = s.root.lstat(s.at(parent))
  const path = s.at(`${parent}/${name}`)
  assert.equal(s.root.stat(`${path}/..`).ino, ino, path)
  const entry = s.root.getdents(path).find((found) => found.name === '..')
  assert.equal(entry!.ino, ino, path)
}

const files: Case[] = [
  {
    title: 'rename of a lower file leaves a whiteout and keeps st_ino',
    lines: [46],
    lowers: [{ f: 'x', d: dir({ g: 'y' }), e: dir() }],
    run(s) {
      const [f, g] = [s.root.lstat(s.at('f')).ino, s.root.lstat(s.at('d/g')).ino]
      s.root.rename(s.at('f'), s.at('f2'))
      s.root.rename(s.at('d/g'), s.at('e/g'))
      assert.ok(s.isWhiteout('f') && s.isWhiteout('d/g'))
      assert.deepEqual([s.root.lstat(s.at('f2')).ino, s.root.lstat(s.at('e/g')).ino], [f, g])
      assert.equal(s.root.read(s.at('e/g')), 'y')
      for (const name of ['f', 'd/g']) assert.equal(s.root.errno('lstat', s.at(name)), 'ENOENT')
    },
  },
  {
    title: 'rename of a pure upper file leaves nothing',
    lines: [47],
    lowers: [{ d: dir() }],
    upper: { f: 'x' },
    run(s) {
      s.root.put(s.at('d/new'), 'x')
      s.root.rename(s.at('f'), s.at('d/f'))
      s.root.rename(s.at('d/new'), s.at('new'))
      assert.deepEqual(s.root.walk(s.up()), ['d/', 'd/f', 'new'])
    },
  },
  {
    title: 'rename of an upper file that has a lower below leaves a whiteout',
    lines: [48],
    lowers: [{ f: 'lower' }],
    upper: { f: 'upper' },
    run(s) {
      s.root.rename(s.at('f'), s.at('g'))
      assert.ok(s.isWhiteout('f'))
      assert.equal(s.root.read(s.at('g')), 'upper')
      assert.deepEqual(s.root.list(s.at()), ['g'])
    },
  },
  {
    title: 'rename over a lower file replaces it without a whiteout',
    lines: [51],
    lowers: [{ a: 'a', b: 'b', c: 'c' }],
    upper: { up: 'up' },
    run(s) {
      s.root.rename(s.at('a'), s.at('b'))
      s.root.rename(s.at('up'), s.at('c'))
      assert.deepEqual([s.root.read(s.at('b')), s.root.read(s.at('c'))], ['a', 'up'])
      assert.deepEqual(s.root.walk(s.up()), ['a%', 'b', 'c'])
      s.remount()
      assert.deepEqual(s.root.walk(s.at()), ['b', 'c'])
    },
  },
  {
    title: 'rename refuses what POSIX refuses and changes nothing',
    lines: [51],
    lowers: [{ d: dir({ sub: dir() }), f: 'f', full: dir({ x: 'x' }), merged: dir({ low: 'x' }) }],
    upper: { merged: dir() },
    run(s) {
      const refused: [string, string, string][] = [
        ['d', 'full', 'ENOTEMPTY'],
        ['d', 'merged', 'ENOTEMPTY'],
        ['f', 'd', 'EISDIR'],
        ['d', 'f', 'ENOTDIR'],
        ['d', 'd/sub/inside', 'EINVAL'],
        ['d/sub', 'd', 'ENOTEMPTY'],
        ['absent', 'f', 'ENOENT'],
      ]
      const before = s.root.walk(s.at())
      for (const [from, to, code] of refused) {
        assert.equal(s.root.errno('rename', s.at(from), s.at(to)), code, `${from} to ${to}`)
      }
      assert.equal(s.root.errno('renameat2', s.at('f'), s.at('full'), RENAME_NOREPLACE), 'EEXIST')
      assert.deepEqual(s.root.walk(s.at()), before)
    },
  },
  {
    title: 'rename of two names of one inode does nothing',
    lines: [52],
    lowers: [{ a: 'x', b: link('a') }],
    run(s) {
      s.root.put(s.at('new'), 'n')
      s.root.link(s.at('new'), s.at('new2'))
      s.root.rename(s.at('new'), s.at('new2'))
      s.root.rename(s.at('a'), s.at('b'))
      assert.deepEqual(s.root.list(s.at()), ['a', 'b', 'new', 'new2'])
      assert.equal(s.root.lstat(s.at('new')).nlink, 2)
    },
  },
  {
    title: 'rename of a name to itself copies nothing up',
    lines: [54],
    lowers: [{ f: 'x', d: dir({ g: 'y' }) }],
    run(s) {
      s.root.rename(s.at('f'), s.at('f'))
      s.root.rename(s.at('d'), s.at('d'))
      s.root.rename(s.at('d/g'), s.at('d/../d/g'))
      assert.deepEqual(s.root.walk(s.up()), [])
    },
  },
]

const directories: Case[] = [
  {
    title: 'a lower directory can be renamed with all that is in it, and again after a remount',
    lines: [49],
    lowers: [
      { a: dir({ f: 'top', s: dir({ x: 'x' }) }), p: dir() },
      { a: dir({ g: 'bottom', s: dir({ y: 'y' }) }) },
    ],
    run(s) {
      const content = ['f', 'g', 's/', 's/x', 's/y']
      const check = (name: string) => {
        assert.deepEqual(s.root.walk(s.at(name)), content)
        assert.equal(s.root.read(s.at(`${name}/g`)), 'bottom')
        assert.equal(s.root.errno('lstat', s.at('a')), 'ENOENT')
      }
      const { ino } = s.root.lstat(s.at('a'))
      s.root.rename(s.at('a'), s.at('b'))
      check('b')
      assert.equal(s.root.lstat(s.at('b')).ino, ino)
      assert.deepEqual(s.root.list(s.at()), ['b', 'p'])
      s.remount()
      check('b')
      s.root.rename(s.at('b'), s.at('p/c'))
      check('p/c')
      s.remount()
      check('p/c')
      s.root.rename(s.at('p'), s.at('q'))
      check('q/c')
      s.remount()
      check('q/c')
      assert.deepEqual(s.root.walk(s.at()), ['q/', 'q/c/', ...content.map((name) => `q/c/${name}`)])
    },
  },
  {
    title: 'changes in a moved directory reach it, and its old name is free for another',
    lines: [49, 50],
    lowers: [{ a: dir({ f: 'f', g: 'g', s: dir({ x: 'x' }) }) }],
    run(s) {
      s.root.rename(s.at('a'), s.at('b'))
      s.root.unlink(s.at('b/f'))
      s.root.put(s.at('b/g'), '!', O_RDWR | O_APPEND)
      s.root.put(s.at('b/s/new'), 'n')
      s.root.mkdir(s.at('a'))
      s.root.put(s.at('a/own'), 'o')
      const check = () => {
        assert.deepEqual(s.root.walk(s.at()), ['a/', 'a/own', 'b/', 'b/g', 'b/s/', 'b/s/new', 'b/s/x'])
        assert.equal(s.root.read(s.at('b/g')), 'g!')
      }
      check()
      s.remount()
      check()
    },
  },
  {
    title: 'a subdirectory of a moved directory can be moved out of it',
    lines: [49],
    lowers: [{ a: dir({ b: dir({ c: dir({ f: 'x' }) }) }) }],
    run(s) {
      s.root.rename(s.at('a'), s.at('z'))
      s.root.rename(s.at('z/b/c'), s.at('c'))
      s.root.rename(s.at('z/b'), s.at('c/b'))
      s.root.rmdir(s.at('z'))
      for (let i = 0; i < 2; i++) {
        assert.deepEqual(s.root.walk(s.at()), ['c/', 'c/b/', 'c/f'])
        s.remount()
      }
    },
  },
  {
    title: 'a merged directory with changes in its upper moves with lower and upper children',
    lines: [49],
    lowers: [{ m: dir({ low: 'l', gone: 'g', s: dir({ deep: 'd' }) }) }],
    upper: { m: dir({ up: 'u', gone: whiteout(), s: dir({ new: 'n' }) }) },
    run(s) {
      s.root.rename(s.at('m'), s.at('n'))
      for (let i = 0; i < 2; i++) {
        assert.deepEqual(s.root.walk(s.at()), ['n/', 'n/low', 'n/s/', 'n/s/deep', 'n/s/new', 'n/up'])
        s.remount()
      }
    },
  },
  {
    title: 'a directory renamed onto a whiteout or an emptied merged directory shows no lower child',
    lines: [50],
    own: true,
    lowers: [{ gone: dir({ low: 'x' }), emptied: dir({ low: 'x' }), p: dir({ gone: dir({ low: 'x' }) }) }],
    run(s) {
      s.root.unlink(s.at('gone/low'))
      s.root.rmdir(s.at('gone'))
      s.root.unlink(s.at('p/gone/low'))
      s.root.rmdir(s.at('p/gone'))
      s.root.unlink(s.at('emptied/low'))
      for (const name of ['gone', 'emptied', 'p/gone']) {
        s.root.mkdir(s.at('new'))
        s.root.put(s.at('new/own'), 'x')
        s.root.rename(s.at('new'), s.at(name))
        assert.deepEqual(s.root.list(s.at(name)), ['own'])
      }
      s.remount()
      for (const name of ['gone', 'emptied', 'p/gone']) {
        assert.deepEqual(s.root.list(s.at(name)), ['own'], name)
        assert.ok(s.isOpaque(name))
      }
    },
  },
  {
    title: 'rename of a directory over an empty lower directory succeeds',
    lines: [51],
    lowers: [{ empty: dir(), e2: dir(), d: dir({ f: 'x' }) }],
    run(s) {
      s.root.mkdir(s.at('new'))
      s.root.put(s.at('new/n'), 'x')
      s.root.rename(s.at('new'), s.at('empty'))
      s.root.rename(s.at('d'), s.at('e2'))
      assert.deepEqual(s.root.walk(s.at()), ['e2/', 'e2/f', 'empty/', 'empty/n'])
    },
  },
  {
    title: 'rename with a trailing slash moves a directory',
    lines: [55],
    lowers: [{ low: dir({ f: 'x' }) }],
    upper: { up: dir({ f: 'x' }) },
    run(s) {
      s.root.rename(`${s.at('low')}/`, `${s.at('low2')}/`)
      s.root.rename(`${s.at('up')}/`, s.at('up2'))
      assert.deepEqual(s.root.walk(s.at()), ['low2/', 'low2/f', 'up2/', 'up2/f'])
      s.root.put(s.at('file'), 'x')
      assert.equal(s.root.errno('rename', `${s.at('file')}/`, s.at('g')), 'ENOTDIR')
    },
  },
  {
    title: '.. of a moved directory is the new parent, listed before or not',
    lines: [56],
    lowers: [{ a: dir({ f: 'x' }), listed: dir({ f: 'x' }), p: dir() }],
    upper: { up: dir(), pure: dir() },
    run(s) {
      for (const name of ['a', 'listed', 'up', 'pure']) {
        // The second time from what the kernel kept.
        if (name !== 'a' && name !== 'up') for (let i = 0; i < 2; i++) s.root.getdents(s.at(name))
        s.root.rename(s.at(name), s.at(`p/${name}`))
        checkParent(s, 'p', name)
      }
    },
  },
  {
    title: '.. of exchanged directories is the new parent, listed before or not',
    lines: [56],
    lowers: [{ p: dir({ listed: dir({ f: 'x' }) }) }],
    upper: { q: dir({ other: dir() }) },
    run(s) {
      checkParent(s, 'p', 'listed')
      checkParent(s, 'q', 'other')
      exchange(s, 'p/listed', 'q/other')
      checkParent(s, 'q', 'other')
      checkParent(s, 'p', 'listed')
    },
  },
  {
    title: 'getcwd fails in a removed directory and works after a failed rmdir and after a move',
    lines: [56],
    lowers: [{ gone: dir(), full: dir({ f: 'x' }), moved: dir() }],
    run(s) {
      s.root.call('chdir', s.at('gone'))
      s.root.rmdir(s.at('gone'))
      assert.equal(s.root.errno('getcwd'), 'ENOENT')
      s.root.call('chdir', s.at('full'))
      assert.equal(s.root.errno('rmdir', s.at('full')), 'ENOTEMPTY')
      assert.equal(s.root.call('getcwd'), s.at('full'))
      s.root.call('chdir', s.at('moved'))
      s.root.rename(s.at('moved'), s.at('there'))
      assert.equal(s.root.call('getcwd'), s.at('there'))
    },
  },
  {
    title: 'an open file survives a rename of itself and of any directory above it',
    lines: [57],
    lowers: [{ a: dir({ b: dir({ low: 'lower', ro: 'readonly' }) }) }],
    upper: { a: dir({ b: dir({ up: 'upper' }) }) },
    run(s) {
      const low = s.root.open(s.at('a/b/low'), O_RDWR)
      const up = s.root.open(s.at('a/b/up'), O_RDWR)
      const ro = s.root.open(s.at('a/b/ro'), O_RDONLY)
      s.root.rename(s.at('a/b/low'), s.at('a/b/low2'))
      s.root.rename(s.at('a'), s.at('z'))
      s.root.rename(s.at('z/b'), s.at('y'))
      s.root.pwrite(low, 'LOW', 0)
      s.root.ftruncate(low, 4)
      s.root.fchmod(low, 0o600)
      s.root.pwrite(up, 'UP', 0)
      s.root.fchmod(ro, 0o640)
      assert.equal(s.root.pread(ro, 10, 0), 'readonly')
      assert.equal(s.root.read(s.at('y/low2')), 'LOWe')
      assert.equal(s.root.lstat(s.at('y/low2')).mode, 0o600)
      assert.equal(s.root.read(s.at('y/up')), 'UPper')
      assert.equal(s.root.lstat(s.at('y/ro')).mode, 0o640)
      assert.equal(s.root.fstat(low).ino, s.root.lstat(s.at('y/low2')).ino)
      assert.deepEqual(s.root.walk(s.at()), ['y/', 'y/low2', 'y/ro', 'y/up', 'z/'])
    },
  },
]

const exchange = (s: Scene, a: string, b: string) => s.root.renameat2(s.at(a), s.at(b), RENAME_EXCHANGE)

const flags: Case[] = [
  {
    title: 'RENAME_EXCHANGE swaps upper and lower, file and directory, and hidden names stay hidden',
    lines: [53],
    lowers: [{ f: 'lower', both: 'lower', d: dir({ low: 'x' }), e: dir({ low: 'x' }), g: 'g' }],
    upper: { u: 'upper', both: 'upper', p: dir({ up: 'x' }) },
    run(s) {
      exchange(s, 'f', 'u')
      assert.deepEqual([s.root.read(s.at('f')), s.root.read(s.at('u'))], ['upper', 'lower'])
      exchange(s, 'both', 'f')
      assert.deepEqual([s.root.read(s.at('both')), s.root.read(s.at('f'))], ['upper', 'upper'])
      exchange(s, 'd', 'g')
      assert.equal(s.root.read(s.at('d')), 'g')
      assert.deepEqual(s.root.list(s.at('g')), ['low'])
      exchange(s, 'e', 'p')
      for (let i = 0; i < 2; i++) {
        const tree = ['both', 'd', 'e/', 'e/up', 'f', 'g/', 'g/low', 'p/', 'p/low', 'u']
        assert.deepEqual(s.root.walk(s.at()), tree)
        s.remount()
      }
      assert.equal(s.root.errno('renameat2', s.at('u'), s.at('absent'), RENAME_EXCHANGE), 'ENOENT')
    },
  },
  {
    title: 'RENAME_NOREPLACE succeeds on a free name and is EEXIST on a lower one',
    lines: [53],
    lowers: [{ a: 'a', b: 'b' }],
    run(s) {
      assert.equal(s.root.errno('renameat2', s.at('a'), s.at('b'), RENAME_NOREPLACE), 'EEXIST')
      s.root.renameat2(s.at('a'), s.at('c'), RENAME_NOREPLACE)
      assert.deepEqual(s.root.list(s.at()), ['b', 'c'])
    },
  },
  {
    title: 'unknown and contradictory rename flags are EINVAL',
    lines: [53],
    lowers: [{ a: 'a', b: 'b' }],
    run(s) {
      for (const flag of [8, 0x100, RENAME_EXCHANGE | RENAME_NOREPLACE]) {
        assert.equal(s.root.errno('renameat2', s.at('a'), s.at('b'), flag), 'EINVAL')
      }
      assert.deepEqual([s.root.read(s.at('a')), s.root.read(s.at('b'))], ['a', 'b'])
    },
  },
  {
    title: 'a directory made opaque by exchange stays so',
    lines: [50, 53],
    lowers: [{ d: dir({ low: 'x' }) }],
    upper: { o: opaque({ own: 'o' }) },
    run(s) {
      exchange(s, 'd', 'o')
      s.remount()
      assert.deepEqual(s.root.walk(s.at()), ['d/', 'd/own', 'o/', 'o/low'])
    },
  },
]

export const rename: Suite = { name: 'rename', cases: [...files, ...directories, ...flags] }
