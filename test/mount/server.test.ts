// Further mounts of an engine come to the daemon of an earlier one: what they share, and when they do not.

import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { lazyUnmount, mountsBelow, pause } from '../support/driver.js'
import { packageRoot } from '../support/package-root.js'

const OVERLAY = join(packageRoot, 'bin/mica-overlay')
const MICA = join(packageRoot, 'bin/mica')
const noMount =
  process.getuid?.() !== 0 ? 'mounting needs root' : existsSync('/dev/fuse') ? false : 'there is no /dev/fuse'

// The runner has a limit of its own.
t.setTimeout(0)

type Assertions = Pick<typeof t, 'equal' | 'same' | 'ok' | 'not' | 'match'>
type Listed = { mountpoint: string; pid: number; state: string }

/** A runtime directory, and layers for any number of mounts. */
class House {
  readonly folder = mkdtempSync(join(tmpdir(), 'mica-server-'))
  readonly runtime = join(this.folder, 'run')
  readonly env: NodeJS.ProcessEnv

  constructor(idle = '1') {
    const { MICA_RUNTIME_DIR: _, ...env } = process.env
    this.env = { ...env, MICA_RUNTIME_DIR: this.runtime, MICA_SERVER_IDLE: idle }
    mkdirSync(this.runtime)
    mkdirSync(this.path('lower'))
    writeFileSync(this.path('lower/file'), 'lower\n')
  }

  path(name: string): string {
    return join(this.folder, name)
  }

  mount(name: string, more = '', env: NodeJS.ProcessEnv = {}): SpawnSyncReturns<string> {
    for (const dir of ['upper', 'work', 'mnt']) mkdirSync(this.path(`${name}/${dir}`), { recursive: true })
    const options = `lowerdir=${this.path('lower')},upperdir=${this.path(name)}/upper,workdir=${this.path(name)}/work`
    return spawnSync(OVERLAY, ['-o', `${options}${more}`, this.at(name)], {
      encoding: 'utf8',
      env: { ...this.env, ...env },
      cwd: this.folder,
      timeout: 20_000,
    })
  }

  mustMount(name: string): void {
    const { status, stderr } = this.mount(name)
    if (status !== 0) throw new Error(`mount ${name}: ${status}: ${stderr}`)
  }

  at(name: string): string {
    return this.path(`${name}/mnt`)
  }

  mica(...args: string[]): string {
    const { status, stdout, stderr } = spawnSync(MICA, args, { encoding: 'utf8', env: this.env })
    if (status !== 0) throw new Error(`mica ${args.join(' ')}: ${stderr}`)
    return stdout
  }

  list(): Listed[] {
    const all = JSON.parse(this.mica('ls', '--json')) as Listed[]
    return all.filter(({ mountpoint }) => mountpoint.startsWith(this.folder))
  }

  pidOf(name: string): number {
    return this.list().find(({ mountpoint }) => mountpoint === this.at(name))!.pid
  }

  sockets(): string[] {
    return readdirSync(this.runtime).filter((name) => name.startsWith('server-') && name.endsWith('.sock'))
  }

  /** The server opens its socket just after its first mount is live. */
  whenOpen(): void {
    for (let i = 0; i < 500 && this.sockets().length === 0; i++) pause(10)
  }

  finish(): string[] {
    const left = mountsBelow(this.folder)
    for (const point of left) lazyUnmount(point)
    rmSync(this.folder, { recursive: true, force: true })
    return left
  }
}

function isAlive(pid: number): boolean {
  return existsSync(`/proc/${pid}`) && !/^State:\s*Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
}

function whenDead(pid: number, ms: number): boolean {
  for (const until = Date.now() + ms; Date.now() < until; pause(20)) if (!isAlive(pid)) return true
  return false
}

function house(title: string, body: (t: Assertions, h: House) => void, idle?: string): void {
  t.test(title, { skip: noMount }, async (t) => {
    const h = new House(idle)
    try {
      body(t, h)
    } finally {
      t.same(h.finish(), [], 'nothing is left mounted')
    }
  })
}

house(
  'threads of mounts that have ended serve the next ones, and go after a while',
  (t, h) => {
    h.mustMount('first')
    h.whenOpen()
    const threads = (): string[] => readdirSync(`/proc/${h.pidOf('first')}/task`)
    const names = ['one', 'two', 'three', 'four', 'five']
    for (const name of names) h.mustMount(name)
    const before = threads()
    for (const name of names) spawnSync('umount', [h.at(name)])
    for (const name of names) h.mustMount(name)
    const after = threads()
    t.same(
      before.filter((tid) => !after.includes(tid)),
      [],
    )
    t.ok(after.length <= before.length + 1, 'with one more for mounts to come')
    for (const name of names) spawnSync('umount', [h.at(name)])
    const few = before.length - names.length + 2
    for (let i = 0; i < 100 && threads().length > few; i++) pause(100)
    t.ok(threads().length <= few, 'two are kept')
    spawnSync('umount', [h.at('first')])
  },
  '20',
)

