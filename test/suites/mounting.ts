// The mount as a whole: its numbers, read-only mounts, what is refused, crashes, durability.
import assert from 'node:assert/strict'
import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { lazyUnmount, MountError, type MountSpec, mountsBelow, pause } from '../support/driver.js'
import type { Case, Scene, Suite } from '../support/suite.js'
import { O_CREAT, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY, RENAME_EXCHANGE } from '../support/syscalls.js'
import { defaultAtime, dir, file, filled, link, whiteout } from '../support/tree.js'

const noDaemon = { kernel: 'a kernel mount has no process to kill' }

/** Each call that changes something, with arguments that would succeed on a writable mount. */
function writes(s: Scene): [string, ...unknown[]][] {
  return [
    ['open', s.at('f'), O_WRONLY],
    ['open', s.at('f'), O_RDONLY | O_TRUNC],
    ['open', s.at('new'), O_CREAT | O_WRONLY],
    ['truncate', s.at('f'), 0],
    ['mkdir', s.at('new')],
    ['rmdir', s.at('empty')],
    ['unlink', s.at('f')],
    ['rename', s.at('f'), s.at('g')],
    ['renameat2', s.at('f'), s.at('d'), RENAME_EXCHANGE],
    ['link', s.at('f'), s.at('g')],
    ['symlink', 'x', s.at('new')],
    ['mknod', s.at('new'), 0o010644, 0, 0],
    ['chmod', s.at('f'), 0o600],
    ['lchown', s.at('f'), 1, 1],
    ['utimens', s.at('f'), '1', '1'],
    ['setxattr', s.at('f'), 'user.x', 'v'],
    ['removexattr', s.at('f'), 'user.there'],
  ]
}

function refuses(s: Scene): void {
  const before = s.root.snapshot(s.at())
  for (const [name, ...args] of writes(s)) assert.equal(s.root.errno(name, ...args), 'EROFS', name)
  assert.equal(s.root.errno('access', s.at('f'), 2), 'ok')
  assert.equal(s.root.call('access', s.at('f'), 2), false)
  assert.deepEqual(s.root.snapshot(s.at()), before)
}

const readOnlyTree = () => ({
  f: file('x', { xattrs: { 'user.there': 'v' } }),
  d: dir({ h: 'x' }),
  empty: dir(),
})

const view: Case[] = [
  {
    title: "statfs gives the upper's numbers and the true length of a name",
    lines: [100],
    own: true,
    lowers: [{ f: 'x' }],
    volumes: { upper: { tmpfs: 'size=7m,nr_inodes=777' } },
    run(s) {
      type Numbers = Record<string, number>
      const [found, wanted] = [
        s.root.call<Numbers>('statvfs', s.at()),
        s.root.call<Numbers>('statvfs', s.up()),
      ]
      assert.deepEqual(
        [found.blocks! * found.bsize!, found.files],
        [wanted.blocks! * wanted.bsize!, wanted.files],
      )
      assert.equal(found.namemax, 255)
    },
  },
  {
    title: "statfs of a mount without an upper gives the first lower's numbers",
    lines: [100],
    upper: null,
    lowers: [{ f: 'x' }, { g: 'x' }],
    volumes: { lowers: [{ tmpfs: 'size=5m' }] },
    run(s) {
      type Numbers = Record<string, number>
      const [found, wanted] = [
        s.root.call<Numbers>('statvfs', s.at()),
        s.root.call<Numbers>('statvfs', s.low()),
      ]
      assert.equal(found.blocks! * found.bsize!, wanted.blocks! * wanted.bsize!)
    },
  },
  {
    title: 'a mount without an upper refuses every change with EROFS',
    lines: [101],
    upper: null,
    lowers: [readOnlyTree(), { low: 'x' }],
    run: refuses,
  },
  {
    title: 'a read-only mount with an upper refuses every change with EROFS',
    lines: [101],
    mount: { readOnly: true },
    lowers: [readOnlyTree()],
    upper: { up: 'x' },
    run(s) {
      const upper = s.root.snapshot(s.up())
      refuses(s)
      assert.deepEqual(s.root.snapshot(s.up()), upper)
    },
  },
  {
    title: 'reading writes no atime to a lower',
    lines: [101],
    lowers: [{ f: file('x', { atime: 1n, mtime: 2n }), g: file('x', { atime: defaultAtime }) }],
    run(s) {
      for (const name of ['f', 'g']) s.root.read(s.at(name))
      s.root.list(s.at())
      assert.equal(s.root.lstat(s.low('f')).atime, 1n)
      assert.equal(s.root.lstat(s.low('g')).atime, defaultAtime)
    },
  },
]

