// Listing merged directories, their attributes, and who may change them.
import assert from 'node:assert/strict'
import type { Case, Scene, Suite } from '../support/suite.js'
import { O_CREAT, O_DIRECTORY, O_EXCL, O_RDONLY, O_RDWR, O_WRONLY } from '../support/syscalls.js'
import {
  acl,
  defaultMtime,
  dir,
  file,
  GROUP_OBJ,
  MASK,
  OTHER,
  type Tree,
  USER,
  USER_OBJ,
  whiteout,
} from '../support/tree.js'

const numbered = (count: number, prefix: string): Tree =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`${prefix}${String(i).padStart(4, '0')}`, '']))

const listing: Case[] = [
  {
    title: 'a merged directory lists each name once, the same way in every listing',
    lines: [86],
    lowers: [
      { d: dir({ both: 'top', a: '', ...numbered(300, 't') }) },
      { d: dir({ both: 'low', b: '', ...numbered(300, 'l') }) },
    ],
    upper: { d: dir({ both: 'upper', c: '' }) },
    run(s) {
      const names = s.root.getdents(s.at('d')).map((entry) => entry.name)
      assert.equal(new Set(names).size, names.length)
      assert.equal(names.length, 606)
      assert.deepEqual(
        s.root
          .getdents(s.at('d'))
          .map((entry) => entry.name)
          .sort(),
        names.sort(),
      )
    },
  },
  {
    title: 'seekdir returns to any place that telldir gave',
    lines: [86],
    lowers: [{ d: dir(numbered(200, 'a')) }, { d: dir(numbered(200, 'b')) }],
    upper: { d: dir(numbered(20, 'u')) },
    run(s) {
      const stream = s.root.call<number>('opendir', s.at('d'))
      const places: [number, string][] = []
      for (;;) {
        const place = s.root.call<number>('telldir', stream)
        const [name] = s.root.call<string[]>('readdir', stream)
        if (name === undefined) break
        places.push([place, name])
      }
      assert.equal(places.length, 422)
      for (const [place, name] of [...places].reverse().filter((_, i) => i % 7 === 0)) {
        s.root.call('seekdir', stream, place)
        assert.deepEqual(s.root.call('readdir', stream), [name])
      }
    },
  },
  {
    title: 'rewinddir shows what was made and deleted since the directory was opened',
    lines: [87],
    lowers: [{ d: dir({ low: '', gone: '' }) }],
    upper: { d: dir({ up: '' }) },
    run(s) {
      const stream = s.root.call<number>('opendir', s.at('d'))
      const names = () => s.root.call<string[]>('readdir', stream, 100).sort()
      assert.deepEqual(names(), ['.', '..', 'gone', 'low', 'up'])
      s.other.put(s.at('d/new'), '')
      s.other.unlink(s.at('d/gone'))
      s.other.unlink(s.at('d/up'))
      s.root.call('rewinddir', stream)
      assert.deepEqual(names(), ['.', '..', 'low', 'new'])
      const fd = s.root.open(s.at('d'), O_RDONLY)
      s.root.call('getdents_fd', fd)
      s.other.unlink(s.at('d/low'))
      s.root.lseek(fd, 0)
      const found = s.root.call<[string][]>('getdents_fd', fd).map(([name]) => name)
      assert.deepEqual(found.sort(), ['.', '..', 'new'])
    },
  },
  {
    title: 'deleting each entry of 600 while scanning sees each once and leaves none',
    lines: [88],
    lowers: [{ d: dir(numbered(250, 'a')) }, { d: dir(numbered(250, 'b')) }],
    upper: { d: dir(numbered(100, 'u')) },
    run(s) {
      const seen = s.root.call<string[]>('scan_and_remove', s.at('d'))
      assert.equal(seen.length, 600)
      assert.equal(new Set(seen).size, 600)
      assert.deepEqual(s.root.list(s.at('d')), [])
      s.root.rmdir(s.at('d'))
    },
  },
  {
    title: 'names added during a scan appear at most once and old ones exactly once',
    lines: [89],
    lowers: [{ d: dir(numbered(300, 'low')) }],
    upper: { d: dir(numbered(30, 'up')) },
    run(s) {
      const stream = s.root.call<number>('opendir', s.at('d'))
      const seen: string[] = []
      for (let i = 0; ; i++) {
        const names = s.root.call<string[]>('readdir', stream, 10)
        if (names.length === 0) break
        seen.push(...names)
        if (i < 60) s.root.put(s.at(`d/new${i}`), '')
      }
      assert.equal(new Set(seen).size, seen.length)
      assert.equal(seen.filter((name) => !name.startsWith('new')).length, 332)
    },
  },
  {
    title: 'who begins after a change sees it whole although others are in the middle',
    lines: [86, 87],
    lowers: [{ d: dir(numbered(2000, 'low')) }],
    run(s) {
      const begin = (size: number) => {
        const fd = s.root.open(s.at('d'), O_RDONLY | O_DIRECTORY)
        return { fd, names: part(fd, size) }
      }
      const part = (fd: number, size: number) =>
        s.root.call<[string][]>('getdents_fd', fd, size, true).map(([name]) => name)
      const early = begin(32768)
      const added = Array.from({ length: 200 }, (_, i) => `new${i}`)
      for (const name of added) s.root.put(s.at(`d/${name}`), '')
      for (let i = 0; i < 100; i++) s.root.unlink(s.at(`d/low${String(i * 20).padStart(4, '0')}`))
      const late = begin(4096)
      s.root.call('getdents_fd', early.fd)
      const rest = s.root.call<[string][]>('getdents_fd', late.fd).map(([name]) => name)
      const seen = [...late.names, ...rest].filter((name) => name !== '.' && name !== '..')
      assert.equal(new Set(seen).size, seen.length)
      assert.deepEqual(seen.sort(), s.root.list(s.at('d')).sort())
      assert.equal(seen.length, 2100)
    },
  },
  {
    title: 'names removed ahead of a scan stay removed, and new files in their place are the new ones',
    lines: [86],
    lowers: [{ d: dir(numbered(1500, 'low')) }],
    run(s) {
      const stream = s.root.call<number>('opendir', s.at('d'))
      const seen = s.root.call<string[]>('readdir', stream, 5)
      const isThere = (name: string) => s.root.exists(s.at(`d/${name}`))
      // Who looks at what was listed gets further names with their attributes.
      for (const name of seen) assert.ok(isThere(name))
      const ahead = s.root.list(s.at('d')).filter((name) => !seen.includes(name))
      const [replaced, ...removed] = ahead.slice(-150)
      for (const name of removed) s.root.unlink(s.at(`d/${name}`))
      s.root.unlink(s.at(`d/${replaced}`))
      s.root.put(s.at(`d/${replaced}`), 'another')
      assert.ok(isThere(seen[0]!))
      while (s.root.call<string[]>('readdir', stream, 100).length > 0);
      assert.deepEqual(removed.filter(isThere), [])
      assert.equal(s.root.read(s.at(`d/${replaced}`)), 'another')
    },
  },
  {
    title: 'an empty merged directory lists . and .. only',
    lines: [90],
    lowers: [{ d: dir({ a: whiteout() }) }, { d: dir({ a: 'x', b: 'x' }) }],
    upper: { d: dir({ b: whiteout() }) },
    run(s) {
      const names = s.root.getdents(s.at('d')).map((entry) => entry.name)
      assert.deepEqual(names.sort(), ['.', '..'])
      s.root.rmdir(s.at('d'))
    },
  },
  {
    title: 'a removed lower directory that is still open can be changed',
    lines: [72],
    lowers: [{ d: dir({ e: dir() }) }],
    fails: { kernel: 'EIO: its copy-up has no place to go' },
    run(s) {
      const fd = s.root.open(s.at('d/e'), O_RDONLY)
      s.root.rmdir(s.at('d/e'))
      s.root.fchmod(fd, 0o711)
      assert.equal(s.root.fstat(fd).mode & 0o777, 0o711)
      s.root.mkdir(s.at('d/e'), 0o750)
      assert.equal(s.root.stat(s.at('d/e')).mode & 0o777, 0o750)
      assert.equal(s.root.fstat(fd).mode & 0o777, 0o711)
    },
  },
  {
    title: 'an empty lower directory that a rename overwrites stays with who has it open',
    lines: [51],
    lowers: [{ b: dir(), d: dir({ e: dir({}, { mode: 0o711 }) }) }],
    run(s) {
      const fd = s.root.open(s.at('d/e'), O_RDONLY)
      const { ino } = s.root.fstat(fd)
      s.root.rename(s.at('b'), s.at('d/e'))
      assert.equal(s.root.fstat(fd).ino, ino)
      assert.equal(s.root.fstat(fd).mode & 0o777, 0o711)
      assert.notEqual(s.root.stat(s.at('d/e')).ino, ino)
      assert.equal(s.root.errno('getdents_fd', fd), 'ENOENT')
    },
  },
  {
    title: 'a removed directory that is still open lists nothing',
    lines: [90],
    lowers: [{ d: dir({ f: '' }) }],
    run(s) {
      const fd = s.root.open(s.at('d'), O_RDONLY)
      s.root.unlink(s.at('d/f'))
      s.root.rmdir(s.at('d'))
      s.root.mkdir(s.at('d'))
      s.root.put(s.at('d/other'), '')
      assert.equal(s.root.errno('getdents_fd', fd), 'ENOENT')
      assert.equal(s.root.errno('open', `/proc/self/fd/${fd}/x`, O_CREAT | O_WRONLY), 'ENOENT')
    },
  },
]