house('mounts of one caller share a process, and nothing else', (t, h) => {
  h.mustMount('one')
  h.whenOpen()
  for (const name of ['two', 'three']) h.mustMount(name)
  const pid = h.pidOf('one')
  t.same([h.pidOf('two'), h.pidOf('three')], [pid, pid])
  writeFileSync(`${h.at('two')}/file`, 'two\n')
  t.same(
    ['one', 'two', 'three'].map((name) => readFileSync(`${h.at(name)}/file`, 'utf8')),
    ['lower\n', 'two\n', 'lower\n'],
  )
  const stats = JSON.parse(h.mica('stats', '--json', h.at('two')))
  t.equal(stats.mountpoint, h.at('two'))
  t.ok(stats.requests.WRITE === undefined || stats.requests.WRITE.requests > 0)
  t.ok(stats.requests.OPEN.requests > 0)

  h.mica('umount', h.at('one'))
  t.ok(isAlive(pid), 'the others keep the process')
  t.equal(readFileSync(`${h.at('two')}/file`, 'utf8'), 'two\n')
  h.mustMount('one')
  t.equal(h.pidOf('one'), pid, 'and it takes new ones')
  for (const name of ['one', 'two', 'three']) h.mica('umount', h.at(name))
  t.equal(readFileSync(h.path('two/upper/file'), 'utf8'), 'two\n')
  t.ok(whenDead(pid, 5000), 'without mounts it ends')
  t.same(
    readdirSync(h.runtime).filter((name) => !name.endsWith('.log')),
    [],
    'and leaves nothing',
  )
})

house('mounts that begin at the same time share a process', (t, h) => {
  const names = ['one', 'two', 'three']
  for (const name of names)
    for (const dir of ['upper', 'work', 'mnt']) mkdirSync(h.path(`${name}/${dir}`), { recursive: true })
  const script = `cd "$1"; shift; for n; do
    "$0" -o "lowerdir=$PWD/lower,upperdir=$PWD/$n/upper,workdir=$PWD/$n/work" "$PWD/$n/mnt" & done; wait`
  spawnSync('sh', ['-c', script, OVERLAY, h.folder, ...names], { env: h.env, timeout: 20_000 })
  t.equal(new Set(names.map((name) => h.pidOf(name))).size, 1)
  t.equal(h.sockets().length, 1)
  for (const name of names) h.mica('umount', h.at(name))
})

house('a first mount that fails leaves no socket', (t, h) => {
  t.equal(h.mount('box', ',workdir=/proc').status, 1)
  t.same(readdirSync(h.runtime), [])
})

house('an upper is free for the next mount at once, again and again', (t, h) => {
  h.mustMount('first')
  h.whenOpen()
  for (let i = 0; i < 25; i++) {
    h.mustMount('box')
    writeFileSync(`${h.at('box')}/f${i}`, '')
    const { status } = spawnSync('umount', [h.at('box')])
    if (status !== 0) throw new Error(`umount ${i}: ${status}`)
  }
  h.mustMount('box')
  t.equal(readdirSync(h.at('box')).length, 26)
  t.same(
    h.list().map(({ mountpoint }) => mountpoint),
    [h.at('first'), h.at('box')],
  )
  t.same(
    h.mount('again', `,upperdir=${h.path('box')}/upper`).status,
    1,
    'a second mount of an upper is refused',
  )
  for (const name of ['first', 'box']) h.mica('umount', h.at(name))
})

house('a volatile upper counts as clean after its mount has ended, and as damaged after a kill', (t, h) => {
  h.mustMount('first')
  h.whenOpen()
  for (let i = 0; i < 3; i++) {
    t.equal(h.mount('box', ',volatile').status, 0)
    spawnSync('umount', [h.at('box')])
  }
  t.equal(h.mount('box', ',volatile').status, 0)
  const pid = h.pidOf('box')
  process.kill(pid, 'SIGKILL')
  t.ok(whenDead(pid, 5000))
  for (const name of ['first', 'box']) lazyUnmount(h.at(name))
  t.match(h.mount('box').stderr, /was mounted volatile and not unmounted cleanly/)
  t.equal(h.mount('first').status, 0, 'others go on')
  h.mica('umount', h.at('first'))
})

