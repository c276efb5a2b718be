// Deletions and opaque directories as other tools write them, in lowers and in the upper: AUFS
// names, the xattrs of unprivileged overlay mounts and of fuse-overlayfs, redirects.
import assert from 'node:assert/strict'
import { fuseOverlayfsDriver } from '../support/driver.js'
import type { Case, Scene, Suite } from '../support/suite.js'
import { O_APPEND, O_WRONLY } from '../support/syscalls.js'
import { dir, file, link, type Tree, whiteout } from '../support/tree.js'

type Dialect = {
  name: string
  gone: (name: string) => Tree
  opaque: (entries: Tree) => Tree[string]
  kernel: string
}

const marked = (name: string, value: string) => (entries: Tree) => dir(entries, { xattrs: { [name]: value } })
const charDevice = (name: string): Tree => ({ [name]: whiteout() })

const written: Dialect[] = [
  {
    name: 'AUFS names',
    gone: (name) => ({ [`.wh.${name}`]: '' }),
    opaque: (entries) => dir({ '.wh..wh..opq': '', ...entries }),
    kernel: 'it has no .wh. names',
  },
  {
    name: 'AUFS names that are links of one file',
    gone: (name) => ({ '.wh..wh.aufs': '', [`.wh.${name}`]: file('', { mode: 0o444 }) }),
    opaque: (entries) => dir({ ...entries, '.wh..wh..opq': file('', { mode: 0 }) }),
    kernel: 'it has no .wh. names',
  },
  {
    name: 'trusted.overlay',
    gone: charDevice,
    opaque: marked('trusted.overlay.opaque', 'y'),
    kernel: '',
  },
  {
    name: 'user.overlay',
    gone: charDevice,
    opaque: marked('user.overlay.opaque', 'y'),
    kernel: 'it reads these with the option userxattr only',
  },
  {
    name: 'user.fuseoverlayfs',
    gone: charDevice,
    opaque: marked('user.fuseoverlayfs.opaque', 'y'),
    kernel: 'it does not know them',
  },
]

/** Lower: deleted names and an opaque directory; the same from the upper. */
const reading: Case[] = written.flatMap(({ name, gone, opaque, kernel }) => {
  const below = () => ({
    d: dir({ file: 'hidden', dir: dir({ f: 'hidden' }), seen: 'seen' }),
    o: dir({ below: 'hidden', both: 'hidden', sub: dir({ below: 'hidden' }) }),
  })
  const above = () => ({
    d: dir({ ...gone('file'), ...gone('dir'), own: 'own' }),
    o: opaque({ both: 'own', sub: dir({ own: 'own' }) }),
  })
  const check = (s: Scene) => {
    assert.deepEqual(s.root.walk(s.at()), ['d/', 'd/own', 'd/seen', 'o/', 'o/both', 'o/sub/', 'o/sub/own'])
    assert.equal(s.root.read(s.at('o/both')), 'own')
    const hidden = ['d/file', 'd/dir', 'd/dir/f', 'o/below', 'o/sub/below', 'd/.wh.file', 'o/.wh..wh..opq']
    for (const path of hidden) assert.equal(s.root.errno('lstat', s.at(path)), 'ENOENT', path)
    assert.deepEqual(s.root.listxattr(s.at('o')), [])
  }
  const skip = kernel ? { skip: { kernel } } : {}
  return [
    {
      title: `a lower in the words of ${name} shows no deleted name`,
      lines: [13, 17],
      ...skip,
      lowers: [above(), below()],
      run(s: Scene) {
        check(s)
        s.root.put(s.at('d/new'), '')
        s.root.put(s.at('o/new'), '')
        s.remount()
        assert.deepEqual(s.root.list(s.at('d')), ['new', 'own', 'seen'])
        assert.deepEqual(s.root.list(s.at('o')), ['both', 'new', 'sub'])
      },
    },
    {
      title: `an upper in the words of ${name} shows no deleted name`,
      lines: [13, 17],
      ...skip,
      lowers: [below()],
      upper: above(),
      run: check,
    },
    {
      title: `a name deleted in the words of ${name} in the upper can be made again and deleted again`,
      lines: [12],
      ...skip,
      lowers: [below()],
      upper: above(),
      run(s: Scene) {
        s.root.put(s.at('d/file'), 'again')
        s.root.mkdir(s.at('d/dir'))
        for (let i = 0; i < 2; i++) {
          assert.equal(s.root.read(s.at('d/file')), 'again')
          assert.deepEqual(s.root.walk(s.at('d')), ['dir/', 'file', 'own', 'seen'])
          s.remount()
        }
        s.root.unlink(s.at('d/file'))
        s.root.rmdir(s.at('d/dir'))
        for (const path of ['own', 'seen']) s.root.unlink(s.at(`d/${path}`))
        s.remount()
        assert.deepEqual(s.root.list(s.at('d')), [])
        s.root.rmdir(s.at('d'))
        s.root.call('remove_tree', s.at('o'))
        s.remount()
        assert.deepEqual(s.root.list(s.at()), [])
      },
    },
  ]
})