const attributes: Case[] = [
  {
    title: 'attributes of a merged directory are those of its topmost layer',
    lines: [91],
    lowers: [
      { d: dir({}, { mode: 0o2711, uid: 11, gid: 12, mtime: 1n, xattrs: { 'user.top': 't' } }) },
      { d: dir({}, { mode: 0o777, uid: 21, xattrs: { 'user.low': 'l' } }), e: dir({}, { mode: 0o700 }) },
    ],
    upper: { e: dir({}, { mode: 0o751, mtime: 2n, xattrs: { 'user.up': 'u' } }) },
    run(s) {
      const [d, e] = [s.root.lstat(s.at('d')), s.root.lstat(s.at('e'))]
      assert.deepEqual([d.mode, d.uid, d.gid, d.mtime], [0o2711, 11, 12, 1n])
      assert.deepEqual([e.mode, e.uid, e.mtime], [0o751, 0, 2n])
      assert.deepEqual(s.root.listxattr(s.at('d')), ['user.top'])
      assert.deepEqual(s.root.listxattr(s.at('e')), ['user.up'])
    },
  },
  {
    title: 'mtime and ctime of a directory move when a lower name is deleted or a new one made',
    lines: [92],
    lowers: [{ d: dir({ f: '', s: dir(), g: '' }) }],
    run(s) {
      assert.equal(s.root.lstat(s.at('d')).mtime, defaultMtime)
      const acts: ((s: Scene) => void)[] = [
        (s) => s.root.unlink(s.at('d/f')),
        (s) => s.root.put(s.at('d/new'), ''),
        (s) => s.root.rmdir(s.at('d/s')),
        (s) => s.root.rename(s.at('d/g'), s.at('d/h')),
        (s) => s.root.mkdir(s.at('d/f')),
      ]
      for (const act of acts) {
        s.root.utimens(s.at('d'), 1n, 1n)
        const before = s.root.lstat(s.at('d'))
        act(s)
        const after = s.root.lstat(s.at('d'))
        assert.ok(after.mtime > 1n, String(act))
        assert.ok(after.ctime >= before.ctime)
      }
    },
  },
  {
    title: 'nlink of a directory is 1, or 2 and its subdirectories: find skips none',
    lines: [92],
    lowers: [
      { d: dir({ a: dir({ x: '' }), b: dir() }) },
      { d: dir({ c: dir({ y: '' }) }), e: dir({ a: dir() }) },
    ],
    upper: { d: dir({ u: dir({ z: '' }) }) },
    run(s) {
      const { nlink } = s.root.lstat(s.at('d'))
      assert.ok(nlink === 1 || nlink === 2 + 4, `nlink ${nlink}`)
      const { nlink: pure } = s.root.lstat(s.at('e'))
      assert.ok(pure === 1 || pure === 3, `nlink ${pure}`)
    },
  },
  {
    title: 'in a directory of 100,000 names a lookup reads no directory and opendir stats none',
    lines: [93],
    volumes: { lowers: [{ tmpfs: 'size=64m,nr_inodes=200000' }] },
    lowers: [{ d: dir() }],
    prepare: (s) => s.root.call('many_files', s.low('d'), 100_000),
    run(s) {
      const [lookup, outcome] = s.root.call<[number, string]>('timed_stat', s.at('d/f099998'))
      const [miss, missed] = s.root.call<[number, string]>('timed_stat', s.at('d/absent'))
      const open = s.root.call<number>('timed_opendir', s.at('d'))
      const [all, count] = s.root.call<[number, number]>('timed_listdir', s.at('d'))
      assert.deepEqual([outcome, missed, count], ['ok', 'ENOENT', 100_000])
      for (const [what, us] of Object.entries({ lookup, miss, open })) {
        assert.ok(us < all / 4, `${what} ${us.toFixed(0)} µs, listing ${all.toFixed(0)} µs`)
      }
    },
  },
]

