// What open files, mappings, locks and watches keep while the file below them changes.
import assert from 'node:assert/strict'
import type { Case, Scene, Suite } from '../support/suite.js'
import {
  LOCK_EX,
  LOCK_NB,
  LOCK_SH,
  O_APPEND,
  O_CREAT,
  O_DIRECT,
  O_EXCL,
  O_NONBLOCK,
  O_RDONLY,
  O_RDWR,
  O_TMPFILE,
  O_TRUNC,
  O_WRONLY,
  SEEK_DATA,
  SEEK_HOLE,
} from '../support/syscalls.js'
import { copyOf, dir, file, filled, sparse, symlink } from '../support/tree.js'

const mib = 1 << 20
const [KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE] = [1, 2, 16]
const IN_MODIFY = 2
/** FS_NODUMP_FL. */
const NODUMP_FLAG = 0x40
const [O_DSYNC, O_SYNC] = [0o10000, 0o4010000]

/** A file small enough to be cached, and one big enough to be passed through. */
const sizes: Record<string, number> = { small: 100, big: 4 * mib }

const acrossCopyUp: Case[] = [
  ...Object.entries(sizes).map(
    ([size, count]): Case => ({
      title: `a read-only fd of a ${size} lower file reads what another writes later`,
      lines: [70],
      lowers: [{ f: filled('o', count) }],
      ...(size === 'big' && {
        fails: { 'mica passthrough': 'an fd that the kernel serves from the lower stays there' },
      }),
      run(s) {
        const reader = s.other.open(s.at('f'), O_RDONLY)
        assert.equal(s.other.pread(reader, 4, 0), 'oooo')
        const { ino } = s.other.fstat(reader)
        const writer = s.root.open(s.at('f'), O_RDWR)
        s.root.pwrite(writer, 'NEW', 0)
        assert.equal(s.other.pread(reader, 4, 0), 'NEWo')
        assert.equal(s.other.fstat(reader).ino, ino)
        s.root.pwrite(writer, 'END', count)
        assert.equal(s.other.fstat(reader).size, count + 3)
        assert.equal(s.other.pread(reader, 5, count - 2), 'ooEND')
        assert.equal(s.root.read(s.up('f')).length, count + 3)
      },
    }),
  ),
  ...Object.entries(sizes).map(
    ([size, count]): Case => ({
      title: `fstat of a read-only fd of a ${size} lower file shows what happens to the file later`,
      lines: [70],
      lowers: [{ f: filled('o', count), g: filled('o', count) }],
      run(s) {
        const readers = ['f', 'g'].map((name) => s.other.open(s.at(name), O_RDONLY))
        const shown = (reader: number) => {
          const { size, mode, nlink } = s.other.fstat(reader)
          return [size, mode & 0o777, nlink]
        }
        for (const reader of readers) assert.deepEqual(shown(reader), [count, 0o644, 1])
        const writer = s.root.open(s.at('f'), O_RDWR)
        s.root.pwrite(writer, 'END', count)
        s.root.truncate(s.at('g'), count + 3)
        for (const [i, name] of ['f', 'g'].entries()) {
          s.root.chmod(s.at(name), 0o600)
          s.root.link(s.at(name), s.at(`${name}2`))
          assert.deepEqual(shown(readers[i]!), [count + 3, 0o600, 2], name)
          s.root.unlink(s.at(name))
          s.root.chmod(s.at(`${name}2`), 0o640)
          assert.deepEqual(shown(readers[i]!), [count + 3, 0o640, 1], name)
        }
      },
    }),
  ),
  {
    title: 'no order of opens, writes and mappings changes the lower',
    lines: [71, 85],
    lowers: [{ small: filled('o', 100), big: filled('o', 2 * mib) }],
    run(s) {
      for (const name of ['small', 'big']) {
        const path = s.at(name)
        const readers = [s.root.open(path, O_RDONLY), s.other.open(path, O_RDONLY)]
        s.root.call('map', readers[0], 100, 'shared-read')
        const executed = s.root.call<number>('map', readers[0], 100, 'private')
        s.root.call('map_write', executed, 0, 'private')
        const writer = s.root.open(path, O_RDWR)
        const late = s.other.open(path, O_RDWR)
        s.root.pwrite(writer, 'one', 0)
        s.other.pwrite(late, 'two', 3)
        const mapping = s.root.call<number>('map', writer, 100, 'shared-write')
        s.root.call('map_write', mapping, 6, 'map')
        s.root.call('map_sync', mapping)
        for (const fd of readers) s.root.errno('close', fd)
        s.other.put(path, '!', O_WRONLY | O_APPEND)
        assert.equal(s.root.read(path).slice(0, 10), 'onetwomapo')
        assert.equal(s.root.read(s.low(name)).slice(0, 10), 'o'.repeat(10))
      }
    },
  },
  {
    title: 'opening for write while old fds and mappings live never fails',
    lines: [85],
    lowers: [{ f: filled('o', 2 * mib) }],
    run(s) {
      for (const flags of [O_RDONLY, O_RDWR, O_RDONLY, O_WRONLY | O_APPEND, O_RDONLY | O_DIRECT, O_RDWR]) {
        const fd = s.root.open(s.at('f'), flags)
        if (flags === O_RDONLY) s.root.call('map', fd, 4096, 'private')
        assert.equal(s.other.errno('open', s.at('f'), O_RDONLY), 'ok')
      }
      s.root.reset()
      s.other.reset()
      s.root.put(s.at('f'), 'after', O_RDWR)
      assert.equal(s.root.read(s.at('f')).slice(0, 6), 'aftero')
    },
  },
  {
    title: 'an upper file that many have open is read and written by all alike',
    lines: [85],
    upper: { f: 'start' },
    run(s) {
      const a = s.root.open(s.at('f'), O_RDWR)
      const b = s.other.open(s.at('f'), O_RDWR)
      const c = s.root.open(s.at('f'), O_RDONLY)
      s.root.pwrite(a, 'A', 0)
      s.other.pwrite(b, 'B', 1)
      assert.equal(s.root.pread(c, 10, 0), 'ABart')
      s.root.close(a)
      s.other.pwrite(b, 'C', 2)
      assert.equal(s.root.pread(c, 10, 0), 'ABCrt')
    },
  },
  {
    title: 'a lock taken on a read-only fd conflicts with one on a later writing fd',
    lines: [78],
    lowers: [{ f: 'x', g: 'x', h: 'x' }],
    run(s) {
      s.root.call('flock', s.root.open(s.at('f'), O_RDONLY), LOCK_SH)
      const second = s.other.open(s.at('f'), O_RDWR)
      assert.equal(s.other.errno('flock', second, LOCK_EX | LOCK_NB), 'EAGAIN')
      s.other.call('flock', second, LOCK_SH | LOCK_NB)
      for (const [name, isOfd] of [
        ['g', false],
        ['h', true],
      ]) {
        const reader = s.root.open(s.at(name as string), O_RDONLY)
        s.root.call('lock', reader, 'read', isOfd)
        const writer = s.other.open(s.at(name as string), O_RDWR)
        assert.equal(s.other.errno('lock', writer, 'write', isOfd), 'EAGAIN')
        s.root.call('lock', reader, 'none', isOfd)
        s.other.call('lock', writer, 'write', isOfd)
      }
    },
  },
  {
    title: 'a watch set on a lower file reports a write after its copy-up',
    lines: [79],
    lowers: [{ f: 'x' }],
    run(s) {
      const watch = s.other.call<number>('inotify', s.at('f'), 0xfff)
      s.root.put(s.at('f'), 'new', O_WRONLY)
      assert.ok(s.other.call<number>('inotify_events', watch) & IN_MODIFY)
    },
  },
]