const special: Case[] = [
  {
    title: 'names that begin with .wh. are neither shown nor can they be made to delete something',
    lines: [13, 14],
    skip: { kernel: 'it has no .wh. names' },
    lowers: [
      { '.wh..wh.plnk': dir({ x: 'x' }), '.wh..wh.orph': dir(), f: 'x' },
      { f: 'hidden', g: 'x' },
    ],
    run(s) {
      assert.deepEqual(s.root.list(s.at()), ['f', 'g'])
      s.root.errno('open', s.at('.wh.g'), O_WRONLY | 0o100)
      s.root.errno('mkdir', s.at('.wh.f'))
      s.root.errno('rename', s.at('f'), s.at('.wh.g'))
      s.remount()
      assert.ok(s.root.exists(s.at('g')), 'a user can not forge a deletion')
    },
  },
  {
    title: 'a user.overlay whiteout file in a directory with opaque=x hides the name',
    lines: [16],
    skip: { kernel: 'it reads these with the option userxattr only' },
    lowers: [
      {
        d: dir(
          { f: file('', { xattrs: { 'user.overlay.whiteout': 'y' } }) },
          { xattrs: { 'user.overlay.opaque': 'x' } },
        ),
      },
      { d: dir({ f: 'hidden', g: 'seen' }) },
    ],
    run(s) {
      assert.deepEqual(s.root.list(s.at('d')), ['g'])
      assert.equal(s.root.errno('lstat', s.at('d/f')), 'ENOENT')
    },
  },
  {
    title: 'redirects in a lower, absolute and relative, are followed',
    lines: [49],
    own: true,
    lowers: [
      {
        moved: dir({ own: '' }, { xattrs: { 'trusted.overlay.redirect': '/p/old' } }),
        p: dir({
          old: whiteout(),
          name: dir({}, { xattrs: { 'trusted.overlay.redirect': 'other' } }),
          other: whiteout(),
        }),
      },
      { p: dir({ old: dir({ low: 'low' }), other: dir({ second: 'x' }) }) },
    ],
    run(s) {
      assert.deepEqual(s.root.walk(s.at()), [
        'moved/',
        'moved/low',
        'moved/own',
        'p/',
        'p/name/',
        'p/name/second',
      ])
      s.root.put(s.at('moved/low'), '!', O_WRONLY | O_APPEND)
      s.remount()
      assert.equal(s.root.read(s.at('moved/low')), 'low!')
      assert.equal(s.root.errno('lstat', s.at('p/old')), 'ENOENT')
    },
  },
  {
    title: 'an upper that fuse-overlayfs wrote shows the same tree',
    lines: [23],
    own: true,
    skip: { kernel: 'it does not know user.fuseoverlayfs' },
    lowers: [
      { d: dir({ f: 'x', g: 'x' }), e: dir({ f: 'x' }), gone: 'x', a: 'x', b: link('a') },
      { d: dir({ h: 'x' }), e: dir({ z: 'x' }) },
    ],
    run(s) {
      s.fixture.unmount()
      const { lowers, upper, work, path } = s.fixture
      const theirs = fuseOverlayfsDriver.mount({ lowers, upper, work, path })
      s.root.unlink(s.at('gone'))
      s.root.unlink(s.at('d/h'))
      s.root.call('remove_tree', s.at('e'))
      s.root.mkdir(s.at('e'))
      s.root.put(s.at('e/new'), 'new')
      s.root.put(s.at('d/f'), 'changed')
      s.root.rename(s.at('d/g'), s.at('g'))
      const fields = ['type', 'mode', 'uid', 'gid', 'size', 'content', 'target']
      const before = s.root.snapshot(s.at(), fields)
      theirs.unmount()
      s.fixture.mount()
      assert.deepEqual(s.root.snapshot(s.at(), fields), before)
      assert.deepEqual(s.root.list(s.at('e')), ['new'])
    },
  },
]

export const dialects: Suite = { name: 'dialects', cases: [...reading, ...special] }
