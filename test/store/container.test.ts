// Containers: a command in an image, what it changed, and images made of that. Needs root and /dev/fuse.

import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readMounts } from '../../src/mount/mount-info.js'
import { isRoot } from '../../src/store/at.js'
import { needs, type Ran, Sandbox } from './mica.js'
import { makeLayout } from './sample-images.js'
import { snapshot } from './snapshot.js'

t.setTimeout(900_000)

const skip =
  needs('umoci', 'skopeo') ||
  (!isRoot && 'needs root') ||
  (statSync('/dev/fuse', { throwIfNoEntry: false }) === undefined && 'needs /dev/fuse') ||
  (statSync('/bin/busybox', { throwIfNoEntry: false }) === undefined && 'needs busybox')

const IMAGE = 'layout:two'
let sandbox: Sandbox
if (!skip) {
  sandbox = new Sandbox()
  t.equal((await sandbox.mica(['load', '-q', makeLayout(sandbox)])).status, 0)
}

async function ok(...args: string[]): Promise<Ran> {
  const ran = await sandbox.mica(args)
  if (ran.status !== 0) throw new Error(`mica ${args.join(' ')}: ${ran.status} ${ran.err}`)
  return ran
}

/** Runs a script in a new container of the name. */
const script = (name: string, text: string, ...options: string[]): Promise<Ran> =>
  ok('run', '--name', name, ...options, IMAGE, '/bin/sh', '-ec', text)

/** Waits until a container runs. */
async function isUp(): Promise<void> {
  for (let i = 0; i < 100 && !(await ok('ps')).out.includes('Up'); i++)
    await new Promise((done) => setTimeout(done, 50))
}

t.afterEach(() => {
  if (!skip)
    t.same(
      readMounts().filter(({ mountpoint }) => mountpoint.startsWith(sandbox.folder)),
      [],
      'nothing is left mounted',
    )
})

t.test(
  'a command sees the image, its variables and its directory, and its status is passed on',
  { skip },
  async (t) => {
    const seen = await sandbox.mica([
      'run',
      '--rm',
      IMAGE,
      '/bin/sh',
      '-c',
      'pwd; echo $GREETING; id -u; cat /etc/two; echo $$; exit 7',
    ])
    t.match(seen, { status: 7, out: '/root\nhello\n0\ntwo\n' })
    t.ok(Number(seen.out.trim().split('\n').at(-1)) < 100, 'a pid namespace of its own')
    t.equal((await ok('ps', '-aq')).out, '', 'it is gone')
  },
)

