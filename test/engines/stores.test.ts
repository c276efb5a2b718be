// Deep images and stores of images that others own.

import { execFileSync } from 'node:child_process'
import t from 'tap'
import { Engine } from './engine.js'
import { putArchive, putDeepArchive } from './images.js'
import { containerTree, diffOf } from './look.js'
import { absence, rootlessAbsence } from './world.js'

const LAYERS = 120
// The runner has a limit of its own.
t.setTimeout(0)

const skip = absence('podman', 'skopeo', 'umoci', 'runc', 'python3') ?? false
const noRootless = skip || (rootlessAbsence() ?? false)

const BACKENDS = ['kernel', 'mica'] as const
const CHANGES = 'rm /etc/two; mkdir /etc/new; rm -r /usr/lib'

function printOf(owner: Engine): string {
  return execFileSync('find', [owner.world.path('store/overlay'), '-printf', '%P %y %m %U %s %T@ %C@\n'], {
    encoding: 'utf8',
  })
}

for (const isRootless of [false, true]) {
  const who = isRootless ? 'an ordinary user' : 'root'
  t.test(`an image of ${LAYERS} layers, by ${who}`, { skip: isRootless ? noRootless : skip }, async (t) => {
    const seen = BACKENDS.map((backend) => {
      const engine = new Engine(backend, { isRootless })
      t.teardown(() => engine.end())
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

  t.test(
    `images of an additional store of ${who} are never written`,
    { skip: isRootless ? noRootless : skip },
    async (t) => {
      const seen = BACKENDS.map((backend) => {
        const [owner, engine] = [new Engine(backend, { isRootless }), new Engine(backend, { isRootless })]
        t.teardown(() => owner.end())
        t.teardown(() => engine.end())
        owner.podman('load', '-q', '-i', putArchive(owner.world, 'two'))
        const before = printOf(owner)
        // The other's store as this world sees it: read-only.
        const store = engine.world.makeDir('shared')
        engine.world.mustRun('mount', ['--bind', owner.world.path('store'), store], { asRoot: true })
        engine.world.mustRun('mount', ['-o', 'remount,bind,ro', store], { asRoot: true })
        engine.configure({ stores: [store] })
        const images = engine.podman('images', '--format', '{{.Repository}} {{.ReadOnly}}')
        const run = engine.podman('run', '--rm', 'two', 'sh', '-c', 'echo more >> /etc/two; cat /etc/two')
        engine.podman('run', '--name', 'box', 'two', 'sh', '-c', CHANGES)
        const diff = diffOf(engine, 'box')
        const tree = containerTree(engine, 'container', 'box', 0)
        t.equal(printOf(owner), before, 'the store is as it was')
        t.equal(owner.podman('run', '--rm', 'two', 'cat', '/etc/two'), 'two\n', 'its owner goes on using it')
        return { images, run, diff, tree }
      })
      t.same(seen[1], seen[0])
      t.match(seen[1]!.images, /two true/)
      t.equal(seen[1]!.run, 'two\nmore\n')
    },
  )
}