const rights: Case[] = [
  {
    title: 'the permissions of the merged directory decide who may delete and create',
    lines: [94],
    lowers: [
      {
        closed: dir({ f: file('x', { uid: 1000 }) }, { mode: 0o755 }),
        open: dir({ f: 'x', s: dir() }, { mode: 0o777 }),
        sticky: dir({ theirs: 'x', mine: file('x', { uid: 1000 }) }, { mode: 0o1777 }),
        unseen: dir({ f: 'x' }, { mode: 0o744 }),
      },
    ],
    run(s) {
      assert.equal(s.user.errno('unlink', s.at('closed/f')), 'EACCES')
      assert.equal(s.user.errno('open', s.at('closed/new'), O_CREAT | O_WRONLY), 'EACCES')
      assert.equal(s.user.errno('unlink', s.at('sticky/theirs')), 'EPERM')
      assert.equal(s.user.errno('rename', s.at('sticky/theirs'), s.at('sticky/x')), 'EPERM')
      assert.equal(s.user.errno('lstat', s.at('unseen/f')), 'EACCES')
      assert.deepEqual(s.root.walk(s.up()), [])
      s.user.unlink(s.at('open/f'))
      s.user.rmdir(s.at('open/s'))
      s.user.unlink(s.at('sticky/mine'))
      s.user.put(s.at('sticky/new'), 'mine')
      s.user.mkdir(s.at('sticky/newdir'))
      assert.deepEqual(s.root.list(s.at('open')), [])
      assert.deepEqual(s.root.list(s.at('sticky')), ['new', 'newdir', 'theirs'])
      const { uid, mode } = s.root.lstat(s.at('sticky/new'))
      assert.deepEqual([uid, mode], [1000, 0o644])
      assert.equal(s.root.lstat(s.up('sticky')).mode, 0o1777)
    },
  },
  {
    title: 'a supplementary or owning group gives its rights',
    lines: [94],
    lowers: [{ d: dir({ f: file('x', { gid: 1000, mode: 0o660 }) }, { gid: 1000, mode: 0o770 }) }],
    run(s) {
      s.user.put(s.at('d/f'), 'group', O_WRONLY)
      s.user.put(s.at('d/new'), 'x')
      assert.equal(s.root.read(s.at('d/f')), 'group')
      assert.equal(s.root.lstat(s.at('d/f')).uid, 0)
    },
  },
  {
    title: 'the umask holds for files, directories, nodes and fifos, also over a whiteout',
    lines: [95],
    lowers: [{ d: dir({ f: '', dir: '', fifo: '', node: '' }, { mode: 0o777 }) }],
    upper: {
      d: dir({ f: whiteout(), dir: whiteout(), fifo: whiteout(), node: whiteout() }, { mode: 0o777 }),
    },
    run(s) {
      s.root.call('umask', 0o027)
      for (const again of ['', '2']) {
        s.root.put(s.at(`d/f${again}`), '', O_CREAT | O_WRONLY, 0o666)
        s.root.mkdir(s.at(`d/dir${again}`), 0o777)
        s.root.mkfifo(s.at(`d/fifo${again}`), 0o666)
        s.root.mknod(s.at(`d/node${again}`), 0o020666, 1, 3)
        const mode = (name: string) => s.root.lstat(s.at(`d/${name}${again}`)).mode
        assert.deepEqual(['f', 'dir', 'fifo', 'node'].map(mode), [0o640, 0o750, 0o640, 0o640])
      }
    },
  },
  {
    title: 'a default ACL of the parent replaces the umask and is inherited',
    lines: [95],
    lowers: [
      {
        d: dir(
          {},
          {
            mode: 0o777,
            xattrs: {
              'system.posix_acl_default': acl(
                [USER_OBJ, 7],
                [USER, 7, 1000],
                [GROUP_OBJ, 5],
                [MASK, 7],
                [OTHER, 0],
              ),
            },
          },
        ),
      },
    ],
    run(s) {
      s.root.call('umask', 0o077)
      s.root.put(s.at('d/f'), '', O_CREAT | O_WRONLY, 0o666)
      s.root.mkdir(s.at('d/s'), 0o777)
      s.root.mkfifo(s.at('d/p'), 0o666)
      assert.deepEqual(
        ['f', 's', 'p'].map((name) => s.root.lstat(s.at(`d/${name}`)).mode),
        [0o660, 0o770, 0o660],
      )
      const wanted = acl([USER_OBJ, 6], [USER, 7, 1000], [GROUP_OBJ, 5], [MASK, 6], [OTHER, 0])
      assert.equal(s.root.getxattr(s.at('d/f'), 'system.posix_acl_access'), wanted)
      const inherited = s.root.getxattr(s.at('d'), 'system.posix_acl_default')
      assert.equal(s.root.getxattr(s.at('d/s'), 'system.posix_acl_default'), inherited)
      s.user.put(s.at('d/f'), 'by the ACL', O_WRONLY)
    },
  },
  {
    title: 'what is made with mode 0, 0555 or 0444 can be used through the fd that made it',
    lines: [96],
    lowers: [{ d: dir({}, { mode: 0o777 }) }],
    run(s) {
      for (const process of [s.root, s.user]) {
        const name = (what: string) => s.at(`d/${what}-${process.uid}`)
        const fd = process.open(name('f'), O_RDWR | O_CREAT | O_EXCL, 0o444)
        process.pwrite(fd, 'written', 0)
        assert.equal(process.pread(fd, 10, 0), 'written')
        const zero = process.open(name('zero'), O_RDWR | O_CREAT | O_EXCL, 0)
        process.pwrite(zero, 'written', 0)
        process.ftruncate(zero, 3)
        process.mkdir(name('none'), 0)
        process.mkdir(name('ro'), 0o555)
        assert.equal(process.errno('open', name('f'), O_WRONLY), process.uid === 0 ? 'ok' : 'EACCES')
        const mode = (what: string) => s.root.lstat(name(what)).mode
        assert.deepEqual(['f', 'zero', 'none', 'ro'].map(mode), [0o444, 0, 0, 0o555])
      }
    },
  },
]

export const directories: Suite = { name: 'directories', cases: [...listing, ...attributes, ...rights] }