const unlinked: Case[] = [
  {
    title: 'an unlinked open file can still be read, written, cut, changed and synced',
    lines: [72],
    lowers: [{ low: 'lower', copied: 'copied' }],
    upper: { up: 'upper' },
    run(s) {
      s.root.put(s.at('new'), 'fresh')
      for (const name of ['low', 'copied', 'up', 'new']) {
        if (name === 'copied') s.root.chmod(s.at(name), 0o600)
        const fd = s.root.open(s.at(name), O_RDWR)
        const { ino } = s.root.fstat(fd)
        s.root.unlink(s.at(name))
        assert.equal(s.root.pwrite(fd, 'WRITTEN', 0), 7)
        s.root.ftruncate(fd, 5)
        assert.equal(s.root.pread(fd, 100, 0), 'WRITT')
        s.root.fchmod(fd, 0o751)
        s.root.call('fchown', fd, 3, 4)
        s.root.call('futimens', fd, '5', '6')
        s.root.fsync(fd)
        const st = s.root.fstat(fd)
        assert.deepEqual(
          [st.nlink, st.size, st.mode, st.uid, st.gid, st.mtime],
          [0, 5, 0o751, 3, 4, 6n],
          name,
        )
        assert.equal(st.ino, ino)
        assert.equal(s.root.exists(s.at(name)), false)
      }
      assert.deepEqual(s.root.list(s.at()), [])
    },
  },
  {
    title: 'an open file that was replaced by a rename is still itself',
    lines: [72],
    lowers: [{ f: 'old', g: 'new' }],
    run(s) {
      const fd = s.root.open(s.at('f'), O_RDWR)
      s.root.rename(s.at('g'), s.at('f'))
      s.root.pwrite(fd, 'OLD!', 0)
      assert.deepEqual([s.root.pread(fd, 10, 0), s.root.fstat(fd).nlink], ['OLD!', 0])
      assert.equal(s.root.read(s.at('f')), 'new')
    },
  },
  {
    title: 'a read-only fd of an unlinked lower file reads on, and fchmod makes no name',
    lines: [73],
    lowers: [{ f: 'lower', d: dir({ g: 'lower' }) }],
    run(s) {
      for (const name of ['f', 'd/g']) {
        const fd = s.root.open(s.at(name), O_RDONLY)
        s.root.unlink(s.at(name))
        assert.equal(s.root.pread(fd, 10, 0), 'lower')
        s.root.errno('fchmod', fd, 0o600)
        assert.equal(s.root.pread(fd, 10, 0), 'lower')
        assert.equal(s.root.exists(s.at(name)), false)
        assert.ok(s.isWhiteout(name))
      }
      s.root.rmdir(s.at('d'))
      assert.deepEqual(s.root.list(s.at()), [])
    },
  },
  {
    title: 'an unlinked lower file has nlink 0, also after fchmod through a read-only fd',
    lines: [72, 73],
    lowers: [{ f: 'lower' }],
    fails: { kernel: 'nlink is 1 after the copy-up by fchmod' },
    run(s) {
      const fd = s.root.open(s.at('f'), O_RDONLY)
      s.root.unlink(s.at('f'))
      assert.equal(s.root.fstat(fd).nlink, 0)
      s.root.errno('fchmod', fd, 0o600)
      assert.equal(s.root.fstat(fd).nlink, 0)
    },
  },
  {
    title: 'O_TMPFILE gets mode, umask and owner of its maker, and O_EXCL forbids a name',
    lines: [76, 95],
    lowers: [{ d: dir({}, { mode: 0o1777 }) }],
    run(s) {
      s.user.call('umask', 0o027)
      const fd = s.user.open(s.at('d'), O_RDWR | O_TMPFILE, 0o666)
      s.user.write(fd, 'mine')
      assert.deepEqual(s.root.list(s.at('d')), [])
      s.user.call('linkat_fd', fd, s.at('d/named'))
      const { mode, uid, gid, size } = s.root.lstat(s.at('d/named'))
      assert.deepEqual([mode, uid, gid, size], [0o640, 1000, 1000, 4])
      const fixed = s.root.open(s.at('d'), O_RDWR | O_TMPFILE | O_EXCL, 0o600)
      assert.equal(s.root.errno('linkat_fd', fixed, s.at('d/other')), 'ENOENT')
    },
  },
]

