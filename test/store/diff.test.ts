// Differences between images and containers, against what two complete snapshots say. Needs root and /dev/fuse.

import { mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readMounts } from '../../src/mount/mount-info.js'
import { isRoot } from '../../src/store/at.js'
import { needs, Sandbox } from './mica.js'
import { makeLayout } from './sample-images.js'
import { type Snapshot, snapshot } from './snapshot.js'

t.setTimeout(300_000)

const skip =
  needs('umoci') ||
  (!isRoot && 'needs root') ||
  (statSync('/dev/fuse', { throwIfNoEntry: false }) === undefined && 'needs /dev/fuse')

let sandbox: Sandbox
if (!skip) {
  sandbox = new Sandbox()
  t.equal((await sandbox.mica(['load', '-q', makeLayout(sandbox)])).status, 0)
}

async function ok(...args: string[]): Promise<string> {
  const ran = await sandbox.mica(args)
  if (ran.status !== 0) throw new Error(`mica ${args.join(' ')}: ${ran.status} ${ran.err}`)
  return ran.out
}

const lines = async (...args: string[]): Promise<string[]> =>
  (await ok('diff', ...args)).split('\n').filter((line) => line !== '')

/** Makes a container, and changes it through its mount. */
async function changed(name: string, image: string, change: (root: string) => void): Promise<Snapshot> {
  await ok('create', image, name)
  const root = (await ok('mount', name)).trim()
  change(root)
  const seen = snapshot(root)
  await ok('umount', name)
  return seen
}

/** What a reader of both trees would list. Link groups are no part of it: names are compared. */
function expected(now: Snapshot, before: Snapshot): string[] {
  const bare = (line: string): string => line.replace(/ links to .*$/, '')
  const isDirectory = (line: string): boolean => line.startsWith('4')
  const kinds = new Map<string, string>()
  const around = (path: string): void => {
    for (let at = path; at.includes('/'); ) {
      at = at.slice(0, at.lastIndexOf('/'))
      if (at !== '' && !kinds.has(at)) kinds.set(at, 'C')
    }
  }
  for (const [path, line] of Object.entries(now)) {
    const other = before[path]
    if (path === '' || (other !== undefined && bare(other) === bare(line))) continue
    kinds.set(path, other === undefined ? 'A' : 'C')
    around(path)
  }
  for (const path of Object.keys(before)) {
    const parent = path.slice(0, path.lastIndexOf('/'))
    if (path === '' || path in now || (parent !== '' && !(parent in now))) continue
    if (parent !== '' && !isDirectory(now[parent]!)) continue
    kinds.set(path, 'D')
    around(path)
  }
  return [...kinds].map(([path, kind]) => `${kind} ${Buffer.from(path, 'latin1').toString()}`).sort()
}

t.test('images and containers differ as their whole trees do', { skip }, async (t) => {
  const trees: Record<string, Snapshot> = {
    'layout:one': await changed('bare1', 'layout:one', () => {}),
    'layout:two': await changed('bare2', 'layout:two', () => {}),
    old: await changed('old', 'layout:one', (root) => {
      rmSync(join(root, 'usr'), { recursive: true })
      writeFileSync(join(root, 'usr'), 'a file')
      writeFileSync(join(root, 'etc/two'), 'another two')
    }),
    moved: await changed('moved', 'layout:two', (root) => {
      sandbox.run('mv', [join(root, 'usr'), join(root, 'gone')])
      mkdirSync(join(root, 'a/b'), { recursive: true })
      writeFileSync(join(root, 'a/b/c'), '')
      rmSync(join(root, 'var/log'), { recursive: true })
      mkdirSync(join(root, 'var/log'))
      writeFileSync(join(root, 'var/log/fresh'), 'new')
    }),
  }
  for (const [a, now] of Object.entries(trees)) {
    for (const [b, before] of Object.entries(trees)) {
      t.same((await lines(a, b)).sort(), expected(now, before), `${a} against ${b}`)
    }
  }
  t.same(
    readMounts().filter(({ mountpoint }) => mountpoint.startsWith(sandbox.folder)),
    [],
    'nothing is left mounted',
  )
})

t.test('an image alone is compared with what its last layer stands on', { skip }, async (t) => {
  t.same(await lines('layout:two'), await lines('layout:two', 'layout:one'))
  const all = await lines('layout:one')
  t.ok(all.includes('A /etc/passwd') && all.every((line) => line.startsWith('A ')))
  t.match(JSON.parse(await ok('diff', '--json', 'layout:two')), [{ kind: 'C', path: '/etc' }])
})

t.test('unknown names are told of with near ones', { skip }, async (t) => {
  t.match(await sandbox.mica(['diff', 'layout:tow']), {
    status: 1,
    err: /no such container or image; there is .*layout:two/,
  })
  t.match(await sandbox.mica(['diff', 'layout:two', 'nothing-like-it']), {
    status: 1,
    err: /no such container or image/,
  })
  await ok('rm', 'bare1', 'bare2', 'old', 'moved')
})
