// Deep images and stores of images that others own.

import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import t from 'tap'
import { Engine } from './engine.js'
import { putArchive, putDeepArchive } from './images.js'
import { containerTree, diffOf } from './look.js'
import { absence } from './world.js'

const LAYERS = 120
// The runner has a limit of its own.
t.setTimeout(0)

const skip = absence('podman', 'skopeo', 'umoci', 'runc', 'python3') ?? false

function pair(t: Tap): [kernel: Engine, mica: Engine] {
  const engines = [new Engine('kernel'), new Engine('mica')] as const
  for (const engine of engines) t.teardown(() => engine.end())
  return [...engines]
}
type Tap = { teardown(fn: () => void): void }

t.test(`an image of ${LAYERS} layers`, { skip }, async (t) => {
  const [kernel, mica] = pair(t)
  const seen = [kernel, mica].map((engine) => {
    engine.podman('load', '-q', '-i', putDeepArchive(engine.world, LAYERS))
    const script =
      'cat /top; ls -1 /layers /again | wc -l; echo x >> /layers/1; rm /layers/0; mv /again /moved'
    const out = engine.podman(
      'run',
      '--name',
      'box',
      'deep',
      'sh',
      '-c',
      `PATH=/bin; busybox wc -c /top; ${script}`,
    )
    return [out, containerTree(engine, 'container', 'box', 0), diffOf(engine, 'box')]
  })
  t.same(seen[1], seen[0])
  t.match(String(seen[1]![0]), /^4 \/top\n119\n/)
})

t.test('images of an additional store are run from there and never written', { skip }, async (t) => {
  const [, mica] = pair(t)
  const owner = new Engine('mica')
  t.teardown(() => owner.end())
  owner.podman('load', '-q', '-i', putArchive(owner.world, 'two'))
  // The other's store as this world sees it: read-only.
  const store = mica.world.path('shared')
  mkdirSync(store)
  mica.world.mustRun('mount', ['--bind', owner.world.path('store'), store])
  mica.world.mustRun('mount', ['-o', 'remount,bind,ro', store])
  mica.configure({ stores: [store] })
  const print = (): string =>
    execFileSync('find', [owner.world.path('store/overlay'), '-printf', '%P %y %m %U %s %T@ %C@\n'], {
      encoding: 'utf8',
    })
  const before = print()
  t.match(mica.podman('images', '--format', '{{.Repository}} {{.ReadOnly}}'), /two true/)
  t.equal(mica.podman('run', '--rm', 'two', 'sh', '-c', 'echo more >> /etc/two; cat /etc/two'), 'two\nmore\n')
  mica.podman('create', '--name', 'box', 'two')
  t.same(diffOf(mica, 'box'), [])
  t.equal(print(), before, 'the store is as it was')
  t.equal(owner.podman('run', '--rm', 'two', 'cat', '/etc/two'), 'two\n', 'its owner goes on using it')
})