const content: Case[] = [
  {
    title: 'small files that are open together are read each for itself',
    lines: [70],
    lowers: [{ a: 'first', b: 'second', c: 'third' }],
    run(s) {
      const fds = ['a', 'b', 'c'].map((name) => s.root.open(s.at(name), O_RDONLY))
      assert.deepEqual(
        fds.map((fd) => s.root.pread(fd, 10, 0)),
        ['first', 'second', 'third'],
      )
      s.root.close(fds[2]!)
      s.root.put(s.at('c'), 'changed', O_WRONLY)
      assert.equal(s.root.pread(fds[0]!, 10, 0), 'first')
      s.root.close(fds[0]!)
      assert.equal(s.root.pread(fds[1]!, 10, 3), 'ond')
      assert.equal(s.root.read(s.at('c')), 'changed')
    },
  },
  {
    title: 'two appending writers lose nothing',
    lines: [74],
    lowers: [{ f: 'head\n' }],
    run(s) {
      const count = 200
      const [a, b] = [
        s.root.open(s.at('f'), O_WRONLY | O_APPEND),
        s.other.open(s.at('f'), O_WRONLY | O_APPEND),
      ]
      s.root.start('append_lines', a, 'a', count)
      s.other.start('append_lines', b, 'b', count)
      s.root.finish()
      s.other.finish()
      assert.ok(s.root.call<number>('getfl', a) & O_APPEND)
      const lines = s.root.read(s.at('f')).trimEnd().split('\n')
      assert.equal(lines.length, 2 * count + 1)
      assert.equal(new Set(lines).size, lines.length)
      assert.ok(lines.every((line, i) => (i === 0 ? line === 'head' : /^[ab]\d{4}$/.test(line))))
    },
  },
  {
    title: 'O_APPEND that is set or taken away later is obeyed',
    lines: [74],
    lowers: [{ f: 'head' }],
    run(s) {
      const fd = s.root.open(s.at('f'), O_RDWR)
      s.root.call('setfl', fd, O_APPEND)
      s.root.write(fd, '+tail')
      s.root.call('setfl', fd, 0)
      s.root.pwrite(fd, 'H', 0)
      assert.equal(s.root.read(s.at('f')), 'Head+tail')
    },
  },
  {
    title: 'a write after a truncation through another fd brings no old byte back',
    lines: [75],
    lowers: [{ f: filled('o', 10_000) }],
    run(s) {
      const fd = s.root.open(s.at('f'), O_RDWR)
      s.root.pread(fd, 10_000, 0)
      s.root.pwrite(fd, 'N', 9_000)
      s.other.truncate(s.at('f'), 10)
      assert.equal(s.root.fstat(fd).size, 10)
      s.root.pwrite(fd, 'tail', 100)
      const wanted = `${'o'.repeat(10)}${'\0'.repeat(90)}tail`
      assert.equal(s.root.pread(fd, 200, 0), wanted)
      assert.equal(s.other.read(s.at('f')), wanted)
      assert.equal(s.root.read(s.up('f')), wanted)
      const second = s.other.open(s.at('f'), O_RDONLY)
      assert.equal(s.root.fstat(fd).size, s.other.fstat(second).size)
    },
  },
  {
    title: 'a lower program that runs can not be opened for write, and the other way round',
    lines: [77],
    lowers: [{ program: copyOf('/bin/sleep'), written: copyOf('/bin/true') }],
    run(s) {
      const pid = s.other.call<number>('spawn', [s.at('program'), '60'])
      try {
        assert.equal(s.root.errno('open', s.at('program'), O_RDWR), 'ETXTBSY')
        assert.equal(s.root.errno('truncate', s.at('program'), 0), 'ETXTBSY')
      } finally {
        s.other.call('end', pid)
      }
      s.root.put(s.at('program'), 'free', O_WRONLY | O_TRUNC)
      const fd = s.root.open(s.at('written'), O_RDWR)
      assert.equal(s.other.call('run', [s.at('written')]), 127)
      s.root.close(fd)
      assert.equal(s.other.call('run', [s.at('written')]), 0)
    },
  },
  {
    title: 'a writable shared mapping of a lower file reaches the upper and all readers',
    lines: [80],
    lowers: [{ f: filled('o', 9000), g: filled('o', 2 * mib) }],
    run(s) {
      for (const name of ['f', 'g']) {
        const fd = s.root.open(s.at(name), O_RDWR)
        const mapping = s.root.call<number>('map', fd, 9000, 'shared-write')
        s.root.call('map_write', mapping, 4090, 'mapped bytes')
        s.root.call('map_sync', mapping)
        assert.equal(s.other.read(s.at(name)).slice(4088, 4104), 'oomapped bytesoo')
        assert.equal(s.root.read(s.up(name)).slice(4090, 4102), 'mapped bytes')
        s.root.pwrite(fd, 'by write', 0)
        assert.equal(s.root.call('map_read', mapping, 0, 8), 'by write')
      }
    },
  },
  {
    title: 'a lower program can be mapped and executed, before and after its copy-up',
    lines: [80],
    lowers: [{ program: copyOf('/bin/true') }],
    run(s) {
      assert.equal(s.root.call('run', [s.at('program')]), 0)
      assert.equal(s.root.call<string>('map_exec', s.at('program')).slice(1, 4), 'ELF')
      s.root.chmod(s.at('program'), 0o700)
      assert.equal(s.root.call<string>('map_exec', s.at('program')).slice(1, 4), 'ELF')
      assert.equal(s.root.call('run', [s.at('program')]), 0)
    },
  },
  {
    title: 'fallocate grows, keeps the size, punches and zeroes in the upper',
    lines: [81],
    lowers: [{ f: filled('o', 64 * 1024) }],
    run(s) {
      const fd = s.root.open(s.at('f'), O_RDWR)
      s.root.fallocate(fd, 0, 0, 100_000)
      assert.equal(s.root.fstat(fd).size, 100_000)
      s.root.fallocate(fd, KEEP_SIZE, 100_000, 100_000)
      assert.equal(s.root.fstat(fd).size, 100_000)
      s.root.fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 4096, 8192)
      s.root.fallocate(fd, ZERO_RANGE, 20480, 4096)
      assert.equal(s.root.errno('fallocate', fd, PUNCH_HOLE, 0, 10), 'EOPNOTSUPP')
      const wanted =
        'o'.repeat(4096) + '\0'.repeat(8192) + 'o'.repeat(8192) + '\0'.repeat(4096) + 'o'.repeat(10)
      assert.equal(s.root.pread(fd, wanted.length, 0), wanted)
      const up = s.root.open(s.up('f'), O_RDONLY)
      assert.equal(s.root.lseek(up, 0, SEEK_HOLE), 4096)
      assert.equal(s.root.fstat(up).size, 100_000)
    },
  },
  ...(['lower', 'upper'] as const).map((layer): Case => {
    const tree = { f: sparse(mib, [[512 * 1024, 'd'.repeat(4096)]]) }
    return {
      title: `SEEK_DATA and SEEK_HOLE see the holes of a file of the ${layer}`,
      lines: [81],
      ...(layer === 'lower' ? { lowers: [tree] } : { upper: tree }),
      run(s) {
        const fd = s.root.open(s.at('f'), layer === 'lower' ? O_RDONLY : O_RDWR)
        assert.equal(s.root.lseek(fd, 0, SEEK_DATA), 512 * 1024)
        assert.equal(s.root.lseek(fd, 512 * 1024, SEEK_HOLE), 512 * 1024 + 4096)
        assert.equal(s.root.lseek(fd, 100, SEEK_HOLE), 100)
        assert.equal(s.root.errno('lseek', fd, 516 * 1024, SEEK_DATA), 'ENXIO')
        assert.equal(s.root.lseek(fd, -1, 2), mib - 1)
      },
    }
  }),
  {
    title: 'copy_file_range copies from a lower file to a new one, also to one made with mode 0444',
    lines: [81, 96],
    lowers: [{ f: filled('0123456789', 30_000) }],
    run(s) {
      const from = s.root.open(s.at('f'), O_RDONLY)
      for (const [name, mode] of [
        ['new', 0o644],
        ['readonly', 0o444],
      ] as const) {
        const to = s.root.open(s.at(name), O_WRONLY | O_CREAT | O_EXCL, mode)
        assert.equal(s.root.copyFileRange(from, to, 300_000), 300_000)
        s.root.close(to)
        assert.equal(s.root.read(s.at(name)), '0123456789'.repeat(30_000))
      }
      assert.equal(s.isUp('f'), false)
    },
  },
  {
    title: 'O_DIRECT reads and writes, on a lower and on an upper file',
    lines: [82],
    lowers: [{ f: filled('o', 16384) }],
    run(s) {
      const reader = s.root.open(s.at('f'), O_RDONLY | O_DIRECT)
      assert.equal(s.root.call('direct_read', reader, 4096, 4096), 'o'.repeat(4096))
      const fd = s.root.open(s.at('f'), O_RDWR | O_DIRECT)
      assert.equal(s.root.call('direct_write', fd, 4096, 4096, 'N'), 4096)
      assert.equal(s.root.call('direct_read', fd, 4096, 4096), 'N'.repeat(4096))
      assert.equal(s.other.read(s.at('f')).slice(4095, 8193), `o${'N'.repeat(4096)}o`)
      assert.equal(s.root.read(s.up('f')).slice(4095, 4097), 'oN')
    },
  },
  {
    title: 'O_SYNC and O_DSYNC are kept and their writes arrive',
    lines: [82],
    lowers: [{ f: 'x' }],
    run(s) {
      for (const flag of [O_DSYNC, O_SYNC]) {
        const fd = s.root.open(s.at('f'), O_WRONLY | flag)
        s.root.pwrite(fd, 'synced', 0)
        assert.equal(s.root.call<number>('getfl', fd) & O_SYNC, flag)
        assert.equal(s.root.read(s.up('f')), 'synced')
      }
    },
  },
  {
    title: 'FS_IOC_GETFLAGS of a lower file copies nothing up, FS_IOC_SETFLAGS does',
    lines: [83],
    lowers: [{ f: 'x', d: dir() }],
    run(s) {
      const fd = s.root.open(s.at('f'), O_RDONLY)
      const flags = s.root.call<number>('getflags', fd)
      const low = s.root.call<number>('getflags', s.root.open(s.low('f'), O_RDONLY))
      assert.equal(flags & 0xff, low & 0xff)
      assert.equal(s.isUp('f'), false)
      s.root.call('setflags', fd, flags | NODUMP_FLAG)
      assert.ok(s.isUp('f'))
      assert.ok(s.root.call<number>('getflags', fd) & NODUMP_FLAG)
    },
  },
  {
    title: 'an ioctl that is not known is ENOTTY on lower and upper files and directories',
    lines: [83],
    lowers: [{ f: 'x', d: dir() }],
    upper: { up: 'x' },
    run(s) {
      // FITRIM would be served by the file system below, TCGETS by a terminal.
      for (const name of ['f', 'up', 'd']) {
        const fd = s.root.open(s.at(name), O_RDONLY)
        for (const command of [0xc0185879, 0x5401])
          assert.equal(s.root.errno('ioctl', fd, command), 'ENOTTY', name)
      }
      assert.equal(s.isUp('f'), false)
    },
  },
]

