// Plain tools around images: what skopeo and umoci write is mounted, and the kernel's overlayfs reads what a
// container on mica left.

import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Sandbox } from '../store/mica.js'
import { makeLayout } from '../store/sample-images.js'
import { lazyUnmount, mountsBelow } from '../support/driver.js'
import { packageRoot } from '../support/package-root.js'
import { Engine } from './engine.js'
import { putArchive } from './images.js'
import { containerTree, type Tree } from './look.js'
import { absence } from './world.js'

// The runner has a limit of its own.
t.setTimeout(0)

const skip = absence('skopeo', 'umoci', 'python3') ?? false
const noPodman = skip || (absence('podman', 'runc') ?? false)
const MICA = join(packageRoot, 'bin/mica')

function treeOf(path: string): Tree {
  const text = execFileSync('python3', [join(packageRoot, 'test/engines/tree.py'), path], {
    encoding: 'utf8',
  })
  return JSON.parse(text) as Tree
}

/** umoci keeps no times of directories that a layer does not name. */
function withoutTimes(tree: Tree): Tree {
  return Object.fromEntries(
    Object.entries(tree).map(([path, line]) => [path, line.replace(/^(\S+ \S+ \S+) \S+/, '$1')]),
  )
}

t.test('the image of an OCI layout is mounted, read-only and with an upper', { skip }, async (t) => {
  const sandbox = new Sandbox()
  t.teardown(() => mountsBelow(sandbox.folder).forEach(lazyUnmount))
  const copy = sandbox.path('copied')
  sandbox.run('skopeo', [
    'copy',
    '-q',
    '--insecure-policy',
    `oci:${makeLayout(sandbox)}:two`,
    `oci:${copy}:v1.2`,
  ])
  const bundle = sandbox.path('unpacked')
  sandbox.run('umoci', ['unpack', '--image', `${copy}:v1.2`, bundle])
  const at = sandbox.dir('mnt')
  const [upper, work] = [sandbox.dir('upper'), sandbox.dir('work')]

  sandbox.run(MICA, ['mount', `oci:${copy}:v1.2`, at])
  t.same(withoutTimes(treeOf(at)), withoutTimes(treeOf(`${bundle}/rootfs`)), 'as umoci unpacks it')
  t.throws(() => writeFileSync(`${at}/new`, ''), { code: 'EROFS' })
  sandbox.run(MICA, ['umount', at])

  sandbox.run(MICA, ['mount', `oci:${copy}`, '--upper', upper, '--work', work, at])
  rmSync(`${at}/etc/two`)
  writeFileSync(`${at}/etc/new-here`, 'x')
  sandbox.run(MICA, ['umount', at])
  t.ok(existsSync(`${upper}/etc/new-here`))
  t.match(sandbox.run(MICA, ['images']), /copied +v1\.2/, 'it is an image of the store')

  sandbox.run(MICA, ['mount', '--lower', `${bundle}/rootfs`, '--upper', upper, '--work', work, at])
  t.ok(!existsSync(`${at}/etc/two`) && existsSync(`${at}/etc/new-here`), 'what umoci unpacked is a lower')
  sandbox.run(MICA, ['umount', at])
  t.throws(() => sandbox.run(MICA, ['mount', `oci:${copy}:v9`, at]), /no image v9 in it, but v1\.2/)
  t.throws(() => sandbox.run(MICA, ['mount', `oci:${at}`, at]), /no OCI layout/)
  t.same(mountsBelow(sandbox.folder), [], 'nothing is left mounted')
})

t.test('the kernel reads the upper that a container of podman leaves', { skip: noPodman }, async (t) => {
  const engine = new Engine('mica')
  t.teardown(() => engine.end())
  // One layer, as podman keeps deletions of further ones in another dialect for mount programs.
  engine.podman('load', '-q', '-i', putArchive(engine.world, 'one'))
  const script =
    'rm /etc/old; rm -r /usr/lib; mkdir /usr/lib; echo x > /usr/lib/x; mv /var /moved; echo y >> /etc/passwd'
  engine.podman('run', '--name', 'box', 'one', 'sh', '-c', script)
  const seen = containerTree(engine, 'container', 'box', 0)
  const where = (key: string): string =>
    engine.podman('inspect', '--format', `{{.GraphDriver.Data.${key}}}`, 'box').trim()
  mkdirSync(engine.world.path('kernel'))
  const options = `lowerdir=${where('LowerDir')},upperdir=${where('UpperDir')},workdir=${where('WorkDir')},redirect_dir=on`
  engine.world.mustRun('mount', ['-t', 'overlay', 'overlay', '-o', options, engine.world.path('kernel')])
  const tree = engine.world.mustRun('python3', [
    ...[join(packageRoot, 'test/engines/tree.py'), engine.world.path('kernel'), '0'],
  ])
  engine.world.mustRun('umount', [engine.world.path('kernel')])
  t.same(JSON.parse(tree), seen)
  t.match(readFileSync(`${where('UpperDir')}/usr/lib/x`, 'utf8'), 'x\n')
})
