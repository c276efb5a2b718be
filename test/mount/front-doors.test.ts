// The commands as users and engines call them, against real mounts.
import { spawn, spawnSync } from 'node:child_process'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { EBUSY } from '../../src/base/errno.js'
import { hashTree } from '../../src/cli/tree-hash.js'
import { mount, mounts } from '../../src/index.js'
import { unmountPath } from '../../src/mount/device.js'
import { readMounts } from '../../src/mount/mount-info.js'
import { encodePath } from '../../src/mount/path-bytes.js'
import { VERSION } from '../../src/mount/version.js'
import { native } from '../../src/sys/native.js'
import { packageRoot } from '../support/package-root.js'

const MICA = join(packageRoot, 'bin/mica')
const OVERLAY = join(packageRoot, 'bin/mica-overlay')
const reason =
  process.getuid?.() !== 0
    ? 'mounting needs root'
    : existsSync('/dev/fuse')
      ? undefined
      : 'there is no /dev/fuse'

type Result = { status: number | null; stdout: string; stderr: string }

function run(program: string, args: string[], env: NodeJS.ProcessEnv = process.env): Result {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', env, timeout: 20_000 })
  return { status, stdout, stderr }
}

const mica = (...args: string[]): Result => run(MICA, args)

/** Fresh layers, an upper and a mount point; afterwards the lowers are compared and nothing may be mounted. */
class Scene {
  readonly folder = mkdtempSync(join(tmpdir(), 'mica-doors-'))
  readonly mnt = this.at('mnt')
  readonly #before: string

  constructor() {
    for (const name of ['top', 'base', 'upper', 'work', 'mnt']) mkdirSync(this.at(name))
    writeFileSync(this.at('top/who'), 'top\n')
    writeFileSync(this.at('base/who'), 'base\n')
    writeFileSync(this.at('base/only-base'), 'base\n')
    mkdirSync(this.at('base/dir'))
    this.#before = this.lowers()
  }

  at(name: string): string {
    return join(this.folder, name)
  }

  lowers(): string {
    return ['top', 'base'].map((name) => hashTree(this.at(name)).digest).join(' ')
  }

  get args(): string[] {
    const { folder } = this
    return [
      '--lower',
      `${folder}/top`,
      '--lower',
      `${folder}/base`,
      '--upper',
      this.at('upper'),
      '--work',
      this.at('work'),
    ]
  }

  get text(): string {
    return `lowerdir=${this.at('top')}:${this.at('base')},upperdir=${this.at('upper')},workdir=${this.at('work')}`
  }

  get mounted(): boolean {
    return readMounts().some(({ mountpoint }) => mountpoint.startsWith(this.folder))
  }

  pid(): number {
    const all = JSON.parse(mica('ls', '--json').stdout) as { mountpoint: string; pid: number }[]
    return all.find(({ mountpoint }) => mountpoint === this.mnt)?.pid ?? 0
  }