const suid = () => file('x', { mode: 0o6777 })

const privileges: Case[] = [
  {
    title: "setuid and setgid go by an ordinary user's write and truncation and stay for root's",
    lines: [84],
    lowers: [
      { d: dir({ write: suid(), cut: suid(), trunc: suid(), root: suid(), chown: suid() }, { mode: 0o777 }) },
    ],
    run(s) {
      const mode = (name: string) => s.root.lstat(s.at(`d/${name}`)).mode
      s.user.put(s.at('d/write'), 'y', O_WRONLY)
      s.user.truncate(s.at('d/cut'), 0)
      s.user.close(s.user.open(s.at('d/trunc'), O_WRONLY | O_TRUNC))
      s.root.put(s.at('d/root'), 'y', O_WRONLY)
      s.root.chown(s.at('d/chown'), 1, 1)
      for (const name of ['write', 'cut', 'trunc', 'chown']) assert.equal(mode(name), 0o777, name)
      assert.equal(mode('root'), 0o6777)
      assert.equal(s.root.lstat(s.up('d/write')).mode, 0o777)
    },
  },
  {
    title: 'setuid goes by a write of an ordinary user to an upper file that root has open too',
    lines: [84],
    upper: { f: suid() },
    run(s) {
      const mine = s.root.open(s.at('f'), O_RDWR)
      const theirs = s.user.open(s.at('f'), O_RDWR)
      s.root.pwrite(mine, 'r', 0)
      assert.equal(s.root.lstat(s.at('f')).mode, 0o6777)
      s.user.pwrite(theirs, 'u', 0)
      assert.equal(s.root.lstat(s.at('f')).mode, 0o777)
      assert.equal(s.root.lstat(s.up('f')).mode, 0o777)
    },
  },
  {
    title: 'setuid and setgid that an open file gets go by the next write of an ordinary user',
    lines: [84],
    upper: { f: file('x', { mode: 0o777 }) },
    run(s) {
      const theirs = s.user.open(s.at('f'), O_RDWR)
      s.user.pwrite(theirs, 'a', 0)
      s.root.chmod(s.at('f'), 0o6777)
      assert.equal(s.root.lstat(s.at('f')).mode, 0o6777)
      s.user.pwrite(theirs, 'u', 0)
      assert.equal(s.root.lstat(s.at('f')).mode, 0o777)
      assert.equal(s.root.lstat(s.up('f')).mode, 0o777)
    },
  },
  {
    title: 'open follows symlinks of the mount and creates through them',
    lines: [96],
    lowers: [{ s: symlink('d/target'), d: dir() }],
    run(s) {
      s.root.put(s.at('s'), 'through', O_WRONLY | O_CREAT)
      assert.equal(s.root.read(s.at('d/target')), 'through')
      assert.equal(s.root.errno('open', s.at('s'), O_RDONLY | O_NONBLOCK | 0o400000), 'ELOOP')
    },
  },
]

/** Reading 1 MiB and more at offsets that are no multiple of anything. */
function readsAlike(s: Scene, name: string): void {
  const [a, b] = [s.root.open(s.at(name), O_RDONLY), s.root.open(s.low(name), O_RDONLY)]
  for (const [length, offset] of [
    [3 * mib, 1],
    [4095, 2 * mib - 7],
    [10, 5 * mib],
    [100_000, 3 * mib - 50_000],
  ] as const) {
    assert.equal(s.root.pread(a, length, offset), s.root.pread(b, length, offset))
  }
}

const big: Case[] = [
  {
    title: 'reads of any size and offset give what the lower holds',
    lines: [70],
    lowers: [{ f: filled('0123456789abcde', 200_000) }],
    run: (s) => readsAlike(s, 'f'),
  },
]

export const openFiles: Suite = {
  name: 'open files',
  isData: true,
  cases: [...acrossCopyUp, ...unlinked, ...content, ...privileges, ...big],
}
