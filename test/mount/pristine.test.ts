// The image beside its container: mounts that one caller makes of both are one device, and what has the same
// inode number in both is the same.

import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import {
  existsSync,
  lstatSync,
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
import { snapshot } from '../store/snapshot.js'
import { lazyUnmount, mountsBelow, pause } from '../support/driver.js'
import { packageRoot } from '../support/package-root.js'

const OVERLAY = join(packageRoot, 'bin/mica-overlay')
const MICA = join(packageRoot, 'bin/mica')
const SCRIPT = join(packageRoot, 'test/mount/pristine.py')
const noMount =
  process.getuid?.() !== 0 ? 'mounting needs root' : existsSync('/dev/fuse') ? false : 'there is no /dev/fuse'
const LOWERS = ['three', 'two', 'one']

// The runner has a limit of its own.
t.setTimeout(0)

type Compared = {
  passed: number
  wrong: string[]
  needless: string[]
  inodes: string[]
  isOneDevice: boolean
}

/** Layers and mounts of one engine process, which is this one. */
class Engine {
  readonly folder = mkdtempSync(join(tmpdir(), 'mica-pristine-'))
  readonly env: NodeJS.ProcessEnv
  readonly before: Record<string, string>

  constructor(idle = '1') {
    const { MICA_RUNTIME_DIR: _, ...env } = process.env
    this.env = { ...env, MICA_RUNTIME_DIR: this.path('run'), MICA_SERVER_IDLE: idle }
    this.python('build', this.folder)
    for (const dir of ['upper', 'work', 'union', 'image']) mkdirSync(this.path(dir))
    this.before = this.lowers()
  }

  path(name: string): string {
    return join(this.folder, name)
  }

  lowers(): Record<string, string> {
    return Object.assign(
      {},
      ...LOWERS.map((name) =>
        Object.fromEntries(
          Object.entries(snapshot(this.path(name))).map(([path, line]) => [`${name}${path}`, line]),
        ),
      ),
    )
  }

  python(...args: string[]): string {
    const { status, stdout, stderr } = spawnSync('python3', [SCRIPT, ...args], { encoding: 'utf8' })
    if (status !== 0) throw new Error(`python3 ${args.join(' ')}: ${stderr}`)
    return stdout
  }

  run(program: string, args: readonly string[]): SpawnSyncReturns<string> {
    return spawnSync(program, args, { encoding: 'utf8', env: this.env, timeout: 20_000 })
  }

  must(program: string, ...args: string[]): string {
    const { status, stdout, stderr } = this.run(program, args)
    if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${status}: ${stderr}`)
    return stdout
  }

  /** Mounts layers as an engine's mount program; `more` are options. */
  mount(at: string, layers: readonly string[], more = ''): void {
    const lower = layers.map((name) => this.path(name)).join(':')
    this.must(OVERLAY, '-o', `lowerdir=${lower}${more}`, this.path(at))
  }

  mountUnion(more = ''): void {
    this.mount('union', LOWERS, `,upperdir=${this.path('upper')},workdir=${this.path('work')}${more}`)
  }

  /** A server that is too busy to answer is passed by, and the image then is a mount of its own. */
  mountImage(): void {
    for (let attempt = 0; attempt < 10; attempt++) {
      this.mount('image', LOWERS)
      if (this.device('image') === this.device('union')) return
      this.umount('image')
      pause(500)
    }
    this.mount('image', LOWERS)
  }

  umount(...names: string[]): void {
    for (const name of names) this.must('umount', this.path(name))
  }

  compare(upper = this.path('upper')): Compared {
    return JSON.parse(this.python('compare', this.path('union'), this.path('image'), upper)) as Compared
  }

  device(name: string): number {
    return lstatSync(this.path(name)).dev
  }

  finish(): string[] {
    const left = mountsBelow(this.folder)
    for (const point of left) lazyUnmount(point)
    return left
  }
}

type Assertions = Pick<typeof t, 'equal' | 'same' | 'ok' | 'notOk' | 'not' | 'match' | 'throws'>

function engine(title: string, body: (t: Assertions, e: Engine) => void, idle?: string): void {
  t.test(title, { skip: noMount }, async (t) => {
    const e = new Engine(idle)
    try {
      body(t, e)
    } finally {
      t.same(e.finish(), [], 'nothing is left mounted')
      t.same(e.lowers(), e.before, 'the lowers are as they were')
      rmSync(e.folder, { recursive: true, force: true })
    }
  })
}

const RIGHT = { wrong: [], needless: [], inodes: [], isOneDevice: true }

engine('an untouched container is passed over at its root', (t, e) => {
  e.mountUnion()
  e.mount('image', [...LOWERS, 'empty'])
  const { passed, ...rest } = e.compare()
  t.same(rest, RIGHT)
  t.equal(passed, readdirSync(e.path('union')).length, 'each name, and nothing below')
  e.umount('image', 'union')
})

engine('whatever a container changed has another inode number, and nothing else has', (t, e) => {
  for (let seed = 1; seed <= 12; seed++) {
    e.mountUnion()
    for (const changes of [1, 3, 8]) {
      e.python('change', e.path('union'), String(seed * 100 + changes), String(changes))
      e.mountImage()
      const { passed, ...rest } = e.compare()
      t.same(rest, RIGHT, `seed ${seed}, ${changes} more changes, ${passed} passed over`)
      e.umount('image')
    }
    e.umount('union')
    // What an earlier mount left is seen as well.
    e.mountUnion()
    e.mountImage()
    const { passed: _, ...rest } = e.compare()
    t.same(rest, RIGHT, `seed ${seed}, mounted again`)
    e.umount('image', 'union')
    for (const dir of ['upper', 'work']) {
      rmSync(e.path(dir), { recursive: true })
      mkdirSync(e.path(dir))
    }
  }
})

engine('deletions in the other dialect set names apart too', (t, e) => {
  mkdirSync(e.path('upper/d0/s0'), { recursive: true })
  writeFileSync(e.path('upper/d0/.wh.f1'), '')
  mkdirSync(e.path('upper/d2'))
  writeFileSync(e.path('upper/d2/.wh..wh..opq'), '')
  writeFileSync(e.path('upper/.wh.d4'), '')
  e.mountUnion()
  e.mount('image', LOWERS)
  const { passed, wrong, inodes, isOneDevice } = e.compare()
  t.same({ wrong, inodes, isOneDevice }, { wrong: [], inodes: [], isOneDevice: true })
  t.ok(passed > 5)
  t.notOk(existsSync(e.path('union/d4')))
  e.umount('image', 'union')
})

engine('the image shows what a mount of its own shows', (t, e) => {
  e.mountUnion()
  e.python('change', e.path('union'), '7', '20')
  e.mount('image', LOWERS)
  // A removed name sets a file's others apart.
  const tree = (): [string, string][] =>
    Object.entries(snapshot(e.path('image'))).map(([path, line]) => [path, line.replace(/ links to .*/, '')])
  const shown = tree()
  e.umount('image', 'union')
  e.mount('image', LOWERS)
  t.same(shown, tree())
  t.ok(shown.length > 60)
  e.umount('image')
})

engine('the image can not be written, nor found in the container', (t, e) => {
  e.mountUnion()
  e.mount('image', LOWERS)
  t.equal(e.device('image'), e.device('union'))
  t.throws(() => writeFileSync(e.path('image/d0/f1'), 'x'), { code: 'EROFS' })
  t.throws(() => mkdirSync(e.path('image/new')), { code: 'EROFS' })
  // As root could by another way to the same tree.
  mkdirSync(e.path('bound'))
  e.must('mount', '--bind', e.path('image'), e.path('bound'))
  e.must('mount', '-o', 'remount,bind,rw', e.path('bound'))
  for (const name of ['d0/f1', 'd0/new', 'new'])
    t.throws(() => writeFileSync(e.path(`bound/${name}`), 'x'), { code: 'EROFS' }, name)
  t.throws(() => rmSync(e.path('bound/d0/f1')), { code: 'EROFS' })
  t.same(readdirSync(e.path('upper')), [])
  t.same(
    readdirSync(e.path('union')).filter((name) => name.startsWith('.')),
    [],
  )
  e.umount('bound', 'image', 'union')
})

engine('who asks from elsewhere, or for something else, gets a mount of its own', (t, e) => {
  e.mountUnion()
  const lower = LOWERS.map((name) => e.path(name)).join(':')
  e.must('sh', '-c', '"$0" -o "$1" "$2"; exit $?', OVERLAY, `lowerdir=${lower}`, e.path('image'))
  t.not(e.device('image'), e.device('union'), 'another caller')
  e.umount('image')
  const asked = ['-c', '"$0" -o "$1" "$2"; exit $?', OVERLAY, `lowerdir=${lower}`, e.path('image'), 'diff']
  e.must('sh', ...asked)
  t.equal(e.device('image'), e.device('union'), 'another one that is told to compare')
  e.umount('image')
  e.mount('image', LOWERS, ',squash_to_uid=5')
  t.not(e.device('image'), e.device('union'), 'other options')
  e.umount('image')
  e.mount('image', ['three', 'one'])
  t.not(e.device('image'), e.device('union'), 'other layers')
  e.umount('image', 'union')
})

engine('a read-only container is compared with what is below its top layer', (t, e) => {
  e.mountUnion()
  e.python('change', e.path('union'), '3', '12')
  e.umount('union')
  e.mount('union', ['upper', ...LOWERS])
  e.mount('image', LOWERS)
  const { passed, wrong, needless, inodes, isOneDevice } = e.compare()
  t.same({ wrong, needless, inodes, isOneDevice }, RIGHT)
  t.ok(passed > 5)
  e.umount('image', 'union')
})

engine('the image goes on when the container goes, and keeps nobody from its upper', (t, e) => {
  e.mountUnion(',volatile')
  e.mount('image', LOWERS)
  writeFileSync(e.path('union/new'), 'x')
  e.umount('union')
  t.equal(readFileSync(e.path('image/d0/f1'), 'utf8'), 'one 0 1')
  const started = Date.now()
  e.must(MICA, 'umount', e.path('image'))
  t.ok(Date.now() - started < 3000, 'nothing is waited for')
  e.mountUnion()
  t.equal(readFileSync(e.path('union/new'), 'utf8'), 'x')
  e.mount('image', LOWERS)
  e.umount('union')
  e.mountUnion()
  e.umount('image', 'union')
})

engine(
  'without a server the image has a mount of its own',
  (t, e) => {
    e.mountUnion()
    e.mount('image', LOWERS)
    t.not(e.device('image'), e.device('union'))
    e.umount('image', 'union')
    pause(10)
  },
  '0',
)
