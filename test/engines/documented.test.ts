// The configurations that docs/podman.md and docs/containerd.md print, used as they are printed: at their own
// places, with mica in /usr/local/bin.

import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../support/package-root.js'
import { noContainerd, SYSTEM_PATH, version } from './containerd.js'
import { writeTestImage } from './containerd-images.js'
import { Engine } from './engine.js'
import { putArchive } from './images.js'
import { absence, rootlessAbsence, World } from './world.js'

// The runner has a limit of its own.
t.setTimeout(0)

const skip = absence('podman', 'skopeo', 'umoci', 'runc') ?? false
const noRootless = skip || (rootlessAbsence() ?? false)

const IMAGE = 'docker.io/library/test:latest'

/** Returns the blocks of code in one section of a page. */
function printed(page: string, section: string): string[] {
  const [, text] = readFileSync(join(packageRoot, 'docs', page), 'utf8').split(`## ${section}\n`)
  return [...text!.split('\n## ')[0]!.matchAll(/```\w*\n(.*?)```/gs)].map(([, block]) => block!)
}

/** Lays files over a directory, in the world alone. */
function layOver(world: World, directory: string, fill: (own: string) => void): void {
  const own = world.path(`over-${basename(directory)}`)
  mkdirSync(own)
  fill(own)
  const options = `lowerdir=${own}:${directory}`
  world.mustRun('mount', ['-t', 'overlay', '-o', options, 'over', directory], { asRoot: true })
}

/** Puts mica where its package would. */
function install(world: World): void {
  layOver(world, '/usr/local/bin', (own) => {
    for (const name of ['mica', 'mica-overlay']) symlinkSync(join(packageRoot, 'bin', name), join(own, name))
  })
}

for (const isRootless of [false, true]) {
  const section = isRootless ? 'As an ordinary user' : 'As root'
  t.test(`podman.md: ${section}`, { skip: isRootless ? noRootless : skip }, async (t) => {
    const engine = new Engine('mica', { isRootless })
    t.teardown(() => engine.end())
    const { world } = engine
    delete world.env.CONTAINERS_STORAGE_CONF
    install(world)
    const blocks = printed('podman.md', section)
    t.equal(blocks.length, 1)
    if (isRootless) {
      world.makeDir('home/.config')
      writeFileSync(join(world.makeDir('home/.config/containers'), 'storage.conf'), blocks[0]!)
    } else layOver(world, '/etc/containers', (own) => writeFileSync(join(own, 'storage.conf'), blocks[0]!))

    const [commands] = printed('podman.md', 'See that it works')
    const [info] = /^podman info .*$/m.exec(commands!)!
    const [, show] = /^podman run --rm \S+ (grep .*?) +# fuse\.mica$/m.exec(commands!)!
    t.match(world.mustRun('sh', ['-c', info]), '/usr/local/bin/mica-overlay')
    engine.podman('load', '-q', '-i', putArchive(world, 'two'))
    t.match(world.mustRun('sh', ['-c', `podman run --rm two busybox ${show}`]), /^\S+ \/ fuse\.mica /)
    const root = isRootless
      ? world.path('home/.local/share/containers/storage')
      : '/var/lib/containers/storage'
    t.equal(engine.podman('info', '--format', '{{.Store.GraphRoot}}'), `${root}\n`)
    engine.podman('run', '-d', '--name', 'box', 'two', 'sleep', '1000')
    t.match(engine.inside('mica', ['ls']).toString(), `${root}/overlay/`)
    engine.podman('rm', '-f', '-t', '0', 'box')
    t.same(
      world.mounts().filter((line) => line.includes(' - fuse')),
      [],
      'nothing is left mounted',
    )
  })
}

const generation = version() < 200 ? '1.x' : '2.x'
t.test(`containerd.md: ${generation}, and the unit`, { skip: noContainerd() || skip }, async (t) => {
  const world = new World()
  t.teardown(() => world.end())
  install(world)
  const own = world.makeDir('own')
  writeFileSync(
    join(own, 'config.toml'),
    printed('containerd.md', `Configure containerd ${generation}`).join('\n'),
  )
  const unit = readFileSync(join(packageRoot, 'docs/mica-snapshotter.service'), 'utf8')
  const [, path] = /^Environment=(PATH=.*)$/m.exec(unit)!
  const [, command] = /^ExecStart=(.*)$/m.exec(unit)!
  writeTestImage(join(own, 'test.tar'), IMAGE)
  const [, run] = /^(ctr run --rm --snapshotter mica) /m.exec(printed('containerd.md', 'Use it')[0]!)!
  const script = `
for name in containerd mica-snapshotter; do mkdir -p /run/$name; mount -t tmpfs own /run/$name; done
for name in containerd mica-snapshotter; do mount --bind "$0/$name" /var/lib/$name; done
env ${path} ${command} >"$0/snapshotter.log" 2>&1 &
until [ -S /run/mica-snapshotter/snapshotter.sock ]; do sleep 0.05; done
export PATH=${SYSTEM_PATH}
containerd --config "$0/config.toml" >"$0/containerd.log" 2>&1 &
until ctr version >/dev/null 2>&1; do sleep 0.05; done
ctr plugins ls | grep -w mica
ctr images import --snapshotter mica "$0/test.tar" >/dev/null
${run} ${IMAGE} box cat /proc/mounts | grep ' / '
`
  const roots = ['containerd', 'mica-snapshotter']
  for (const name of roots) mkdirSync(join(own, name))
  layOver(world, '/var/lib', (over) => {
    for (const name of roots) mkdirSync(join(over, name))
  })
  const out = world.mustRun('sh', ['-euc', script, own])
  t.match(out, /^io\.containerd\.snapshotter\.v1 +mica +\S+ +ok/)
  t.match(out, /^\S+ \/ fuse\.mica /m)
})
