// A disk that is full, and outputs that are no files. Needs root.

import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { isRoot } from '../../src/store/at.js'
import { needs, type Ran, Sandbox } from './mica.js'
import { makeLayout } from './sample-images.js'

t.setTimeout(120_000)

const skip = needs('umoci') || (!isRoot && 'needs root')

t.test('a disk that gets full while an image is unpacked leaves the store as it was', { skip }, async (t) => {
  const sandbox = new Sandbox()
  const layout = makeLayout(sandbox)
  const small = sandbox.dir('small')
  sandbox.run('mount', ['-t', 'tmpfs', '-o', 'size=2500k', 'mica-test', small])
  t.teardown(() => spawnSync('umount', [small]))
  const env = { MICA_ROOT: small }
  t.equal((await sandbox.mica(['images', '-q'], { env })).out, '')
  const full = await sandbox.mica(['load', layout], { env })
  t.match(full, { status: 1, out: '', err: /^mica: load .*no space left on device\n$/m })
  t.equal((await sandbox.mica(['images', '-aq'], { env })).out, '')
  t.same(readdirSync(join(small, 'tmp')), [], 'nothing unfinished')
  sandbox.run('mount', ['-o', 'remount,size=50m', small])
  t.equal((await sandbox.mica(['load', '-q', layout], { env })).status, 0)
  t.match((await sandbox.mica(['fsck', '-q'], { env })).out, 'all is well')
})

t.test(
  'a container that fills the disk ends as its command does, and can be removed',
  { skip: skip || needs('busybox') || (!existsSync('/dev/fuse') && 'needs /dev/fuse') },
  async (t) => {
    const sandbox = new Sandbox()
    const small = sandbox.dir('small')
    sandbox.run('mount', ['-t', 'tmpfs', '-o', 'size=30m', 'mica-test', small])
    t.teardown(() => spawnSync('umount', [small]))
    const mica = (...args: string[]): Promise<Ran> =>
      sandbox.mica(args, { env: { MICA_ROOT: join(small, 'root') } })
    t.equal((await mica('load', '-q', makeLayout(sandbox))).status, 0)
    const fill = 'cat /dev/zero > /zeros; exit 7'
    const left = await mica('run', '--name', 'full', 'layout:one', '/bin/sh', '-c', fill)
    t.match(left, { status: 7, err: /No space[^\n]*\nmica: run layout:one: its end is not noted: .*full\n$/ })
    t.match(await mica('commit', 'full', 'x'), { status: 1, out: '', err: /^mica: commit full: .+\n$/ })
    t.match(await mica('fsck', '-q'), { status: 1, out: '', err: /^mica: fsck: .*no space left.*\n$/ })
    t.match(await mica('rm', 'full'), { status: 0, err: '' })
    t.match(await mica('run', '--rm', 'layout:one', '/bin/sh', '-c', fill), { status: 7, err: /No space/ })
    t.equal((await mica('ps', '-aq')).out, '', 'it is gone')
    t.match((await mica('fsck', '-q')).out, 'all is well')
    t.same(readdirSync(join(small, 'root/containers')), [])
  },
)

t.test('a device is written to, not replaced, and what it says is said', { skip }, async (t) => {
  const sandbox = new Sandbox()
  await sandbox.mica(['load', '-q', makeLayout(sandbox)])
  const device = sandbox.path('full')
  sandbox.run('mknod', [device, 'c', '1', '7'])
  for (const format of ['docker-archive', 'oci-archive']) {
    t.match(await sandbox.mica(['save', '--format', format, '-o', device, 'layout:one']), {
      status: 1,
      err: /no space left on device/,
    })
    t.ok(statSync(device).isCharacterDevice())
  }
})
