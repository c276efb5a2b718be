// A disk that is full, and outputs that are no files. Needs root.

import { spawnSync } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { isRoot } from '../../src/store/at.js'
import { needs, Sandbox } from './mica.js'
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
