// The upper as the kernel's overlayfs reads it: what one of the two writes, the other must show.
import assert from 'node:assert/strict'
import { kernelDriver } from '../support/driver.js'
import type { Case, Scene, Suite } from '../support/suite.js'
import { O_APPEND, O_WRONLY, RENAME_EXCHANGE, type Snapshot } from '../support/syscalls.js'
import { char, dir, fifo, file, link, opaque, symlink, type Tree, whiteout } from '../support/tree.js'

/** All that users see and that does not name an inode. */
const visible = ['type', 'mode', 'uid', 'gid', 'size', 'content', 'target', 'rdev', 'mtime', 'xattrs']

const layers = (): Tree[] => [
  {
    d: dir({ a: 'a', b: 'b', s: dir({ x: 'x', y: 'y' }) }),
    gone: 'x',
    link: symlink('d/a'),
    o: opaque({ own: 'own' }),
    e: dir({ one: 'x' }),
    n: dir({ m: dir({ k: dir({ f: 'deep' }) }) }),
    node: char(1, 3),
    fifo: fifo(),
    x: file('x', { xattrs: { 'user.x': 'v' } }),
  },
  {
    d: dir({ low: 'low', s: dir({ z: 'z' }) }, { mode: 0o711 }),
    o: dir({ hidden: 'x' }),
    e: dir({ two: 'x' }),
    q: dir({ f: 'q', g: 'q' }),
    r: 'r',
  },
]
const upper = (): Tree => ({ d: dir({ up: 'up', b: whiteout() }), w: 'only upper' })

/** Changes of every kind that the kernel makes with its default options too. */
function change(s: Scene): void {
  const { root } = s
  root.unlink(s.at('gone'))
  root.unlink(s.at('d/low'))
  root.put(s.at('d/a'), '+', O_WRONLY | O_APPEND)
  root.put(s.at('d/b'), 'again')
  root.unlink(s.at('d/s/x'))
  root.chmod(s.at('d/s/y'), 0o4711)
  root.chown(s.at('link'), 5, 6)
  root.call('remove_tree', s.at('e'))
  root.mkdir(s.at('e'))
  root.put(s.at('e/new'), 'new')
  root.call('remove_tree', s.at('n/m/k'))
  root.mkdir(s.at('n/m/k'))
  root.rename(s.at('r'), s.at('q/f'))
  root.rename(s.at('w'), s.at('w2'))
  root.symlink('../d', s.at('n/link'))
  root.mknod(s.at('n/node'), 0o020600, 5, 1)
  root.setxattr(s.at('x'), 'user.x', 'changed')
  root.setxattr(s.at('o'), 'user.o', 'v')
  root.put(s.at('o/new'), 'x')
  root.unlink(s.at('o/own'))
  root.rmdir(s.at('n/m/k'))
  root.link(s.at('q/g'), s.at('q/linked'))
  root.renameat2(s.at('w2'), s.at('node'), RENAME_EXCHANGE)
  root.mkdir(s.at('fresh'))
  root.mkdir(s.at('fresh/sub'))
  root.rename(s.at('fresh'), s.at('n/m/k'))
}

/** Renames of directories that have lowers, which the kernel writes with redirect_dir=on. */
function redirect(s: Scene): void {
  s.root.rename(s.at('d/s'), s.at('s'))
  s.root.rename(s.at('d'), s.at('q/d'))
  s.root.rename(s.at('q'), s.at('q2'))
  s.root.rename(s.at('n/m'), s.at('n/m2'))
  s.root.put(s.at('q2/d/a'), '!', O_WRONLY | O_APPEND)
  s.root.unlink(s.at('s/y'))
  s.root.mkdir(s.at('d'))
}

function withKernel<T>(s: Scene, options: string[], body: () => T): T {
  const { lowers, upper, work, path } = s.fixture
  const mounted = kernelDriver.mount({ lowers, upper, work, path, options: { kernel: options } })
  try {
    return body()
  } finally {
    s.root.reset()
    mounted.unmount()
  }
}

const look = (s: Scene): Snapshot => s.root.snapshot(s.at(), visible)

/** Whether a whiteout lies in a directory that hides its lowers anyway. */
function uselessWhiteouts(s: Scene): string[] {
  const found = Object.entries(s.root.snapshot(s.up(), ['type', 'rdev', 'xattrs']))
  const isOpaque = (path: string) => {
    const [, entry] = found.find(([name]) => name === path) ?? []
    return (entry?.xattrs as Record<string, string> | undefined)?.['trusted.overlay.opaque'] === '79'
  }
  return found
    .filter(([, entry]) => entry.type === 'char' && String(entry.rdev) === '0,0')
    .map(([path]) => path)
    .filter((path) => isOpaque(path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '.'))
}

/** One side writes, the other looks; both ways. */
function bothWays(what: string, act: (s: Scene) => void, options: string[]): Case[] {
  return [
    {
      title: `the kernel shows the same tree after ${what}`,
      lines: [23],
      own: true,
      lowers: layers(),
      upper: upper(),
      run(s) {
        act(s)
        const before = look(s)
        s.remount()
        assert.deepEqual(look(s), before, 'also after a remount')
        s.fixture.unmount()
        assert.deepEqual(
          withKernel(s, options, () => look(s)),
          before,
        )
        assert.deepEqual(uselessWhiteouts(s), [])
      },
    },
    {
      title: `what the kernel wrote shows the same tree after ${what}`,
      lines: [23],
      own: true,
      lowers: layers(),
      upper: upper(),
      run(s) {
        s.fixture.unmount()
        const before = withKernel(s, options, () => {
          act(s)
          return look(s)
        })
        s.fixture.mount()
        assert.deepEqual(look(s), before)
      },
    },
    {
      title: `both can take turns after ${what}`,
      lines: [23],
      own: true,
      lowers: layers(),
      upper: upper(),
      run(s) {
        act(s)
        s.fixture.unmount()
        const before = withKernel(s, options, () => {
          s.root.put(s.at('by-kernel'), 'x')
          s.root.unlink(s.at('x'))
          s.root.put(s.at('e/new'), 'kernel')
          return look(s)
        })
        s.fixture.mount()
        assert.deepEqual(look(s), before)
        s.root.unlink(s.at('by-kernel'))
        s.root.put(s.at('x'), 'again')
        const after = look(s)
        s.fixture.unmount()
        assert.deepEqual(
          withKernel(s, options, () => look(s)),
          after,
        )
      },
    },
  ]
}

const plain = ['redirect_dir=off', 'index=off', 'metacopy=off']
const redirects = ['redirect_dir=on', 'index=off', 'metacopy=off']

const linked: Case = {
  title: 'the kernel shows what was written through one of two lower links at both names',
  lines: [23, 59],
  own: true,
  lowers: [{ a: 'old', b: link('a'), d: dir({ c: link('a') }) }],
  run(s) {
    s.root.put(s.at('a'), 'new', O_WRONLY)
    s.root.unlink(s.at('d/c'))
    s.fixture.unmount()
    withKernel(s, ['redirect_dir=on', 'index=on'], () => {
      assert.deepEqual([s.root.read(s.at('a')), s.root.read(s.at('b'))], ['new', 'new'])
      assert.deepEqual(s.root.list(s.at('d')), [])
    })
  },
}

export const kernelView: Suite = {
  name: 'kernel view',
  cases: [
    ...bothWays('changes of every kind', change, plain),
    ...bothWays('moves of directories', redirect, redirects),
    ...bothWays(
      'moves and changes together',
      (s) => {
        change(s)
        redirect(s)
      },
      redirects,
    ),
    linked,
  ],
}
