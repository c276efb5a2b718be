// Debian's containerd on mica, beside its own overlayfs snapshotter: the same images, trees, diffs, sizes.
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { snapshot } from '../store/snapshot.js'
import { Containerd, noContainerd, until, version } from './containerd.js'
import { writeDeepImage, writeTestImage } from './containerd-images.js'

const IMAGE = 'docker.io/library/test:latest'
const DEEP = 'docker.io/library/deep:latest'
const DRIVERS = ['overlayfs', 'mica'] as const

const why = noContainerd('busybox', 'tar')
if (why !== false) {
  t.plan(0, why)
  process.exit(0)
}

// Many programs at once, and other tests beside them.
t.setTimeout(300_000)

const engine = new Containerd()
const at = (name: string): string => join(engine.folder, name)
let isClosed = false
t.teardown(() => (isClosed ? undefined : engine.close()))
await engine.startSnapshotter()
await engine.start()
const top = writeTestImage(at('test.tar'), IMAGE)
const deepTop = writeDeepImage(at('deep.tar'), DEEP, 60)

/** The tree that a snapshot and all below it make. No layer tells the root's time. */
const treeOf = (driver: string, chain: string): Record<string, string> =>
  engine.withMount(driver, chain, (path) => snapshot(path, (each) => each !== ''))

/** What each layer's own tree is, by its chain id. */
function usages(driver: string): Map<string, { size: string; inodes: number }> {
  const lines = engine.ok('snapshots', '--snapshotter', driver, 'usage').trim().split('\n').slice(1)
  return new Map(
    lines.map((line) => {
      const [key = '', size = '', inodes = ''] = line.split(/\s{2,}|(?<=B)\s/)
      return [key, { size, inodes: Number(inodes) }] as const
    }),
  )
}

t.test('an image is unpacked to the same tree, sizes and chain', async (t) => {
  for (const driver of DRIVERS) engine.ok('images', 'import', '--snapshotter', driver, at('test.tar'))
  const [kernel, mica] = DRIVERS.map((driver) => treeOf(driver, top))
  t.ok(Object.keys(mica!).length > 30)
  t.strictSame(mica, kernel)
  t.notOk('/opt/old/b' in mica!)
  const [expected, found] = DRIVERS.map((driver) => engine.ok('snapshots', '--snapshotter', driver, 'tree'))
  t.equal(found, expected)
  t.ok(found!.includes(top))
  t.strictSame(usages('mica'), usages('overlayfs'))
})

t.test('an image of 60 layers is the same tree', async (t) => {
  for (const driver of DRIVERS) engine.ok('images', 'import', '--snapshotter', driver, at('deep.tar'))
  const [kernel, mica] = DRIVERS.map((driver) => treeOf(driver, deepTop))
  t.ok(Object.keys(mica!).length > 350)
  t.strictSame(mica, kernel)
  const { status, out, err } = engine.run('mica', DEEP, 'deep', '/bin/cat', '/deep/changed', '/deep/d3/f1')
  t.strictSame([status, out, err], [0, 'layer 583 1', ''])
})

const CHANGES = `
echo new > /etc/new; echo more >> /etc/kept; rm /etc/two; chmod 711 /usr/lib/only
rm -r /opt/old; mkdir /opt/old; echo fresh > /opt/old/fresh; mv /srv/turns /srv/moved
ln /etc/new /etc/new2; ln -s new /etc/link; touch /tmp/t; cat /etc/kept; exit 7`

/** What a diff's archive holds, without times and what depends on them. */
function diffListing(driver: string, key: string): string[] {
  const tar = at(`diff-${driver}.tar`)
  engine.shell(`ctr snapshots --snapshotter ${driver} diff ${key} > ${tar}`)
  const lines = engine.shell(`tar --numeric-owner --full-time -tvf ${tar}`).trim().split('\n')
  return lines.map((line) => line.replace(/ +\d{4}-\d\d-\d\d [\d:.]+ /, ' ').replace(/ {2,}/g, ' ')).sort()
}

t.test('a container changes the same, says the same, and its diff is the same', async (t) => {
  const results = DRIVERS.map((driver) => {
    const name = `change-${driver}`
    const args = engine.runArgs(driver, IMAGE, name, '/bin/sh', '-c', CHANGES).filter((arg) => arg !== '--rm')
    const { status, out } = engine.ctr(...args)
    const diff = diffListing(driver, name)
    const usage = usages(driver).get(name)
    engine.ok('containers', 'rm', name)
    return { status, out, diff, inodes: usage?.inodes }
  })
  const [kernel, mica] = results
  t.equal(kernel!.status, 7)
  t.match(kernel!.out, 'lowermore\n')
  t.ok(kernel!.diff.length > 10)
  t.strictSame(mica, kernel)
})

t.test('a container in a user namespace has the image\u2019s owners, and nothing is chowned', async (t) => {
  const ids = ['--uidmap', '0:100000:65536', '--gidmap', '0:100000:65536', '--remap-labels']
  const script =
    'stat -c "%u %g %n" /etc/kept /var/log; echo x > /etc/mine; stat -c "%u %g" /etc/mine; cat /proc/self/uid_map'
  const { status, out, err } = engine.ctr(
    ...['run', '--rm', '--snapshotter', 'mica', ...ids, IMAGE, 'mapped', '/bin/sh', '-c', script],
  )
  t.equal(status, 0, err)
  t.match(out, /^0 0 \/etc\/kept\n7 8 \/var\/log\n0 0\n\s+0 +100000 +65536\n$/)
})