/** Tries a mount that must not come up; returns what was said. */
function refusal(s: Scene, change: (spec: MountSpec) => void, path = 'other'): string {
  const { fixture } = s
  const point = join(fixture.folder, path)
  mkdirSync(point, { recursive: true })
  const fresh = join(fixture.folder, 'up/fresh')
  mkdirSync(join(fresh, 'u'), { recursive: true })
  mkdirSync(join(fresh, 'w'), { recursive: true })
  const spec: MountSpec = {
    lowers: [...fixture.lowers],
    upper: join(fresh, 'u'),
    work: join(fresh, 'w'),
    path: point,
  }
  change(spec)
  try {
    fixture.driver.mount(spec).unmount()
  } catch (error) {
    assert.ok(error instanceof MountError, String(error))
    assert.deepEqual(mountsBelow(point), [])
    assert.deepEqual(s.root.walk(fresh), ['u/', 'w/'])
    return error.message
  } finally {
    if (mountsBelow(point).length > 0) lazyUnmount(point)
    s.root.call('remove_tree', fresh)
  }
  assert.fail('the mount came up')
}

const refused: Case[] = [
  {
    title: 'an upper that a live mount uses is refused',
    lines: [102],
    own: true,
    run(s) {
      refusal(s, (spec) => {
        spec.upper = s.fixture.upper
      })
      assert.equal(s.root.errno('mkdir', s.at('still-works')), 'ok')
    },
  },
  {
    title: 'a workdir that a live mount uses is refused',
    lines: [102],
    own: true,
    run(s) {
      refusal(s, (spec) => {
        spec.work = s.fixture.work
      })
      assert.equal(s.root.errno('mkdir', s.at('still-works')), 'ok')
    },
  },
  {
    title: 'a workdir on another file system is refused',
    lines: [102],
    own: true,
    lowers: [{ f: 'x' }],
    volumes: { lowers: [{ tmpfs: 'size=1m' }] },
    run(s) {
      s.root.call('run', ['/bin/mkdir', '-p', join(s.fixture.folder, 'elsewhere')])
      assert.equal(
        s.root.call('run', ['/bin/mount', '-t', 'tmpfs', 't', join(s.fixture.folder, 'elsewhere')]),
        0,
      )
      refusal(s, (spec) => {
        spec.work = join(s.fixture.folder, 'elsewhere')
      })
    },
  },
  {
    title: 'layers that overlap are refused: upper as or in a lower, work as upper, one lower twice',
    lines: [102],
    own: true,
    lowers: [{ sub: dir() }],
    fails: { kernel: 'it refuses some of them only, with index=on' },
    run(s) {
      const overlaps: ((spec: MountSpec) => void)[] = [
        (spec) => spec.lowers.push(spec.upper!),
        (spec) => {
          spec.lowers = [join(spec.upper!, '..')]
        },
        (spec) => {
          spec.work = spec.upper!
        },
        (spec) => spec.lowers.push(spec.lowers[0]!),
      ]
      for (const change of overlaps) refusal(s, change)
    },
  },
  {
    title: 'a lower that is missing or a file, and a missing mount point, are refused',
    lines: [102],
    own: true,
    lowers: [{ f: 'x' }],
    run(s) {
      refusal(s, (spec) => spec.lowers.push(join(s.fixture.folder, 'absent')))
      refusal(s, (spec) => spec.lowers.unshift(s.low('f')))
      refusal(s, (spec) => {
        spec.upper = join(s.fixture.folder, 'absent')
      })
      const { driver, lowers, folder } = s.fixture
      assert.throws(() => driver.mount({ lowers, path: join(folder, 'nowhere') }), MountError)
    },
  },
  {
    title: 'the next mount of an upper may follow at once',
    lines: [102, 103],
    own: true,
    lowers: [{ f: 'x' }],
    run(s) {
      for (let i = 0; i < 3; i++) {
        s.root.put(s.at(`new${i}`), String(i))
        s.remount()
      }
      assert.deepEqual(s.root.list(s.at()), ['f', 'new0', 'new1', 'new2'])
    },
  },
  {
    title: 'a lower reached through a symlink and .. is the directory that the kernel finds',
    lines: [102],
    own: true,
    lowers: [{ f: 'x' }],
    run(s) {
      const { driver, folder, lowers } = s.fixture
      mkdirSync(join(folder, 'a/b/lower'), { recursive: true })
      mkdirSync(join(folder, 'seen'))
      symlinkSync(join(folder, 'a/b'), join(folder, 'short'))
      s.root.put(join(folder, 'a/b/lower/right'), '')
      const mounted = driver.mount({
        lowers: [`${folder}/short/../b/lower`, lowers[0]!],
        path: join(folder, 'seen'),
      })
      try {
        assert.deepEqual(s.root.list(join(folder, 'seen')), ['f', 'right'])
      } finally {
        mounted.unmount()
      }
    },
  },
]