  finish(t: Test): void {
    const isLeft = this.mounted
    for (let i = 0; i < 8 && this.mounted; i++) spawnSync('umount', ['-l', this.mnt])
    t.equal(isLeft, false, 'nothing is left mounted')
    t.equal(this.lowers(), this.#before, 'the lowers are what they were')
    rmSync(this.folder, { recursive: true, force: true })
  }
}

function isRunning(pid: number): boolean {
  try {
    return !/^State:\s*[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

async function eventually(holds: () => boolean, ms = 5000): Promise<boolean> {
  for (const until = Date.now() + ms; Date.now() < until; ) {
    if (holds()) return true
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  return holds()
}

/** One test with a scene of its own. */
function door(title: string, body: (t: Test, scene: Scene) => unknown): void {
  t.test(title, { ...(reason === undefined ? {} : { skip: reason }) }, async (t) => {
    const scene = new Scene()
    try {
      await body(t, scene)
    } finally {
      scene.finish(t)
    }
  })
}

t.test('the version is the package’s', async (t) => {
  const text = readFileSync(join(packageRoot, 'package.json'), 'utf8')
  t.equal(VERSION, (JSON.parse(text) as { version: string }).version)
  t.same(mica('--version'), { status: 0, stdout: `${VERSION}\n`, stderr: '' })
  t.same(run(OVERLAY, ['--version']), { status: 0, stdout: `mica-overlay: version ${VERSION}\n`, stderr: '' })
})

door('mount, look, write, ls, stats, umount', (t, s) => {
  t.same(mica('mount', ...s.args, s.mnt), { status: 0, stdout: '', stderr: '' })
  t.equal(readFileSync(join(s.mnt, 'who'), 'utf8'), 'top\n')
  writeFileSync(join(s.mnt, 'only-base'), 'changed\n')
  const listed = JSON.parse(mica('ls', '--json').stdout) as Record<string, unknown>[]
  t.match(
    listed.find(({ mountpoint }) => mountpoint === s.mnt),
    {
      lowers: [s.at('top'), s.at('base')],
      upper: s.at('upper'),
      work: s.at('work'),
      state: 'live',
      pid: Number,
    },
  )
  const lines = mica('ls').stdout.split('\n')
  t.match(lines[0], /^MOUNTPOINT +LOWERS +UPPER +PID +SINCE +STATE$/)
  t.ok(lines.some((line) => line.startsWith(`${s.mnt} `) && / live$/.test(line)))
  t.match(JSON.parse(mica('stats', '--json', s.mnt).stdout), {
    mountpoint: s.mnt,
    requests: { LOOKUP: { requests: Number } },
  })
  t.match(mica('stats', s.mnt).stdout, /LOOKUP +\d+/)
  const pid = s.pid()
  t.same(mica('umount', s.mnt), { status: 0, stdout: '', stderr: '' })
  t.notOk(isRunning(pid), 'the daemon has ended')
  t.equal(readFileSync(s.at('upper/only-base'), 'utf8'), 'changed\n')
  t.notOk(mica('ls').stdout.includes(s.mnt))
})

door('the same layers by -o', (t, s) => {
  t.equal(mica('mount', '-o', `${s.text},volatile`, s.mnt).status, 0)
  t.equal(readFileSync(join(s.mnt, 'who'), 'utf8'), 'top\n')
  t.equal(mica('umount', s.mnt).status, 0)
  t.notOk(existsSync(s.at('work/work/incompat')), 'no mark after a clean unmount')
})

door('a read-only mount refuses writing, with and without an upper', (t, s) => {
  for (const args of [s.args.slice(0, 4), [...s.args, '--read-only']]) {
    t.equal(mica('mount', ...args, s.mnt).status, 0)
    t.throws(() => writeFileSync(join(s.mnt, 'new'), ''), { code: 'EROFS' })
    t.equal(mica('umount', s.mnt).status, 0)
  }
})

door('relative paths, spaces, colons, commas and bytes that are not UTF-8', (t, s) => {
  mkdirSync(s.at('a:b, c'))
  writeFileSync(s.at('a:b, c/odd'), 'odd\n')
  const program = `cd ${s.folder} && mkdir "$(printf 'n\\377')" && exec ${MICA} mount --lower 'a:b, c' --lower base "$(printf 'n\\377')"`
  t.match(run('/bin/sh', ['-c', program]), { status: 0, stderr: '' })
  const dir = Buffer.concat([Buffer.from(`${s.folder}/n`), Buffer.of(0xff)])
  t.same(readdirSync(dir).sort(), ['dir', 'odd', 'only-base', 'who'])
  t.equal(run('/bin/sh', ['-c', `cd ${s.folder} && exec ${MICA} umount "$(printf 'n\\377')"`]).status, 0)
  t.equal(mica('mount', '-o', `lowerdir=${s.at('a\\:b\\, c')}:${s.at('base')}`, s.mnt).status, 0)
  t.ok(existsSync(join(s.mnt, 'odd')))
  t.equal(mica('umount', s.mnt).status, 0)
})

door('a lower through a symbolic link and ..', (t, s) => {
  mkdirSync(s.at('l'))
  symlinkSync('../base/dir', s.at('l/N2YY..'))
  t.equal(mica('mount', '-o', `lowerdir=${s.at('l')}/N2YY../../../top:${s.at('base')}`, s.mnt).status, 0)
  t.equal(readFileSync(join(s.mnt, 'who'), 'utf8'), 'top\n')
  t.equal(mica('umount', s.mnt).status, 0)
})

door('bad input ends in one line and a status, with nothing changed', (t, s) => {
  writeFileSync(s.at('file'), '')
  const upper = ['--upper', s.at('upper'), '--work', s.at('work')]
  const cases: [args: string[], status: number, line: string][] = [
    [['mount', '--lower', '/none', s.mnt], 1, `mount ${s.mnt}: lower /none: no such file or directory`],
    [['mount', '--lower', s.at('file'), s.mnt], 1, `mount ${s.mnt}: lower ${s.at('file')}: not a directory`],
    [
      ['mount', '--lower', s.at('base'), '/none'],
      1,
      'mount /none: mount point /none: no such file or directory',
    ],
    [
      ['mount', '--lower', s.at('base'), s.at('file')],
      1,
      `mount ${s.at('file')}: mount point ${s.at('file')}: not a directory`,
    ],
    [
      ['mount', '--lower', s.at('base'), ...upper.slice(0, 2), '--work', s.at('base/dir'), s.mnt],
      1,
      `mount ${s.mnt}: workdir ${s.at('base/dir')} lies inside lower ${s.at('base')}; layers must be apart`,
    ],
    [['mount', '--lowr', '/a', s.mnt], 2, 'mount: unknown option --lowr; did you mean --lower?'],
    [
      ['mount', '--lower', '/a', '--uidmapping', '0:1', s.mnt],
      2,
      'mount: --uidmapping=0:1 is malformed: give DISK:SHOWN:COUNT triplets, as in 0:100000:65536',
    ],
    [['umount', s.mnt], 1, `umount ${s.mnt}: not a mica mount; mica ls lists them`],
    [['stats', s.mnt], 1, `stats ${s.mnt}: not a live mica mount; mica ls lists them`],
    [['chroot', '/none'], 125, 'chroot /none: root /none: no such file or directory'],
    [['frobnicate'], 2, "unknown command 'frobnicate'; see mica --help"],
    [['ls', '--jsn'], 2, "ls: unknown option '--jsn' (Did you mean --json?); see mica ls --help"],
  ]
  for (const [args, status, line] of cases) {
    t.same(mica(...args), { status, stdout: '', stderr: `mica: ${line}\n` }, args.join(' '))
  }
  t.same(readdirSync(s.at('work')), [])
  t.same(readdirSync(s.at('upper')), [])
})

door('a mount point and an upper that are in use', (t, s) => {
  mkdirSync(s.at('mnt2'))
  t.equal(mica('mount', ...s.args, s.mnt).status, 0)
  const again = mica('mount', '--lower', s.at('base'), s.mnt)
  t.same(again, {
    status: 1,
    stdout: '',
    stderr: `mica: mount ${s.mnt}: already a mica mount; mica umount ${s.mnt} first\n`,
  })
  const second = mica('mount', ...s.args, s.at('mnt2'))
  t.same(second, {
    status: 1,
    stdout: '',
    stderr: `mica: mount ${s.at('mnt2')}: upper ${s.at('upper')} is in use by the mount at ${s.mnt}; mica umount it first\n`,
  })
  t.equal(readFileSync(join(s.mnt, 'who'), 'utf8'), 'top\n', 'the mount is as it was')
  t.equal(mica('umount', s.mnt).status, 0)
})

door('an upper can be mounted again at once, 20 times', (t, s) => {
  for (let i = 0; i < 20; i++) {
    const options = i % 2 === 0 ? s.args : [...s.args, '--volatile']
    const { status, stderr } = mica('mount', ...options, s.mnt)
    if (status !== 0) return t.fail(`mount ${i}: ${stderr}`)
    writeFileSync(join(s.mnt, `round-${i}`), String(i))
    // Not mica umount: the daemon gets no word, and may still be there when the next one starts.
    if (spawnSync('umount', [s.mnt]).status !== 0) return t.fail(`umount ${i}`)
    t.equal(readFileSync(s.at(`upper/round-${i}`), 'utf8'), String(i))
  }
})

door('SIGTERM unmounts and ends the daemon', async (t, s) => {
  t.equal(mica('mount', ...s.args, s.mnt).status, 0)
  const pid = s.pid()
  writeFileSync(join(s.mnt, 'written'), 'before\n')
  process.kill(pid, 'SIGTERM')
  t.ok(await eventually(() => !isRunning(pid)), 'it ended')
  t.notOk(s.mounted)
  t.equal(readFileSync(s.at('upper/written'), 'utf8'), 'before\n')
})

door('SIGTERM while somebody is inside takes the mount out of the tree at once', async (t, s) => {
  t.equal(mica('mount', ...s.args, s.mnt).status, 0)
  const pid = s.pid()
  const inside = spawn('sleep', ['60'], { cwd: s.mnt })
  await eventually(() => existsSync(`/proc/${inside.pid}/cwd`))
  process.kill(pid, 'SIGTERM')
  t.ok(await eventually(() => !s.mounted))
  inside.kill()
  t.ok(await eventually(() => !isRunning(pid)))
})

door('umount waits for who is in a mount for a moment', async (t, s) => {
  t.equal(mica('mount', ...s.args, s.mnt).status, 0)
  const pid = s.pid()
  let result = -EBUSY
  // On a loaded machine a moment may be longer.
  for (let attempt = 0; attempt < 5 && result === -EBUSY; attempt++) {
    const inside = spawn('sh', ['-c', 'read end; sleep 0.03'], {
      cwd: s.mnt,
      stdio: ['pipe', 'ignore', 'ignore'],
    })
    const end = new Promise((resolve) => inside.once('exit', resolve))
    await eventually(() => existsSync(`/proc/${inside.pid}/cwd`))
    t.equal(native.umount(encodePath(s.mnt), 0), -EBUSY)
    inside.stdin.end('now\n')
    await eventually(() => inside.stdin.writableFinished)
    result = unmountPath(s.mnt, false)
    await end
  }
  t.equal(result, 0)
  t.notOk(s.mounted)
  t.ok(await eventually(() => !isRunning(pid)))
})

door('umount of a mount in use says so, --lazy takes it', async (t, s) => {
  t.equal(mica('mount', ...s.args, s.mnt).status, 0)
  const pid = s.pid()
  const inside = spawn('sleep', ['60'], { cwd: s.mnt })
  await eventually(() => existsSync(`/proc/${inside.pid}/cwd`))
  const line = `mica: umount ${s.mnt}: something in it is still used; end that, or mica umount --lazy\n`
  t.same(mica('umount', s.mnt), { status: 1, stdout: '', stderr: line })
  t.equal(mica('umount', '--lazy', s.mnt).status, 0)
  t.notOk(s.mounted)
  inside.kill()
  t.ok(await eventually(() => !isRunning(pid)))
})

door('after kill -9 of the daemon: ls tells, a new mount takes over, umount works', async (t, s) => {
  for (const again of [true, false]) {
    t.equal(mica('mount', ...s.args, s.mnt).status, 0)
    const pid = s.pid()
    writeFileSync(join(s.mnt, `kept-${again}`), 'kept\n')
    process.kill(pid, 'SIGKILL')
    t.ok(await eventually(() => !isRunning(pid)))
    t.match(
      (JSON.parse(mica('ls', '--json').stdout) as { mountpoint: string }[]).find(
        (m) => m.mountpoint === s.mnt,
      ),
      { state: 'dead', pid: null },
    )
    if (again) {
      t.match(mica('mount', ...s.args, s.mnt), { status: 0, stderr: '' })
      t.equal(readFileSync(join(s.mnt, 'kept-true'), 'utf8'), 'kept\n')
    }
    t.match(mica('umount', s.mnt), { status: 0, stderr: '' })
    t.notOk(s.mounted)
  }
})

door('a volatile upper is refused after kill -9', async (t, s) => {
  t.equal(mica('mount', ...s.args, '--volatile', s.mnt).status, 0)
  const pid = s.pid()
  process.kill(pid, 'SIGKILL')
  t.ok(await eventually(() => !isRunning(pid)))
  t.equal(mica('umount', s.mnt).status, 0)
  const refused = mica('mount', ...s.args, s.mnt)
  t.equal(refused.status, 1)
  t.match(refused.stderr, /^mica: mount .*: upper .* was mounted volatile and not unmounted cleanly.*\n$/)
  rmSync(s.at('work/work/incompat/volatile'), { recursive: true })
  t.equal(mica('mount', ...s.args, s.mnt).status, 0, 'the way out that it names')
  t.equal(mica('umount', s.mnt).status, 0)
})

door('chroot passes on the exit status and leaves nothing', (t) => {
  // The whole machine, read-only, as an image: /proc, /sys and /dev come on top.
  const sh = (text: string): Result => mica('chroot', '/', '/bin/sh', '-c', text)
  t.equal(sh('exit 7').status, 7)
  t.equal(sh('kill -KILL $$').status, 128 + 9)
  t.equal(mica('chroot', '/', 'no-such-command').status, 127)
  t.equal(mica('chroot', '/', '/etc/passwd').status, 126)
  t.match(
    sh('echo $HOME $PATH; test -c /dev/null && test -e /proc/self/status && test -d /sys/kernel && echo all')
      .stdout,
    /\/root .*\/usr\/bin.*\nall\n/,
  )
  t.equal(
    run(MICA, ['chroot', '/', '/bin/sh', '-c', 'echo $SECRET'], { ...process.env, SECRET: 'x' }).stdout,
    '\n',
  )
  const left = readMounts().filter(({ source, type }) => source === 'mica' && type !== 'fuse.mica')
  t.same(left, [], 'none of its mounts is among the host’s')
})

door('mica-overlay as podman calls it', async (t, s) => {
  const odd = `${s.text},,volatile,uidmapping=:0:0:65536,gidmapping=:0:0:65536,context="a,b",threaded=0,`
  // fd 2 is a pipe whose end the caller awaits; fd 0 and 1 are /dev/null.
  const child = spawn(OVERLAY, ['-o', odd, s.mnt], { stdio: ['ignore', 'ignore', 'pipe'] })
  let words = ''
  child.stderr.on('data', (chunk: Buffer) => {
    words += chunk.toString()
  })
  const closed = new Promise<number>((resolve) => child.stderr.on('close', () => resolve(Date.now())))
  const status = await new Promise((resolve) => child.on('exit', resolve))
  t.equal(status, 0)
  t.equal(readFileSync(join(s.mnt, 'who'), 'utf8'), 'top\n', 'live when it came back')
  const ended = await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 2000, 0))])
  t.not(ended, 0, 'stderr came to its end')
  t.equal(words, '')
  t.match(statSync(s.mnt), { uid: 0 })
  t.equal(spawnSync('fusermount3', ['-u', s.mnt]).status ?? spawnSync('umount', [s.mnt]).status, 0)
})

door('mica-overlay warns about unknown options, and takes a source first', (t, s) => {
  const { status, stderr } = run(OVERLAY, ['overlay', s.mnt, '-o', `${s.text},dev,suid,frobnicate=1`])
  t.equal(stderr, 'mica-overlay: unknown option frobnicate ignored\n')
  t.equal(status, 0)
  t.ok(existsSync(join(s.mnt, 'who')))
  const options = readMounts().find(({ mountpoint }) => mountpoint === s.mnt)!.options
  t.notMatch(options, /nosuid|nodev/)
  t.equal(spawnSync('umount', [s.mnt]).status, 0)
})

door('mica-overlay shows why there is no mount', (t, s) => {
  const { status, stderr } = run(OVERLAY, ['-o', 'lowerdir=/none', s.mnt])
  t.equal(status, 1)
  t.equal(stderr, `mica-overlay ${s.mnt}: lower /none: no such file or directory\n`)
})

door('a device node of a layer works, unless nodev', (t, s) => {
  spawnSync('touch', ['-r', s.at('top'), s.at('time')])
  spawnSync('mknod', [s.at('top/null'), 'c', '1', '3'])
  t.equal(mica('mount', ...s.args.slice(0, 4), s.mnt).status, 0)
  t.ok(lstatSync(join(s.mnt, 'null')).isCharacterDevice())
  t.equal(readFileSync(join(s.mnt, 'null')).length, 0)
  t.equal(mica('umount', s.mnt).status, 0)
  t.equal(mica('mount', ...s.args.slice(0, 4), '--no-dev', s.mnt).status, 0)
  t.throws(() => readFileSync(join(s.mnt, 'null')), { code: 'EACCES' })
  t.equal(mica('umount', s.mnt).status, 0)
  rmSync(s.at('top/null'))
  // hashTree looks at the directory's mtime.
  spawnSync('touch', ['-r', s.at('time'), s.at('top')])
})

door('the library mounts, counts and unmounts', async (t, s) => {
  const lower = [s.at('top'), s.at('base')]
  const live = await mount(s.mnt, {
    lower,
    upper: s.at('upper'),
    work: s.at('work'),
    volatile: true,
    acl: false,
  })
  t.equal(live.mountpoint, s.mnt)
  t.match(live.record.options, { volatile: true, acl: false })
  t.ok(mounts().some(({ pid }) => pid === live.pid))
  t.equal(readFileSync(join(s.mnt, 'who'), 'utf8'), 'top\n')
  t.match(await live.stats(), { pid: live.pid, requests: { INIT: { requests: 1 } } })
  await t.rejects(mount(s.mnt, { lower }), { message: `already a mica mount; mica umount ${s.mnt} first` })
  await t.rejects(mount(s.mnt, { lower: [] }), { name: 'UsageError' })
  await live.unmount()
  t.notOk(s.mounted)
  t.notOk(isRunning(live.pid))
})

door('an ordinary user mounts through fusermount3, and as root of a user namespace', (t, s) => {
  const user = ['--reuid', '65534', '--regid', '65534', '--clear-groups']
  const as = (text: string): Result =>
    run('setpriv', [...user, '/bin/sh', '-c', text], { ...process.env, HOME: s.folder })
  if (as(`test -r ${packageRoot}/dist && test -r ${packageRoot}/build`).status !== 0) {
    return t.pass('skipped', { skip: 'the program can’t be read by another user here' })
  }
  if (spawnSync('fusermount3', ['--version']).status !== 0)
    return t.pass('skipped', { skip: 'there is no fusermount3' })
  spawnSync('chown', ['-R', '65534:65534', s.folder])
  const lowersBefore = s.lowers()
  const words = `XDG_RUNTIME_DIR=${s.folder} ${MICA}`
  const inside = `test "$(cat ${s.mnt}/who)" = top && echo new > ${s.mnt}/only-base && mv ${s.mnt}/dir ${s.mnt}/moved && rm ${s.mnt}/who`
  const script = `${words} mount ${s.args.join(' ')} ${s.mnt} && ${inside} && ls ${s.mnt} && ${words} umount ${s.mnt}`
  // A device that everybody may open, as distributions have it, in a mount namespace of its own.
  const device = `mknod ${s.at('fuse')} c 10 229 && chmod 666 ${s.at('fuse')} && mount --bind ${s.at('fuse')} /dev/fuse`
  for (const prefix of ['', 'unshare --user --map-root-user --mount -- ']) {
    for (const name of ['upper', 'work']) rmSync(s.at(name), { recursive: true })
    rmSync(s.at('fuse'), { force: true })
    as(`mkdir ${s.at('upper')} ${s.at('work')}`)
    const text = `${device} && exec setpriv ${user.join(' ')} ${prefix}/bin/sh -ec '${script}'`
    const { status, stdout, stderr } = run('unshare', ['--mount', '/bin/sh', '-ec', text])
    if (/unshare failed|Operation not permitted/.test(stderr) && status !== 0 && prefix !== '') {
      t.pass('skipped', { skip: `user namespaces are not allowed here: ${stderr.trim()}` })
      continue
    }
    t.equal(stderr, '', prefix || 'fusermount3')
    t.equal(status, 0)
    t.equal(stdout, 'moved\nonly-base\n')
    t.equal(readFileSync(s.at('upper/only-base'), 'utf8'), 'new\n')
  }
  t.equal(s.lowers(), lowersBefore, 'the lowers are what they were')
  spawnSync('chown', ['-R', '0:0', s.folder])
})

door('--foreground stays until it is unmounted', async (t, s) => {
  const child = spawn(MICA, ['mount', '--foreground', ...s.args, s.mnt], { stdio: 'ignore' })
  const ended = new Promise<number | null>((resolve) => child.on('exit', resolve))
  t.ok(await eventually(() => existsSync(join(s.mnt, 'who'))))
  t.equal(child.exitCode, null)
  child.kill('SIGINT')
  t.equal(await ended, 0)
  t.notOk(s.mounted)
})

door('a mount is live within a moment', (t, s) => {
  const times: number[] = []
  for (let i = 0; i < 7; i++) {
    const started = process.hrtime.bigint()
    const { status } = mica('mount', ...s.args, s.mnt)
    times.push(Number(process.hrtime.bigint() - started) / 1e6)
    t.equal(status, 0)
    spawnSync('umount', [s.mnt])
  }
  const median = times.sort((a, b) => a - b)[3]!
  t.comment(`median ${median.toFixed(0)} ms, best ${times[0]!.toFixed(0)} ms`)
  // Other tests run beside this one; 150 ms is for an idle machine.
  t.ok(times[0]! < 600, `best of seven: ${times[0]!.toFixed(0)} ms`)
})
