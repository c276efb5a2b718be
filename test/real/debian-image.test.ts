// A real Debian as an image of several layers, from beginning to end: imported, changed in containers by real
// packages, committed, saved, taken apart by umoci, run by podman, loaded again. All show the same tree.

import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readMounts } from '../../src/mount/mount-info.js'
import { Engine } from '../engines/engine.js'
import { absence } from '../engines/world.js'
import { needs, type Ran, Sandbox } from '../store/mica.js'
import { type Snapshot, snapshot } from '../store/snapshot.js'
import { type Debian, debian } from './debian.js'

t.setTimeout(600_000)

function prepare(): Debian | string {
  if (process.getuid?.() !== 0) return 'debootstrap and chroot need root'
  if (!existsSync('/dev/fuse')) return 'there is no /dev/fuse'
  return needs('umoci', 'skopeo', 'tar') || debian()
}

const prepared = prepare()
const skip = typeof prepared === 'string' && prepared
const sandbox = skip ? undefined : new Sandbox()

/** The compiler is left out: it is most of the bytes, and nothing in it is new to an archive. */
const LEFT_OUT = [
  './usr/lib/gcc',
  './usr/libexec',
  './usr/include',
  './var/cache',
  './usr/share/locale',
  '*.a',
]

async function ok(...args: string[]): Promise<Ran> {
  const ran = await sandbox!.mica(args)
  if (ran.status !== 0) throw new Error(`mica ${args.join(' ')}: ${ran.status} ${ran.err} ${ran.out}`)
  return ran
}

async function treeOf(image: string, withTime?: (at: string) => boolean): Promise<Snapshot> {
  await ok('create', image, 'look')
  const path = (await ok('mount', 'look')).out.trim()
  const seen = snapshot(path, withTime)
  await ok('umount', 'look')
  await ok('rm', 'look')
  return seen
}

/** Makes the image `real:3` of three layers. */
async function makeImage({ root, packages }: Debian): Promise<void> {
  const tar = sandbox!.path('root.tar')
  const left = LEFT_OUT.map((path) => `--exclude=${path}`)
  sandbox!.run('tar', ['-C', root, '--xattrs', '--numeric-owner', ...left, '-cf', tar, '.'])
  await ok('import', '-c', 'CMD ["/bin/bash"]', tar, 'real:1')
  const change = async (from: string, to: string, script: string): Promise<void> => {
    await ok('run', '--name', 'work', '-v', `${packages}:/mnt:ro`, from, 'sh', '-ec', script)
    await ok('commit', 'work', to)
    await ok('rm', 'work')
  }
  await change('real:1', 'real:2', 'dpkg -i /mnt/*.deb; hello')
  const tidy = `rm -rf /usr/share/doc /usr/share/man; mkdir /usr/share/doc; echo gone > /usr/share/doc/README
    mv /usr/share/zoneinfo /srv/zones; chown -R 7:8 /var/log; chmod u+s /usr/bin/jq
    ln /etc/passwd /etc/passwd.link; ln /usr/bin/perl /usr/bin/perl.link; : > /etc/machine-id`
  await change('real:2', 'real:3', tidy)
}

t.test('the tree that umoci makes of it is the tree that we mount', { skip }, async (t) => {
  await makeImage(prepared as Debian)
  const history = JSON.parse((await ok('inspect', 'real:3')).out) as [{ RootFS: { Layers: string[] } }]
  t.equal(history[0].RootFS.Layers.length, 3)
  await ok('save', '--format', 'oci-dir', '-o', sandbox!.path('layout'), 'real:3')
  sandbox!.run('umoci', ['unpack', '--image', `${sandbox!.path('layout')}:3`, sandbox!.path('bundle')])
  const theirs = snapshot(sandbox!.path('bundle/rootfs'))
  // umoci moves the times of directories that it removes something from.
  const isDirectory = (at: string): boolean => theirs[at]?.startsWith('4') === true
  const withTime = (at: string): boolean => !isDirectory(at)
  const ours = await treeOf('real:3', withTime)
  t.ok(Object.keys(ours).length > 5000, `${Object.keys(ours).length} names`)
  t.same(ours, snapshot(sandbox!.path('bundle/rootfs'), withTime))
  const perl = Object.entries(ours).filter(([at]) => /^\/usr\/bin\/perl(\.link|5\.\d.*)?$/.test(at))
  t.equal(
    perl.filter(([, line]) => line.endsWith('links to /usr/bin/perl')).length,
    2,
    'three names of one file',
  )
})

t.test('saved, removed and loaded again it is the identical tree', { skip }, async (t) => {
  const before = await treeOf('real:3')
  await ok('save', '-o', sandbox!.path('real.tar'), 'real:3')
  await ok('rmi', 'real:3')
  await ok('load', '-q', '-i', sandbox!.path('real.tar'))
  t.same(await treeOf('real:3'), before)
  t.match(
    (await ok('run', '--rm', 'real:3', 'sh', '-c', 'hello; jq --version; ls /srv/zones | wc -l')).out,
    /^Hello, world!\njq-/,
  )
  t.equal((await sandbox!.mica(['fsck', '-q'])).status, 0)
})

const noPodman = skip || (absence('podman', 'runc') ?? false)
t.test('skopeo takes it, and podman runs it', { skip: noPodman }, (t) => {
  const copy = sandbox!.path('copied')
  sandbox!.run('skopeo', ['copy', '-q', `docker-archive:${sandbox!.path('real.tar')}`, `dir:${copy}`])
  const engine = new Engine('kernel')
  t.teardown(() => engine.end())
  engine.podman('load', '-q', '-i', sandbox!.path('real.tar'))
  t.equal(
    engine.podman(
      'run',
      '--rm',
      'real:3',
      'sh',
      '-c',
      'hello; stat -c %a:%h /usr/bin/jq /usr/bin/perl; ls /usr/share/doc',
    ),
    'Hello, world!\n4755:1\n755:3\nREADME\n',
  )
  t.end()
})

t.test('nothing is left mounted', { skip }, (t) => {
  t.same(
    readMounts().filter(({ mountpoint }) => mountpoint.startsWith(sandbox!.folder)),
    [],
  )
  spawnSync('rm', ['-rf', join(sandbox!.folder, 'bundle')])
  t.end()
})