const always = version() < 107 ? 'ctr images mount of containerd 1.6 takes overlayfs always' : false
t.test('ctr images mount shows an image, read-only or not', { skip: always }, async (t) => {
  const path = at('shown')
  mkdirSync(path)
  const whole = treeOf('overlayfs', top)
  for (const flags of [[], ['--rw']]) {
    engine.ok('images', 'mount', '--snapshotter', 'mica', ...flags, IMAGE, path)
    t.strictSame(
      snapshot(path, (each) => each !== ''),
      whole,
    )
    const write = (): void => writeFileSync(join(path, 'etc/kept'), 'written')
    if (flags.length === 0) t.throws(write, { code: 'EROFS' })
    else write()
    engine.ok('images', 'unmount', '--snapshotter', 'mica', '--rm', path)
  }
  t.strictSame(treeOf('mica', top), whole, 'what was written went with the mount')
})

t.test('twenty containers live at once, each with changes of its own', async (t) => {
  const script = (i: number): string =>
    `echo ${i} > /tmp/mine; echo ${i} >> /etc/kept; sleep 1; cat /tmp/mine /etc/kept; rm /etc/two`
  const runs = await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      engine.later(...engine.runArgs('mica', IMAGE, `many-${i}`, '/bin/sh', '-c', script(i))),
    ),
  )
  runs.forEach(({ status, out, err }, i) => {
    t.strictSame([status, out, err], [0, `${i}\nlower${i}\n`, ''])
  })
  t.strictSame(engine.ok('snapshots', '--snapshotter', 'mica', 'ls').match(/many-/g), null)
})

t.test('containers live on while the snapshotter is killed and restarted', async (t) => {
  const args = engine.runArgs('mica', IMAGE, 'lives', '/bin/sh', '-c', 'sleep 600')
  engine.ok('run', '--detach', ...args.slice(2))
  const inside = (script: string): string =>
    engine.ok('tasks', 'exec', '--exec-id', `e${Date.now()}`, 'lives', '/bin/sh', '-c', script)
  inside('echo one > /tmp/kept')
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    await engine.stopSnapshotter(signal)
    t.equal(inside(`cat /tmp/kept; echo ${signal} > /etc/kept; cat /etc/kept`), `one\n${signal}\n`)
    const refused = engine.run('mica', IMAGE, 'early', '/bin/true')
    t.not(refused.status, 0, 'nothing new without a snapshotter')
    t.match(refused.err, /unavailable|connection|dial/i)
    await engine.startSnapshotter()
    await until(
      'containerd has found it again',
      () => engine.run('mica', IMAGE, 'again', '/bin/true').status === 0,
    )
  }
  engine.ok('tasks', 'kill', '--signal', 'SIGKILL', 'lives')
  await until('the task has ended', () => engine.ok('tasks', 'ls').includes('STOPPED'))
  engine.ok('tasks', 'rm', 'lives')
  engine.ok('containers', 'rm', 'lives')
  t.strictSame(engine.log('snapshotter').match(/can't|gone/g), null)
})

t.test('a snapshot whose directory vanished is an error that names it', async (t) => {
  engine.ok('snapshots', '--snapshotter', 'mica', 'prepare', 'vanished', top)
  const [mount = ''] = engine.ok('snapshots', '--snapshotter', 'mica', 'mounts', '/x', 'vanished').split('\n')
  t.match(mount, /mount -t fuse3\.mica-overlay overlay \/x -o workdir=/)
  const dir = /upperdir=(\S+?)\/fs,/.exec(mount)![1]!
  rmSync(dir, { recursive: true })
  const lost = engine.ctr('snapshots', '--snapshotter', 'mica', 'mounts', '/x', 'vanished')
  t.not(lost.status, 0)
  t.match(lost.err, new RegExp(`vanished: its directory ${dir}/fs: not found`))
  engine.ok('snapshots', '--snapshotter', 'mica', 'rm', 'vanished')
})

t.test('garbage collection takes what no image needs, from the disk too', async (t) => {
  t.ok(readdirSync(join(engine.snapshots, 'snapshots')).length > 60)
  engine.ok('images', 'rm', '--sync', DEEP)
  engine.ok('images', 'rm', '--sync', IMAGE)
  await until('the directories are gone', () => readdirSync(join(engine.snapshots, 'snapshots')).length === 0)
  await until('they are deleted', () => readdirSync(join(engine.snapshots, 'trash')).length === 0)
  t.strictSame([...usages('mica')], [])
  t.notOk(engine.ok('content', 'ls', '-q').includes('sha256'))
})

t.test('layers are unpacked through mounts to the same tree', async (t) => {
  engine.ok('images', 'import', '--snapshotter', 'overlayfs', at('test.tar'))
  await engine.stopSnapshotter()
  await engine.startSnapshotter('--unpack', 'mount')
  engine.ok('images', 'import', '--snapshotter', 'mica', at('test.tar'))
  t.strictSame(treeOf('mica', top), treeOf('overlayfs', top))
  t.ok(existsSync(engine.socket))
})

t.test('nothing is left mounted', async (t) => {
  isClosed = true
  t.strictSame(await engine.close(), [])
})
