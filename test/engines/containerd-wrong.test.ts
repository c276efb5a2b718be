// What users get wrong with containerd and mica: an error that says what it is.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../support/package-root.js'
import { Containerd, noContainerd } from './containerd.js'
import { writeTestImage } from './containerd-images.js'

const IMAGE = 'docker.io/library/test:latest'
const skip = noContainerd('busybox')

t.test('without mica-overlay in its PATH containerd says so', { skip }, async (t) => {
  const engine = new Containerd({ mountProgram: false })
  try {
    await engine.startSnapshotter()
    t.match(engine.log('snapshotter'), "mica-overlay is not in PATH; containerd can't mount without it\n")
    await engine.start()
    writeTestImage(join(engine.folder, 'i.tar'), IMAGE)
    engine.ok('images', 'import', '--snapshotter', 'mica', join(engine.folder, 'i.tar'))
    const run = engine.run('mica', IMAGE, 'c', '/bin/true')
    t.not(run.status, 0)
    t.match(run.err, /mica-overlay: not found/)
  } finally {
    t.strictSame(await engine.close(), [])
  }
})

t.test('a socket that nobody serves is an error at once', { skip }, async (t) => {
  const engine = new Containerd()
  try {
    await engine.start()
    const started = Date.now()
    const { status, err } = engine.ctr('snapshots', '--snapshotter', 'mica', 'prepare', 'x')
    t.not(status, 0)
    t.match(err, /dial unix .*mica\.sock: connect: no such file or directory|unavailable/)
    t.ok(Date.now() - started < 20_000)
  } finally {
    t.strictSame(await engine.close(), [])
  }
})

t.test('the printed configuration for containerd 1.x is one', { skip }, async (t) => {
  const text = readFileSync(join(packageRoot, 'docs/containerd.md'), 'utf8')
  const section = text.slice(
    text.indexOf('## Configure containerd 1.x'),
    text.indexOf('## Configure containerd 2.x'),
  )
  const blocks = [...section.matchAll(/```toml\n([^`]*)```/g)].map(([, block]) => block!)
  t.equal(blocks.length, 2)
  const folder = t.testdir({ 'config.toml': blocks.join('\n') })
  const done = spawnSync('containerd', ['--config', join(folder, 'config.toml'), 'config', 'dump'], {
    encoding: 'utf8',
  })
  t.equal(done.status, 0, done.stderr)
  t.match(
    done.stdout,
    /\[proxy_plugins\.mica\]\s+address = "\/run\/mica-snapshotter\/snapshotter\.sock"\s+.*type = "snapshot"/s,
  )
  t.match(done.stdout, '      snapshotter = "mica"\n')
})