t.test('options of run', { skip }, async (t) => {
  const run = async (...args: string[]): Promise<Ran> => sandbox.mica(['run', '--rm', ...args])
  t.match(await run('-e', 'A=b', IMAGE, '/bin/sh', '-c', 'echo $A'), { status: 0, out: 'b\n' })
  t.match(await run('-u', 'user', IMAGE, '/bin/id', '-u'), { status: 0, out: '1000\n' })
  t.match(await run('-u', '77:88', IMAGE, '/bin/id', '-g'), { status: 0, out: '88\n' })
  t.match(await run('-u', 'nobody-here', IMAGE, '/bin/id'), { status: 125, err: /knows no user/ })
  t.match(await run('-w', '/new/dir', IMAGE, '/bin/pwd'), { status: 0, out: '/new/dir\n' })
  t.match(await run('--entrypoint', '/bin/echo', IMAGE, 'x'), { status: 0, out: 'x\n' })
  t.match(await run('--hostname', 'box', IMAGE, '/bin/cat', '/proc/sys/kernel/hostname'), { out: 'box\n' })
  t.match(await run('--read-only', IMAGE, '/bin/touch', '/x'), { status: 1, err: /Read-only/ })
  t.match(await run(IMAGE, '/bin/nothing'), { status: 127, err: /command not found/ })
  t.match(await run(IMAGE, '/etc/passwd'), { status: 126, err: /can't be run: permission denied/ })
  t.match(await run('-v', '/nowhere:/x', IMAGE, '/bin/true'), { status: 125, err: /no \/nowhere/ })
  t.match(await sandbox.mica(['run', '--rm', '-i', IMAGE, '/bin/cat'], { input: 'through' }), {
    out: 'through',
  })
  t.match(await sandbox.mica(['run', '--rm', IMAGE, '/bin/cat'], { input: 'not through' }), {
    status: 0,
    out: '',
  })
  t.equal((await ok('ps', '-aq')).out, '')
})

t.test("what an image's config says is done", { skip }, async (t) => {
  const changes = [
    'ENTRYPOINT ["/bin/sh", "-c"]',
    'CMD ["pwd; id -u; echo $A $B $C"]',
    'USER user',
    'WORKDIR /tmp',
    'ENV A=a B=b',
  ]
  await ok('create', IMAGE, 'base')
  await ok('commit', ...changes.flatMap((change) => ['-c', change]), 'base', 'configured')
  t.equal((await ok('run', '--rm', 'configured')).out, '/tmp\n1000\na b\n')
  t.equal((await ok('run', '--rm', 'configured', 'echo $0-$A')).out, '/bin/sh-a\n')
  writeFileSync(sandbox.path('variables'), '# none\nB=of file\nC=c\nHOME\n')
  const variables = ['--env-file', sandbox.path('variables'), '-e', 'A=x']
  t.equal((await ok('run', '--rm', ...variables, 'configured')).out, '/tmp\n1000\nx of file c\n')
  t.match((await ok('ps', '-as')).out, /^CONTAINER ID .* SIZE\n[0-9a-f]{12} .* Created +base +\d\S*B\n$/)
  t.match((await ok('ps', '-aq', '--no-trunc')).out, /^[0-9a-f]{64}\n$/)
  t.equal((await ok('ps')).out.trim().split('\n').length, 1, 'none that runs or is mounted')
  await ok('rm', 'base')
  await ok('rmi', 'configured')
})

t.test('an image for another machine is run, and told of', { skip }, async (t) => {
  const source = sandbox.dir('foreign')
  writeFileSync(join(source, 'prog'), '\x7fELF\x02\x01\x01'.padEnd(64, '\0'), { mode: 0o755 })
  mkdirSync(join(source, 'bin'))
  writeFileSync(join(source, 'bin/sh'), '\x7fELF\x02\x01\x01'.padEnd(64, '\0'), { mode: 0o755 })
  await ok('import', '--platform', 'linux/s390x', source, 'foreign')
  t.match(await sandbox.mica(['run', '--rm', 'foreign', '/prog']), {
    status: 126,
    out: '',
    err: /^mica: run foreign: the image is for linux\/s390x, this machine is linux\/\w+\nmica: run: \/prog: can't be run: exec format error\n$/,
  })
  await ok('rmi', 'foreign')
})

t.test("what the caller's environment tells Node stays out of the container", { skip }, async (t) => {
  const hook = sandbox.path('hook.cjs')
  const mark = JSON.stringify(sandbox.path('hooked'))
  writeFileSync(hook, `process.on('exit', () => require('fs').mkdirSync(${mark}, { recursive: true }))`)
  // Past bin/mica, which keeps them out of everything.
  const run = async (...args: string[]): Promise<Ran> => sandbox.past(`--require=${hook}`, ['run', ...args])
  t.match(await run('--name', 'h', IMAGE, '/bin/true'), { status: 0, err: '' })
  t.equal((await ok('diff', 'h')).out, '')
  t.match(await run('--rm', '--read-only', IMAGE, '/bin/touch', '/x'), { status: 1, err: /Read-only/ })
  t.ok(existsSync(sandbox.path('hooked')), 'it ran outside')
  await ok('rm', 'h')
})

t.test('a volume is seen inside, and read-only if told', { skip }, async (t) => {
  const dir = sandbox.dir('volume')
  writeFileSync(join(dir, 'from-host'), 'host')
  await ok(
    'run',
    '--rm',
    '-v',
    `${dir}:/mnt/v`,
    IMAGE,
    '/bin/sh',
    '-ec',
    'cat /mnt/v/from-host; echo inside > /mnt/v/from-inside',
  )
  t.equal(readFileSync(join(dir, 'from-inside'), 'utf8'), 'inside\n')
  const refused = await sandbox.mica([
    'run',
    '--rm',
    '-v',
    `${dir}:/mnt/v:ro`,
    IMAGE,
    '/bin/touch',
    '/mnt/v/x',
  ])
  t.match(refused, { status: 1, err: /Read-only/ })
})

t.test('signals reach the command, exec enters it, rm -f ends it', { skip }, async (t) => {
  const running = sandbox.start([
    'run',
    '--name',
    'r',
    IMAGE,
    '/bin/sh',
    '-c',
    'trap "echo got; exit 5" TERM; while :; do sleep 0.1; done',
  ])
  await isUp()
  t.match(await sandbox.mica(['exec', '-e', 'X=y', 'r', '/bin/sh', '-c', 'echo $X; pwd; exit 4']), {
    status: 4,
    out: 'y\n/root\n',
  })
  t.match(await sandbox.mica(['rm', 'r']), { status: 1, err: /it runs/ })
  t.match(await sandbox.mica(['rmi', IMAGE]), { status: 1, err: /uses it/ })
  running.kill('SIGTERM')
  t.match(await running.ended, { status: 5, out: 'got\n' })
  t.match((await ok('ps', '-a')).out, /Exited \(5\)/)
  t.match(await sandbox.mica(['exec', 'r', '/bin/true']), { status: 125, err: /does not run/ })
  await ok('rm', 'r')
  const other = sandbox.start(['run', '--name', 'k', IMAGE, '/bin/sleep', '100'])
  await isUp()
  await ok('rm', '-f', 'k')
  t.equal((await other.ended).status, 137)
})

t.test('the first process reaps what others leave, and passes on only its command', { skip }, async (t) => {
  const zombies =
    'cat /proc/[0-9]*/stat | while read pid name state rest; do [ $state != Z ] || echo zombie $name; done'
  const orphans = 'for i in 1 2 3 4 5; do (/bin/sh -c "sleep 0.$i; exit 9" &); done; sleep 1'
  for (const options of [[], ['-t']]) {
    const ran = await sandbox.mica([
      'run',
      '--rm',
      ...options,
      IMAGE,
      '/bin/sh',
      '-c',
      `${orphans}; ${zombies}; exit 6`,
    ])
    t.match(ran, { status: 6, out: '', err: '' })
  }
  const running = sandbox.start(['run', '--name', 'o', IMAGE, '/bin/sh', '-c', 'sleep 1000.5; exit 3'])
  await isUp()
  await ok('exec', 'o', '/bin/sh', '-c', '(sleep 0.1 &)')
  await new Promise((done) => setTimeout(done, 400))
  t.equal((await ok('exec', 'o', '/bin/sh', '-c', zombies)).out, '', 'also those of further commands')
  const command = sandbox.run('pgrep', ['-f', '^(/bin/)?sleep 1000.5']).trim()
  process.kill(Number(command), 'SIGKILL')
  t.equal((await running.ended).status, 3, 'the command decides')
  t.match((await ok('ps', '-a')).out, /Exited \(3\)/)
  await ok('rm', 'o')
  const left = await sandbox.mica(['run', '--rm', IMAGE, '/bin/sh', '-c', 'sleep 2000.5 & kill -9 $$'])
  t.equal(left.status, 137)
  t.throws(() => sandbox.run('pgrep', ['-f', '^sleep 2000.5']), 'all end with the command')
})

t.test('signals of every kind are passed on, once', { skip }, async (t) => {
  const names = ['HUP', 'USR1', 'USR2', 'ALRM', 'WINCH', 'PWR', 'QUIT', 'INT', 'TERM']
  const traps = names.map((name) => `trap "echo ${name}" ${name}`).join('; ')
  const running = sandbox.start([
    ...['run', '--rm', '--name', 'g', IMAGE, '/bin/sh', '-c'],
    `${traps}; echo up > /up; i=0; while [ $i -lt 100 ]; do sleep 0.02; i=$((i+1)); done; exit 4`,
  ])
  await isUp()
  while ((await sandbox.mica(['exec', 'g', '/bin/cat', '/up'])).status !== 0);
  for (const name of names) {
    running.kill(`SIG${name}` as NodeJS.Signals)
    await new Promise((done) => setTimeout(done, 60))
  }
  t.match(await running.ended, { status: 4, out: names.map((name) => `${name}\n`).join('') })
})

t.test('SIGTERM at any moment ends it, and leaves nothing', { skip }, async (t) => {
  const seen = new Set<number | string | null>()
  for (let ms = 40; ms < 800; ms += 60) {
    const running = sandbox.start(['run', '--rm', IMAGE, '/bin/sleep', '100'])
    await new Promise((done) => setTimeout(done, ms))
    running.kill('SIGTERM')
    const { status, signal, err } = await running.ended
    t.ok(signal === 'SIGTERM' || status === 143, `${ms} ms: ${status} ${signal} ${err}`)
    seen.add(signal ?? err)
    t.equal((await ok('ps', '-aq')).out, '', `${ms} ms`)
    t.same(
      readMounts().filter(({ mountpoint }) => mountpoint.startsWith(sandbox.folder)),
      [],
      `${ms} ms: nothing is left mounted`,
    )
  }
  t.ok(seen.has(`mica: run ${IMAGE}: interrupted\n`), 'while it was being mounted')
  t.ok(seen.has(''), 'while it ran')
})

t.test('a user has the groups that the image gives it', { skip }, async (t) => {
  await script('gr', 'echo "more:x:44:other,user" >> /etc/group; echo "not:x:45:others" >> /etc/group')
  await ok('commit', 'gr', 'groups:1')
  const groups = async (...options: string[]): Promise<string> =>
    (
      await ok('run', '--rm', ...options, 'groups:1', '/bin/sh', '-c', 'grep Groups /proc/self/status')
    ).out.trim()
  t.match(await groups('-u', 'user'), /^Groups:\s+44$/)
  t.match(await groups('-u', '1000'), /^Groups:\s+44$/)
  t.match(await groups('-u', 'user:7'), /^Groups:$/)
  t.match(await groups(), /^Groups:$/)
  await ok('rm', 'gr')
  await ok('rmi', 'groups:1')
})

t.test('a terminal of its own with -t, for run and exec', { skip: skip || needs('script') }, async (t) => {
  const typed = (input: string, ...args: string[]): Promise<Ran> =>
    sandbox.onTerminal(args, `stty rows 33 cols 77`, input)
  const inside =
    'busybox tty; busybox stty size; ls -l /dev/tty; echo to-tty > /dev/tty; echo type:; read x; echo "<$x>"; exit 9'
  const seen = await typed('word\n', 'run', '--name', 'tt', '-it', IMAGE, '/bin/sh', '-c', inside)
  t.match(seen, { status: 9, out: /\/dev\/pts\/0\r\n33 77\r\n[\s\S]*to-tty\r\n[\s\S]*<word>\r\n/ })
  t.notMatch(seen.out, /\r\r\n/, 'the outer terminal is raw')
  t.equal((await ok('diff', 'tt')).out, '')
  await ok('rm', 'tt')
  const interrupted = await typed(
    '\x03',
    'run',
    '--rm',
    '-it',
    IMAGE,
    '/bin/sh',
    '-c',
    'echo type:; sleep 100',
  )
  t.match(interrupted, { status: 130 }, 'Ctrl-C is typed, and ends it')
  const trapped = 'trap "echo got; exit 5" INT; echo type:; while :; do sleep 0.1; done'
  for (const options of [[], ['-i'], ['-it']]) {
    const once = await typed('\x03', 'run', '--rm', ...options, IMAGE, '/bin/sh', '-c', trapped)
    t.match(once, { status: 5, out: /type:\r\n(\^C)?got\r\n$/ }, `Ctrl-C comes once, ${options}`)
  }
  t.match(await sandbox.mica(['run', '--rm', '-t', IMAGE, '/bin/sh', '-c', 'busybox tty; exit 3']), {
    status: 3,
    out: '/dev/pts/0\r\n',
  })
  t.match(await sandbox.mica(['run', '--rm', '-t', IMAGE, '/bin/nothing']), { status: 127 })
  t.match(
    await sandbox.mica(['run', '--rm', '-t', '-u', 'user', IMAGE, '/bin/sh', '-c', 'id -u > /dev/pts/0']),
    {
      status: 0,
      out: '1000\r\n',
    },
  )
  const other = sandbox.start(['run', '--name', 'te', IMAGE, '/bin/sleep', '100'])
  await isUp()
  t.match(await typed('', 'exec', '-it', 'te', '/bin/sh', '-c', 'busybox tty; busybox stty size; exit 4'), {
    status: 4,
    out: /\/dev\/pts\/0\r\n33 77/,
  })
  await ok('rm', '-f', 'te')
  await other.ended
})

t.test('a running container holds no mount of the host', { skip }, async (t) => {
  await ok('create', IMAGE, 'held')
  const path = (await ok('mount', 'held')).out.trim()
  const volume = sandbox.dir('held-volume')
  sandbox.run('mount', ['-t', 'tmpfs', 'none', volume])
  const running = sandbox.start(['run', '--rm', '--name', 'holds', IMAGE, '/bin/sleep', '100'])
  await isUp()
  const begin = Date.now()
  await ok('umount', 'held')
  t.ok(Date.now() - begin < 3000, 'its daemon ends at once')
  const daemons = sandbox.run('sh', ['-c', `pgrep -fc -- "-- ${path}$" || :`])
  t.equal(daemons, '0\n')
  sandbox.run('umount', [volume])
  const mounts = (await ok('exec', 'holds', '/bin/cat', '/proc/self/mountinfo')).out.trim().split('\n')
  const places = mounts.map((line) => line.split(' ')[4])
  t.same([...new Set(places.map((place) => place!.split('/')[1]))].sort(), ['', 'dev', 'etc', 'proc', 'sys'])
  await ok('rm', '-f', 'holds')
  await running.ended
  await ok('rm', 'held')
})

t.test('what only stands for mounts is no change of a container that runs', { skip }, async (t) => {
  const running = sandbox.start(['run', '--name', 'p', IMAGE, '/bin/sleep', '100'])
  await isUp()
  t.match(await ok('exec', 'p', '/bin/sh', '-c', 'cat /etc/hosts; umask'), {
    out: /localhost[\s\S]*\n0022\n$/,
  })
  t.equal((await ok('diff', 'p')).out, '')
  await ok('exec', 'p', '/bin/touch', '/etc/mine')
  t.equal((await ok('diff', 'p')).out, 'C /etc\nA /etc/mine\n')
  await ok('commit', 'p', 'standing:1')
  t.equal((await ok('diff', 'standing:1')).out, 'C /etc\nA /etc/mine\n')
  await ok('rm', '-f', 'p')
  await running.ended
  await ok('rmi', 'standing:1')
})

t.test('an untouched container has no changes', { skip }, async (t) => {
  await script(
    'u',
    'cat /etc/passwd > /dev/null; ls -lR / > /dev/null; cat /etc/resolv.conf > /dev/null || :',
  )
  t.equal((await ok('diff', 'u')).out, '')
  await ok('rm', 'u')
})

t.test('changes are listed as docker lists them', { skip }, async (t) => {
  await script(
    'd',
    'echo x > /new; rm /etc/two; mkdir /var/d; echo y >> /etc/passwd; rm -rf /usr/lib; mkdir /usr/lib; echo z > /usr/lib/z',
  )
  const lines = (await ok('diff', 'd')).out.trim().split('\n')
  for (const line of [
    'A /new',
    'C /etc',
    'D /etc/two',
    'C /etc/passwd',
    'C /var',
    'A /var/d',
    'C /usr/lib',
    'A /usr/lib/z',
  ]) {
    t.ok(lines.includes(line), line)
  }
  t.notOk(
    lines.some((line) => line.includes('/bin')),
    'nothing else',
  )
  await ok('rm', 'd')
})

t.test('commit, save, load and mount give the identical tree, and umoci the same', { skip }, async (t) => {
  await script(
    'c',
    `mv /usr /moved; rm /etc/two; echo more >> /etc/passwd; ln /etc/passwd /etc/third; mkfifo /pipe
     mkdir -m 1777 /sticky; ln -s nowhere /link; touch -d @5 /old; rm -rf /var/log; mkdir /var/log; echo 1 > /var/log/one
     printf x > "$(printf '/n\\351w')"; chmod 711 /root; mkdir -p /a/b/c; echo deep > /a/b/c/d`,
  )
  const mounted = async (name: string): Promise<ReturnType<typeof snapshot>> => {
    const path = (await ok('mount', name)).out.trim()
    const seen = snapshot(path)
    await ok('umount', name)
    return seen
  }
  const before = await mounted('c')
  t.ok('/moved/lib/kept' in before)
  await ok('commit', '-m', 'message', '-a', 'me', '-c', 'CMD ["/bin/id"]', 'c', 'made:1')
  await ok('save', '--format', 'oci-dir', '-o', sandbox.path('made'), 'made:1')
  await ok('save', '-o', sandbox.path('made.tar'), 'made:1')
  await ok('rmi', 'made:1')
  await ok('load', '-q', sandbox.path('made.tar'))
  await ok('create', 'made:1', 'again')
  t.same(await mounted('again'), before)
  sandbox.run('umoci', ['unpack', '--image', `${sandbox.path('made')}:1`, sandbox.path('made-bundle')])
  // umoci moves the times of directories that it removes something from.
  const withTime = (at: string): boolean => !['', '/etc', '/var', '/var/log'].includes(at)
  const path = (await ok('mount', 'again')).out.trim()
  t.same(snapshot(path, withTime), snapshot(sandbox.path('made-bundle/rootfs'), withTime))
  await ok('umount', 'again')
  t.match(await ok('run', '--rm', 'made:1'), { out: /uid=0/ })
  t.match((await ok('history', 'made:1')).out, /message/)
  await ok('rm', 'c', 'again')
  await ok('rmi', 'made:1')
})

t.test('a running container stands still while it is committed', { skip }, async (t) => {
  const counting = 'i=0; while :; do i=$((i+1)); echo $i > /count; done'
  const running = sandbox.start(['run', '--name', 'pp', IMAGE, '/bin/sh', '-c', counting])
  await isUp()
  const states = (): string[] =>
    sandbox
      .run('ps', ['-eo', 'stat=,args='])
      .split('\n')
      .filter((line) => line.includes(counting) && !/node|mica/.test(line))
      .map((line) => line[0]!)
  const stateDuring = async (...options: string[]): Promise<Set<string>> => {
    const seen = new Set<string>()
    const commit = sandbox.start(['commit', ...options, 'pp', 'paused:1'])
    let isOver = false
    const ended = commit.ended.finally(() => {
      isOver = true
    })
    while (!isOver) {
      for (const each of states()) seen.add(each)
      await new Promise((done) => setTimeout(done, 1))
    }
    t.equal((await ended).status, 0, (await ended).err)
    return seen
  }
  t.ok((await stateDuring()).has('T'), 'stopped meanwhile')
  t.notOk(states().includes('T'), 'it goes on')
  t.notOk((await stateDuring('--pause=false')).has('T'))
  t.match(await sandbox.mica(['commit', '--pause=perhaps', 'pp', 'x']), { status: 2, err: /true or false/ })
  for (const ms of [150, 200, 250, 300]) {
    const commit = sandbox.start(['commit', 'pp', 'paused:1'])
    await new Promise((done) => setTimeout(done, ms))
    commit.kill('SIGKILL')
    await commit.ended
    await new Promise((done) => setTimeout(done, 50))
    t.notOk(states().includes('T'), 'also when the commit is killed')
  }
  await ok('rm', '-f', 'pp')
  await running.ended
  await ok('rmi', 'paused:1')
})

t.test('names of one file stay that when one of them is new', { skip }, async (t) => {
  await script('l', 'ln /etc/passwd /third; mv /etc/group2 /moved; mv /usr /usr2; ln /usr2/link /etc/link')
  const treeOf = async (name: string): Promise<ReturnType<typeof snapshot>> => {
    const seen = snapshot((await ok('mount', name)).out.trim())
    await ok('umount', name)
    return seen
  }
  const before = await treeOf('l')
  await ok('commit', 'l', 'linked:1')
  await ok('create', 'linked:1', 'l2')
  const after = await treeOf('l2')
  t.same(after, before)
  for (const [at, first] of Object.entries({
    '/third': '/etc/passwd',
    '/etc/passwd2': '/etc/passwd',
    '/moved': '/etc/group',
    '/usr2/link': '/etc/link',
  }))
    t.match(after[at], new RegExp(`links to ${first}$`))
  await ok('rm', 'l', 'l2')
  await ok('rmi', 'linked:1')
})

t.test('a moved directory takes no name away from a file that it shares with others', { skip }, async (t) => {
  await script(
    'm0',
    'mkdir -p /zoo/in /aaa; ln /etc/group /zoo/in/group; ln /etc/group /aaa/group; echo 1 > /zoo/one; ln /zoo/one /zoo/two',
  )
  await ok('commit', 'm0', 'moved:0')
  const linked = ['/aaa/group', '/etc/group', '/etc/group2']
  const cases: readonly (readonly [title: string, text: string, links: Record<string, string[]>])[] = [
    ['moved alone', 'mv /zoo /usr/zoo', { '/usr/zoo/in/group': linked, '/usr/zoo/two': ['/usr/zoo/one'] }],
    ['moved to an earlier name', 'mv /zoo /aa', { '/aa/in/group': linked }],
    [
      'moved inside of a moved one',
      'mv /zoo/in /aaa/in; mv /aaa /b',
      {
        '/b/in/group': ['/b/group', '/etc/group', '/etc/group2'],
      },
    ],
    ['both moved', 'mv /zoo /z2; mv /aaa /a2', { '/z2/in/group': ['/a2/group', '/etc/group'] }],
    ['moved, then written by another name', 'mv /zoo /z2; echo x >> /etc/group', { '/z2/in/group': linked }],
    ['written, then moved', 'echo x >> /etc/group; mv /zoo /z2', { '/z2/in/group': linked }],
    [
      'moved, and one name removed',
      'mv /zoo /z2; rm /etc/group2',
      { '/z2/in/group': ['/aaa/group', '/etc/group'] },
    ],
    [
      'moved, and replaced',
      'mv /zoo /z2; rm /aaa/group; echo new > /aaa/group',
      { '/z2/in/group': ['/etc/group'] },
    ],
  ]
  for (const [title, text, links] of cases) {
    await ok('run', '--name', 'm1', 'moved:0', '/bin/sh', '-ec', text)
    const treeOf = async (name: string): Promise<ReturnType<typeof snapshot>> => {
      const seen = snapshot((await ok('mount', name)).out.trim())
      await ok('umount', name)
      return seen
    }
    const before = await treeOf('m1')
    for (const [last, others] of Object.entries(links)) {
      const first = [last, ...others].sort()[0]!
      for (const each of [last, ...others])
        t.match(
          before[each],
          new RegExp(`links to ${each === first ? 'itself' : first}$`),
          `${title}: ${each}`,
        )
    }
    await ok('commit', 'm1', 'moved:1')
    await ok('save', '-o', sandbox.path('moved.tar'), 'moved:1')
    await ok('export', '-o', sandbox.path('exported.tar'), 'm1')
    await ok('rmi', 'moved:1')
    await ok('load', '-q', sandbox.path('moved.tar'))
    await ok('import', sandbox.path('exported.tar'), 'moved:2')
    for (const image of ['moved:1', 'moved:2']) {
      await ok('create', image, 'm2')
      t.same(await treeOf('m2'), before, `${title}: ${image}`)
      await ok('rm', 'm2')
      await ok('rmi', image)
    }
    await ok('rm', 'm1')
  }
  await ok('rm', 'm0')
  await ok('rmi', 'moved:0')
})

t.test('an image without layers is a place to begin', { skip }, async (t) => {
  const layout = sandbox.path('scratch')
  sandbox.run('umoci', ['init', '--layout', layout])
  sandbox.run('umoci', ['new', '--image', `${layout}:latest`])
  await ok('load', '-q', layout)
  await ok('create', 'scratch', 'nothing')
  const path = (await ok('mount', 'nothing')).out.trim()
  t.same(readdirSync(path), [])
  t.equal(statSync(path).mode & 0o7777, 0o755)
  await ok('umount', 'nothing')
  t.equal((await ok('diff', 'nothing')).out, '')
  await ok('cp', '/bin/busybox', 'nothing:/busybox')
  t.equal((await ok('diff', 'nothing')).out, 'A /busybox\n')
  await ok('commit', '-c', 'ENTRYPOINT ["/busybox"]', 'nothing', 'first:1')
  t.match(await ok('run', '--rm', 'first:1', 'echo', 'hello'), { out: 'hello\n', err: '' })
  t.match(await sandbox.mica(['run', '--rm', 'scratch', '/busybox']), {
    status: 127,
    err: /command not found/,
  })
  t.equal((await ok('diff', 'scratch')).out, '')
  await ok('save', '--format', 'oci-dir', '-o', sandbox.path('scratch-again'), 'scratch')
  await ok('rm', 'nothing')
  await ok('rmi', 'first:1', 'scratch')
  await ok('load', '-q', sandbox.path('scratch-again'))
  await ok('rmi', 'scratch')
})

t.test('the same changes committed twice give the same image with SOURCE_DATE_EPOCH', { skip }, async (t) => {
  await script('s', 'echo x > /x; echo y > /etc/y')
  const env = { SOURCE_DATE_EPOCH: '1500000000' }
  const first = await sandbox.mica(['commit', 's', 'same:1'], { env })
  const second = await sandbox.mica(['commit', 's', 'same:2'], { env })
  t.equal(first.status, 0, first.err)
  t.equal(first.out, second.out)
  t.match(JSON.parse((await ok('inspect', 'same:1')).out), [{ Created: '2017-07-14T02:40:00.000Z' }])
  await ok('rm', 's')
  await ok('rmi', 'same:1', 'same:2')
})

t.test('an export is the whole tree, and comes back by import', { skip }, async (t) => {
  await script('e', 'echo x > /x; rm /etc/two')
  await ok('export', '-o', sandbox.path('e.tar'), 'e')
  const tar = readFileSync(sandbox.path('e.tar'))
  t.match(await sandbox.mica(['import', '-', 'exported'], { input: tar }), { status: 0, err: '' })
  t.ok((await ok('export', 'e')).bytes.equals(tar), 'standard output')
  await ok('create', 'exported', 'e2')
  const trees: ReturnType<typeof snapshot>[] = []
  for (const name of ['e', 'e2']) {
    trees.push(snapshot((await ok('mount', name)).out.trim()))
    await ok('umount', name)
  }
  t.same(trees[1], trees[0])
  await ok('rm', 'e', 'e2')
  await ok('rmi', 'exported')
})

t.test('cp brings files in and out, and no link of the image leads out', { skip }, async (t) => {
  await ok('create', IMAGE, 'p')
  const file = sandbox.path('file')
  writeFileSync(file, 'content')
  await ok('cp', file, 'p:/etc/')
  chownSync(file, 7, 8)
  await ok('cp', file, 'p:/etc/roots')
  await ok('cp', '-a', file, 'p:/etc/theirs')
  t.equal((await ok('cp', '-a', 'p:/etc/theirs', sandbox.path('theirs'))).err, '')
  await ok('cp', 'p:/etc/theirs', sandbox.path('mine'))
  const owner = (name: string): number => statSync(sandbox.path(name)).uid
  t.same([owner('theirs'), owner('mine')], [7, 0])
  await ok('cp', '-a', 'p:/etc/roots', sandbox.path('roots'))
  t.equal(owner('roots'), 0)
  await ok('cp', 'p:/etc/file', sandbox.path('back'))
  t.equal(readFileSync(sandbox.path('back'), 'utf8'), 'content')
  await ok('cp', 'p:/etc', sandbox.path('etc'))
  t.equal(readFileSync(sandbox.path('etc/two'), 'utf8'), 'two\n')
  const outside = sandbox.dir('outside')
  const path = (await ok('mount', 'p')).out.trim()
  mkdirSync(join(path, sandbox.folder), { recursive: true })
  symlinkSync(outside, join(path, 'trap'))
  symlinkSync('/etc/hostname', join(path, 'etc/trap'))
  await ok('umount', 'p')
  t.equal((await sandbox.mica(['cp', file, 'p:/trap/file'])).status, 1)
  t.equal(statSync(join(outside, 'file'), { throwIfNoEntry: false }), undefined)
  await ok('cp', file, 'p:/etc/trap')
  t.match(await sandbox.mica(['cp', 'p:/nothing', '/tmp/x']), { status: 1, err: /no \/nothing/ })
  t.match(await sandbox.mica(['cp', 'p:/etc', '-']), { status: 2, err: /no places/ })
  await ok('rm', 'p')
})

t.test('killed in a commit, the tag is where it was', { skip }, async (t) => {
  await script('w', 'i=0; while [ $i -lt 300 ]; do echo $i > /f$i; i=$((i+1)); done')
  await ok('tag', IMAGE, 'moving')
  const before = (await ok('images', '-q', 'moving')).out
  for (const ms of [80, 120, 160, 200, 240]) {
    const commit = sandbox.start(['commit', 'w', 'moving'])
    const timer = setTimeout(() => commit.kill('SIGKILL'), ms)
    const { status } = await commit.ended
    clearTimeout(timer)
    const now = (await ok('images', '-q', 'moving')).out
    if (status === null) t.equal(now, before, `after ${ms} ms`)
    else await ok('tag', IMAGE, 'moving')
  }
  t.match((await ok('fsck', '-q')).out, 'all is well')
  await ok('rm', 'w')
  rmSync(sandbox.path('outside'), { recursive: true, force: true })
})
