import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { MountError } from '../../src/mount/errors.js'
import { openLayers } from '../../src/mount/layers.js'
import { readMounts, startTime } from '../../src/mount/mount-info.js'
import { defaultOptions, type MountOptions } from '../../src/mount/options.js'
import { markVolatile, refuseAfterCrash } from '../../src/mount/volatile-mark.js'

const folder = mkdtempSync(join(tmpdir(), 'mica-layers-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

let count = 0
/** Makes directories in a folder of their own; returns the way to them. */
function scene(...dirs: string[]): (path: string) => string {
  const top = join(folder, String(count++))
  for (const dir of ['mnt', ...dirs]) mkdirSync(join(top, dir), { recursive: true })
  return (path) => join(top, path)
}

function open(options: Partial<MountOptions>, mountpoint = '') {
  return openLayers({ ...defaultOptions(), ...options }, mountpoint)
}

/** Returns the message of the failure. The number of open fds must be what it was. */
function failure(options: Partial<MountOptions>, mountpoint = ''): string {
  const before = readdirSync('/proc/self/fd').length
  try {
    open(options, mountpoint).close()
  } catch (error) {
    if (!(error instanceof MountError)) throw error
    t.equal(readdirSync('/proc/self/fd').length, before, 'nothing stays open')
    return error.message
  }
  return 'no failure'
}

t.test('layers are opened top first, the upper before the lowers', async (t) => {
  const at = scene('a', 'b', 'u', 'w')
  const opened = open({ lower: [at('a'), at('b')], upper: at('u'), work: at('w') }, at('mnt'))
  t.same(
    opened.layers.map(({ path }) => path),
    [at('u'), at('a'), at('b')],
  )
  t.ok(opened.isWritable)
  t.ok(opened.workFd >= 0)
  opened.close()
})

t.test('lowers alone, or ro, make a mount that is not writable and needs no workdir', async (t) => {
  const at = scene('a', 'u')
  const alone = open({ lower: [at('a')] })
  t.notOk(alone.isWritable)
  t.equal(alone.workFd, -1)
  alone.close()
  const readOnly = open({ lower: [at('a')], upper: at('u'), readOnly: true })
  t.notOk(readOnly.isWritable)
  t.equal(readOnly.layers.length, 2)
  readOnly.close()
})

t.test('bad layers are refused in words, and nothing is changed', async (t) => {
  const at = scene('a/in', 'b', 'u/in', 'w/in', 'full/stuff')
  writeFileSync(at('file'), '')
  const [lower, upper, work] = [[at('a')], at('u'), at('w')]
  const cases: [title: string, options: Partial<MountOptions>, message: string][] = [
    ['a missing lower', { lower: [at('none')] }, `lower ${at('none')}: no such file or directory`],
    ['a file as lower', { lower: [at('file')] }, `lower ${at('file')}: not a directory`],
    ['a missing upper', { lower, upper: at('none'), work }, `upper ${at('none')}: no such file or directory`],
    ['a file as upper', { lower, upper: at('file'), work }, `upper ${at('file')}: not a directory`],
    [
      'a missing workdir',
      { lower, upper, work: at('none') },
      `workdir ${at('none')}: no such file or directory`,
    ],
    [
      'an upper inside a lower',
      { lower, upper: at('a/in'), work: at('w/in') },
      `upper ${at('a/in')} lies inside lower ${at('a')}; layers must be apart`,
    ],
    [
      'a lower inside the upper',
      { lower: [at('u/in')], upper, work: at('w/in') },
      `lower ${at('u/in')} lies inside upper ${at('u')}; layers must be apart`,
    ],
    [
      'a lower inside another',
      { lower: [at('a'), at('a/in')] },
      `lower ${at('a/in')} lies inside lower ${at('a')}; layers must be apart`,
    ],
    [
      'the same lower twice',
      { lower: [at('a'), at('b'), at('a')] },
      `lower ${at('a')} is the same directory as lower ${at('a')}; give each layer its own`,
    ],
    [
      'the upper as lower',
      { lower: [at('u')], upper, work: at('w/in') },
      `lower ${at('u')} is the same directory as upper ${at('u')}; give each layer its own`,
    ],
    [
      'a workdir inside the upper',
      { lower, upper, work: at('u/in') },
      `workdir ${at('u/in')} lies inside upper ${at('u')}; layers must be apart`,
    ],
    [
      'an upper inside the workdir',
      { lower, upper: at('w/in'), work },
      `upper ${at('w/in')} lies inside workdir ${at('w')}; layers must be apart`,
    ],
    [
      'a workdir with foreign files',
      { lower, upper, work: at('full') },
      `workdir ${at('full')} is not empty: it holds 'stuff'; give an empty directory`,
    ],
  ]
  for (const [title, options, message] of cases) t.equal(failure(options), message, title)
  t.same(readdirSync(at('w')), ['in'], 'no workdir was touched')
  t.same(readdirSync(at('u/in')), [])
  t.same(readdirSync(at('full')), ['stuff'])
})

t.test('layers are compared by what they are, not by their names', async (t) => {
  const at = scene('layers/diff1/in', 'layers/diff2', 'l/XX')
  symlinkSync('../../layers/diff1/in', at('l/XX/N2YY..'))
  // Through the link: layers/diff1/in/../../diff2, which no lexical rule finds.
  const odd = `${at('l/XX/N2YY..')}/../../diff2`
  const opened = open({ lower: [odd, at('layers/diff1')] })
  t.equal(opened.layers[0]!.path, odd)
  opened.close()
  t.equal(
    failure({ lower: [odd, at('layers/diff2')] }),
    `lower ${at('layers/diff2')} is the same directory as lower ${odd}; give each layer its own`,
  )
})

t.test('what a union driver leaves in a workdir is not foreign', async (t) => {
  const at = scene('a', 'u', 'w/work', 'w/index', 'w/#12', 'w/mica.x')
  const opened = open({ lower: [at('a')], upper: at('u'), work: at('w') })
  t.ok(opened.isWritable)
  opened.close()
})

t.test('a mount point inside a layer is refused, one that covers a layer is not', async (t) => {
  const at = scene('a/mnt', 'b')
  t.equal(
    failure({ lower: [at('a'), at('b')] }, at('a/mnt')),
    `the mount point lies inside lower ${at('a')}; mount it outside of all layers`,
  )
  open({ lower: [at('a'), at('b')] }, at('a')).close()
})

t.test('500 lowers open', async (t) => {
  const names = Array.from({ length: 500 }, (_, i) => `many/${i}`)
  const at = scene(...names)
  const opened = open({ lower: names.map(at) })
  t.equal(opened.layers.length, 500)
  t.ok(opened.layers.every(({ fd }) => fd > 2))
  opened.close()
})

t.test('an upper is held by one process at a time', async (t) => {
  const at = scene('a', 'u', 'w')
  const options = { lower: [at('a')], upper: at('u'), work: at('w') }
  const first = open(options, at('mnt'))
  t.equal(failure(options), `upper ${at('u')} is in use by the mount at ${at('mnt')}; mica umount it first`)
  first.close()
  open(options).close()
  t.same(readdirSync(at('w/work')), [], 'the hold is gone')
})

t.test('a hold counts only while its process and its mount are there', async (t) => {
  const at = scene('a', 'u', 'w/work')
  const options = { lower: [at('a')], upper: at('u'), work: at('w') }
  const hold = (record: object): void => writeFileSync(at('w/work/mica%'), JSON.stringify(record))
  const own = { pid: process.pid, startTime: startTime('self'), mountpoint: '/m' }
  hold({ ...own, device: '0:999999' })
  t.equal(failure(options), 'no failure', 'the process lives, its mount is gone')
  const { device, source } = readMounts()[0]!
  hold({ ...own, device, source: 'mica-0' })
  t.equal(failure(options), 'no failure', 'its device number is another mount by now')
  hold({ ...own, device, source })
  t.match(failure(options), /is in use by the mount at \/m/)
  hold({ pid: 2 ** 22 + 1, startTime: '1', device: '', mountpoint: '/m' })
  t.equal(failure(options), 'no failure', 'the process is gone')
  hold({ ...own, startTime: '1', device: '' })
  t.equal(failure(options), 'no failure', 'another process has its number')
  writeFileSync(at('w/work/mica%'), 'garbage')
  t.equal(failure(options), 'no failure', 'a damaged record')
  hold({ ...own, device: '' })
  t.match(failure(options), /is in use by the mount at \/m/, 'a mount on its way')
})

t.test('a volatile upper is refused after a crash only', async (t) => {
  const at = scene('w')
  t.doesNotThrow(() => refuseAfterCrash(at('w'), 'U', 'W'))
  const unmark = markVolatile(at('w'))
  t.ok(existsSync(at('w/work/incompat/volatile')), 'the kernel refuses it, too')
  t.doesNotThrow(() => refuseAfterCrash(at('w'), 'U', 'W'), 'its process still lives')
  unmark()
  t.notOk(existsSync(at('w/work/incompat')))
  mkdirSync(at('w/work/incompat/volatile'), { recursive: true })
  writeFileSync(at('w/work/incompat/volatile/mica.4194305.1'), '')
  t.throws(() => refuseAfterCrash(at('w'), 'U', 'W'), {
    message: /^upper U was mounted volatile and not unmounted cleanly.*remove W\/work\/incompat\/volatile/,
  })
})

t.test('a workdir on another file system is refused', async (t) => {
  if (process.getuid?.() !== 0)
    return void t.pass('skipped', { skip: 'mounting a second file system needs root' })
  const at = scene('a', 'u', 'other')
  if (spawnSync('mount', ['-t', 'tmpfs', 'mica-test', at('other')]).status !== 0)
    return void t.pass('skipped', { skip: 'no tmpfs can be mounted' })
  try {
    mkdirSync(at('other/w'))
    t.equal(
      failure({ lower: [at('a')], upper: at('u'), work: at('other/w') }),
      `workdir ${at('other/w')} is on another file system than upper ${at('u')}; put them side by side`,
    )
  } finally {
    spawnSync('umount', [at('other')])
  }
})

t.test('an unreadable lower is refused', async (t) => {
  if (process.getuid?.() !== 0) return void t.pass('skipped', { skip: 'another user is needed for this' })
  const script = `
    process.setgid(65534); process.setgroups([]); process.setuid(65534)
    const { openLayers } = await import(process.argv[1])
    const { defaultOptions } = await import(process.argv[2])
    try { openLayers({ ...defaultOptions(), lower: [process.argv[3]] }, '') } catch (error) { console.log(error.message) }`
  const at = scene('a')
  spawnSync('chmod', ['755', folder])
  spawnSync('chmod', ['700', at('a')])
  const url = (name: string): string => new URL(`../../src/mount/${name}.js`, import.meta.url).href
  const reachable = spawnSync('setpriv', [
    '--reuid',
    '65534',
    '--clear-groups',
    'cat',
    new URL(url('layers')).pathname,
  ])
  if (reachable.status !== 0)
    return void t.pass('skipped', { skip: 'the program can’t be read by another user here' })
  const { stdout, stderr } = spawnSync(
    process.execPath,
    ['--input-type=module', '-e', script, url('layers'), url('options'), at('a')],
    { encoding: 'utf8' },
  )
  t.equal(stdout.trim(), `lower ${at('a')}: permission denied`, stderr)
})
