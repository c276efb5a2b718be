// podman, unmodified, with mica-overlay as its mount program: every step is done on the kernel's overlayfs as
// well, as root and as an ordinary user, and must leave the same.

import { chownSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { Engine } from './engine.js'
import { putArchive } from './images.js'
import { containerTree, diffOf, layersOf, listing, mountedBy } from './look.js'
import { absence, nextSecond, rootlessAbsence } from './world.js'

const CHANGES = `
set -e
echo more >> /etc/two
chmod 600 /usr/lib/kept
rm /usr/link
mv /var/log /var/moved
echo new > /etc/first
ln /etc/first /etc/second
ln -s ../etc /tmp/link
mkdir -p /srv/a/b
touch /srv/a/b/c
head -c 3000000 /dev/zero > /srv/big
mkdir /srv/gone
rmdir /srv/gone
touch -d '2001-01-01 00:00:00' /etc/new
`

// The runner has a limit of its own.
t.setTimeout(0)

const skip = absence('podman', 'buildah', 'skopeo', 'umoci', 'runc', 'python3') ?? false
const noRootless = skip || (rootlessAbsence() ?? false)

for (const isRootless of [false, true]) {
  const who = isRootless ? 'an ordinary user' : 'root'
  t.test(`podman run by ${who}`, { skip: isRootless ? noRootless : skip }, async (t) => {
    const kernel = new Engine('kernel', { isRootless })
    t.teardown(() => kernel.end())
    const mica = new Engine('mica', { isRootless })
    t.teardown(() => mica.end())

    putArchive(kernel.world, 'two')
    const before = await nextSecond()

    /** Does the same on both, and compares. */
    const same = (title: string, look: (engine: Engine) => unknown): void => {
      const expected = look(kernel)
      t.same(look(mica), expected, title)
    }

    same('an archive is loaded', (engine) => {
      engine.podman('load', '-q', '-i', putArchive(engine.world, 'two'))
      return engine.podman('images', '--format', '{{.Repository}}:{{.Tag}} {{.Id}}')
    })
    same('run --rm gives output and status', (engine) =>
      engine.tryPodman(['run', '--rm', 'two', 'sh', '-c', 'cat /etc/two; ls /usr/lib; exit 7']),
    )
    same('the image is mounted', (engine) => {
      const tree = containerTree(engine, 'image', 'two', before)
      return tree
    })
    same('a detached container is changed by exec and cp', (engine) => {
      engine.podman('run', '-d', '--name', 'box', 'two', 'sleep', '1000')
      engine.podman('exec', 'box', 'sh', '-c', CHANGES)
      const source = `${engine.world.path('home')}/copied`
      writeFileSync(source, 'copied\n')
      utimesSync(source, 1e9, 1e9)
      engine.podman('cp', source, 'box:/srv/copied')
      engine.podman('cp', 'box:/etc/first', `${engine.world.path('home')}/fresh`)
      return [
        readFileSync(`${engine.world.path('home')}/fresh`, 'utf8'),
        containerTree(engine, 'container', 'box', before),
      ]
    })
    same('diff', (engine) => diffOf(engine, 'box'))
    same('commit', (engine) => {
      engine.podman('commit', '-q', 'box', 'three')
      return [layersOf(engine, 'three', before), containerTree(engine, 'image', 'three', before)]
    })
    same('export', (engine) => {
      const path = `${engine.world.path('home')}/export.tar`
      engine.podman('export', '-o', path, 'box')
      return listing(engine, path)
    })
    same('a directory that was deleted and made again', (engine) => {
      engine.podman('exec', 'box', 'sh', '-c', 'rm -rf /usr/lib; mkdir /usr/lib; echo fresh > /usr/lib/fresh')
      engine.podman('commit', '-q', 'box', 'four')
      return containerTree(engine, 'image', 'four', before)
    })
    t.same(
      diffOf(mica, 'box').filter((line) => line.includes('/usr/lib')),
      ['A /usr/lib/fresh', 'D /usr/lib/kept'],
      'its old entries are listed as deleted',
    )
    same('a second container of the image sees nothing of the first', (engine) => {
      engine.podman(
        'run',
        '-d',
        '--name',
        'other',
        'two',
        'sh',
        '-c',
        'echo other > /etc/other; exec sleep 1000',
      )
      const seen = engine.podman('exec', 'other', 'ls', '/etc', '/usr/lib', '/')
      engine.podman('exec', 'box', 'sh', '-c', 'test ! -e /etc/other')
      return seen
    })
    same('stop, start, and what was written is there', (engine) => {
      engine.podman('stop', '-t', '0', 'box')
      engine.podman('start', 'box')
      return engine.podman('exec', 'box', 'cat', '/etc/first', '/etc/two')
    })
    same('kill and rm while files are open', (engine) => {
      engine.podman('exec', '-d', 'other', 'sh', '-c', 'exec 3>>/etc/open 4</bin/busybox; sleep 1000')
      engine.podman('kill', 'other')
      engine.podman('wait', 'other')
      return engine.podman('rm', '-f', '-t', '0', 'box', 'other').trim().split('\n').sort().length
    })
    same('an overlay volume keeps its source as it was', (engine) => {
      const source = engine.world.makeDir('home/source')
      writeFileSync(`${source}/file`, 'source\n')
      chownSync(`${source}/file`, ...engine.world.owner)
      const script = 'cat /x/file; echo more >> /x/file; rm /x/file; echo new > /x/file; cat /x/file'
      const { status, out } = engine.tryPodman([
        'run',
        '--rm',
        '-v',
        `${source}:/x:O`,
        'two',
        'sh',
        '-c',
        script,
      ])
      return [status, out, readdirSync(source), readFileSync(`${source}/file`, 'utf8')]
    })
    same('a read-only container', (engine) => {
      const script = 'cat /etc/two; echo x > /etc/x; echo status $?; echo x > /tmp/x && cat /tmp/x'
      const { status, out } = engine.tryPodman(['run', '--rm', '--read-only', 'two', 'sh', '-c', script])
      return [status, out]
    })
    same('user namespaces', (engine) => {
      const mode = isRootless ? 'keep-id' : 'auto'
      const script = 'id -u; ls -lnd /etc /etc/two /root; echo x > /tmp/mine; ls -ln /tmp/mine'
      const out = engine.podman('run', '--rm', `--userns=${mode}`, 'two', 'sh', '-c', script)
      // Link counts of directories and times are no two drivers' same.
      return out.replace(/^([d-]\S{9}) +\d+/gm, '$1').replace(/[A-Z][a-z]{2} +\d+ \d+:\d+/g, '')
    })

    t.same(mountedBy(mica), [], 'nothing is left mounted')
  })
}
