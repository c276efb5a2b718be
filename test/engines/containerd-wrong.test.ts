// What users get wrong with containerd and mica: an error that says what it is.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../support/package-root.js'
import { Containerd, noContainerd, SYSTEM_PATH, version } from './containerd.js'
import { writeTestImage } from './containerd-images.js'

type Assertions = Pick<typeof t, 'equal' | 'testdir'>

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
    t.match(err, /dial unix.*mica\.sock: (connect: no such file or directory|timeout)|unavailable/)
    t.ok(Date.now() - started < 20_000)
  } finally {
    t.strictSame(await engine.close(), [])
  }
})

/** What the documentation prints for one generation of containerd. */
function printed(version: '1.x' | '2.x'): string[] {
  const text = readFileSync(join(packageRoot, 'docs/containerd.md'), 'utf8')
  const [, section] = text.split(`## Configure containerd ${version}\n`)
  const [own] = section!.split('\n## ')
  return [...own!.matchAll(/```toml\n(.*?)```/gs)].map(([, block]) => block!)
}

function dump(t: Assertions, config: string): string {
  const path = join(t.testdir({ 'config.toml': config }), 'config.toml')
  const done = spawnSync('containerd', ['--config', path, 'config', 'dump'], {
    encoding: 'utf8',
    env: { PATH: SYSTEM_PATH },
  })
  t.equal(done.status, 0, done.stderr)
  return done.stdout.replaceAll("'", '"')
}

const isOld = skip || (version() >= 200 ? 'this is containerd 2' : false)
t.test('the printed configuration for containerd 1.x is one', { skip: isOld }, async (t) => {
  const blocks = printed('1.x')
  t.equal(blocks.length, 2)
  const seen = dump(t, blocks.join('\n'))
  t.match(
    seen,
    /\[proxy_plugins\.mica\]\s+address = "\/run\/mica-snapshotter\/snapshotter\.sock"\s+.*type = "snapshot"/s,
  )
  t.match(seen, '      snapshotter = "mica"\n')
})

const isNew = skip || (version() < 200 ? 'this is containerd 1' : false)
t.test('the printed configuration for containerd 2.x is one', { skip: isNew }, async (t) => {
  const blocks = printed('2.x')
  t.equal(blocks.length, 1)
  const seen = dump(t, blocks[0]!)
  t.match(seen, /\[proxy_plugins\.mica\].*capabilities = \["remap-ids"\]/s)
  const images = seen.split('[plugins."io.containerd.cri.v1.images"]')[1]
  t.match(images, /^\s+snapshotter = "mica"/m)
  const unpacking = seen.split('[[plugins."io.containerd.transfer.v1.local".unpack_config]]').slice(1)
  t.strictSame(
    unpacking.map((each) => /snapshotter = "(\w+)"/.exec(each)?.[1]),
    ['mica', 'overlayfs'],
  )
})