const crashes: Case[] = [
  {
    title: 'after SIGKILL of the server the next mount shows what was there, and no temporary file',
    lines: [103],
    own: true,
    skip: noDaemon,
    lowers: [{ gone: 'x', kept: 'x', d: dir({ f: 'x' }), a: 'linked', b: link('a'), old: dir({ g: 'x' }) }],
    upper: { before: 'x', hidden: whiteout() },
    run(s) {
      s.root.unlink(s.at('gone'))
      s.root.rename(s.at('old'), s.at('moved'))
      s.root.put(s.at('a'), 'LINKED', O_WRONLY)
      s.root.unlink(s.at('d/f'))
      s.root.rmdir(s.at('d'))
      s.root.mkdir(s.at('d'))
      s.root.put(s.at('kept'), 'changed', O_WRONLY)
      const open = s.root.open(s.at('unlinked'), O_CREAT | O_RDWR)
      s.root.unlink(s.at('unlinked'))
      s.root.pwrite(open, 'x', 0)
      const fields = ['type', 'mode', 'uid', 'gid', 'size', 'content', 'mtime', 'ino', 'xattrs', 'nlink']
      const before = s.root.snapshot(s.at(), fields)
      s.fixture.killDaemon()
      s.root.reset()
      s.fixture.mount()
      assert.deepEqual(s.root.snapshot(s.at(), fields), before)
      assert.deepEqual(s.root.list(s.at()), ['a', 'b', 'before', 'd', 'kept', 'moved'])
      assert.deepEqual(s.fixture.leftovers(), [])
    },
  },
  {
    title: 'the server killed under a load of changes leaves a tree that mounts and can be emptied',
    lines: [103],
    own: true,
    skip: noDaemon,
    lowers: [Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`f${i}`, filled('x', 20_000)]))],
    run(s) {
      for (const delay of [5, 20]) {
        s.other.call('getpid')
        s.other.start('churn', s.at())
        pause(delay)
        s.fixture.killDaemon()
        assert.throws(() => s.other.finish(), /ENOTCONN|ECONNABORTED|ECANCELED|ENOTDIR|EIO/)
        s.other.reset()
        s.fixture.mount()
        const names = s.root.list(s.at())
        assert.ok(
          names.every((name) => /^(f\d+|new\d+|moved\d+)$/.test(name)),
          names.join(),
        )
        for (const name of names) s.root.read(s.at(name))
        assert.deepEqual(s.fixture.leftovers(), [])
      }
      for (const name of s.root.list(s.at())) s.root.unlink(s.at(name))
      assert.deepEqual(s.root.list(s.at()), [])
    },
  },
  {
    title: 'a volatile upper is marked and refused after a crash, and free again after an unmount',
    lines: [103],
    mount: { kernel: ['volatile'], mica: ['--volatile'] },
    skip: { ...noDaemon, 'fuse-overlayfs': 'it has no such mark' },
    lowers: [{ f: 'x' }],
    run(s) {
      s.root.put(s.at('f'), 'y', O_WRONLY)
      s.remount()
      s.root.put(s.at('g'), 'y')
      s.fixture.killDaemon()
      assert.throws(() => s.fixture.mount(), MountError)
      assert.throws(() => s.fixture.mount({}), MountError)
      assert.notDeepEqual(s.root.list(join(s.work, 'work/incompat/volatile')), [])
    },
  },
  {
    title: 'fsync of files, of lower and upper directories, and syncfs succeed',
    lines: [104],
    lowers: [{ d: dir({ f: 'x' }) }],
    run(s) {
      const directory = s.root.open(s.at('d'), O_RDONLY)
      s.root.fsync(directory)
      assert.equal(s.isUp('d'), false)
      const fd = s.root.open(s.at('d/f'), O_RDWR)
      s.root.pwrite(fd, 'y', 0)
      s.root.fsync(fd)
      s.root.call('fdatasync', fd)
      s.root.fsync(directory)
      s.root.fsync(s.root.open(s.at('d'), O_RDONLY))
      s.root.call('syncfs', fd)
      assert.equal(s.root.read(s.up('d/f')), 'y')
    },
  },
]

export const mounting: Suite = { name: 'mounting', cases: [...view, ...refused, ...crashes] }