house('what is wrong is said as a process of its own says it', (t, h) => {
  const wrong = [',upperdir=/none', ',workdir=/proc', ',timeout=never']
  const words = (): [number | null, string][] =>
    wrong.map((more) => {
      const { status, stderr } = h.mount('box', more)
      return [status, stderr]
    })
  const alone = words()
  h.mustMount('first')
  h.whenOpen()
  t.same(words(), alone)
  t.same(
    alone.map(([status]) => status),
    [1, 1, 2],
  )
  const { status, stderr } = h.mount('box', ',frobnicate=1')
  t.same([status, stderr], [0, 'mica-overlay: unknown option frobnicate ignored\n'])
  t.equal(h.pidOf('box'), h.pidOf('first'))
  for (const name of ['first', 'box']) h.mica('umount', h.at(name))
})

house('who is not quite the same gets a process of its own', (t, h) => {
  h.mustMount('first')
  h.whenOpen()
  const pid = h.pidOf('first')
  t.equal(h.mount('environment', '', { FUSE_OVERLAYFS_DISABLE_OVL_WHITEOUT: '1' }).status, 0)
  t.not(h.pidOf('environment'), pid, 'another environment')
  rmSync(`${h.at('environment')}/file`)
  t.same(readdirSync(h.path('environment/upper')), ['.wh.file'])
  mkdirSync(h.path('elsewhere'))
  const script = '"$0" -o "$1" "$2" && umount "$2"'
  const words = ['-m', 'sh', '-c', script, OVERLAY, `lowerdir=${h.path('lower')}`, h.path('elsewhere')]
  const inOther = spawnSync('unshare', words, { encoding: 'utf8', env: h.env })
  t.equal(inOther.status, 0, 'another mount namespace')
  chmodSync(h.runtime, 0o777)
  h.mustMount('open')
  t.not(h.pidOf('open'), pid, 'a directory that others may write to')
  chmodSync(h.runtime, 0o755)
  for (const name of ['first', 'environment', 'open']) h.mica('umount', h.at(name))
})

house('a server that does not answer is passed over', (t, h) => {
  h.mustMount('first')
  h.whenOpen()
  const pid = h.pidOf('first')
  process.kill(pid, 'SIGSTOP')
  try {
    h.mustMount('box')
  } finally {
    process.kill(pid, 'SIGCONT')
  }
  t.not(h.pidOf('box'), pid)
  h.mica('umount', h.at('box'))
  process.kill(pid, 'SIGKILL')
  t.ok(whenDead(pid, 5000))
  t.equal(h.sockets().length, 1, 'a socket that nobody has')
  h.mustMount('box')
  t.not(h.pidOf('box'), pid)
  h.mica('umount', h.at('box'))
  lazyUnmount(h.at('first'))
})

/** Asks the server as the launcher does, and hears that it takes the mount on; says `words` then, if any, and goes. */
const CALLER = `
import socket, sys
path, words, *arguments = sys.argv[1:]
request = b"".join(each.encode() + b"\\0" for each in ["mica-overlay", "1", *arguments])
caller = socket.socket(socket.AF_UNIX)
caller.connect(path)
caller.sendall(b"%08x" % len(request) + request)
print(caller.recv(100).decode(), end="")
if words:
    caller.sendall(words.encode())
    print(caller.recv(100).decode(), end="")
`

house('a caller that has gone before it said go gets no mount', (t, h) => {
  h.mustMount('first')
  h.whenOpen()
  mkdirSync(h.path('second'))
  const path = join(h.runtime, h.sockets()[0]!)
  const mount = ['-o', `lowerdir=${h.path('lower')}`, h.path('second')]
  const ask = (words: string) =>
    spawnSync('python3', ['-c', CALLER, path, words, ...mount], { encoding: 'utf8' })
  t.equal(ask('').stdout, 'taken\n')
  pause(500)
  t.same(mountsBelow(h.path('second')), [])
  t.equal(ask('go\n').stdout, 'taken\nok\n')
  t.same(mountsBelow(h.path('second')), [h.path('second')])
  h.mica('umount', h.path('second'))
  h.mica('umount', h.at('first'))
})

house('SIGTERM takes all mounts off', (t, h) => {
  h.mustMount('first')
  h.whenOpen()
  h.mustMount('second')
  const pid = h.pidOf('first')
  process.kill(pid, 'SIGTERM')
  t.ok(whenDead(pid, 8000))
  t.same(mountsBelow(h.folder), [])
})

house(
  'without a server each mount has its process',
  (t, h) => {
    h.mustMount('one')
    h.mustMount('two')
    t.not(h.pidOf('one'), h.pidOf('two'))
    t.same(h.sockets(), [])
    for (const name of ['one', 'two']) h.mica('umount', h.at(name))
  },
  '0',
)
