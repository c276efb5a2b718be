// Several processes in one directory of a mount, every answer checked against an exact model;
// the same without the table lock must fail, or the test would prove nothing.
// MICA_STRESS_SECONDS changes how long the load lasts.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { daemonsOf, lazyUnmount, micaDriver, mountsBelow } from '../support/driver.js'
import { holdUring, noUring } from '../support/enable-uring.js'
import { nativeProgram } from '../support/native-program.js'
import { packageRoot } from '../support/package-root.js'

const mica = join(packageRoot, 'bin/mica')
const seconds = Number(process.env.MICA_STRESS_SECONDS ?? 8)
const processes = 4
const attempts = 8

function reasonToSkip(): string {
  if (process.getuid?.() !== 0) return 'mounting needs root'
  if (!existsSync('/dev/fuse')) return 'there is no /dev/fuse'
  return ''
}

const skip = reasonToSkip()
const hammer = skip ? '' : nativeProgram('test/stress/hammer')

type Answer = { status: number | null; output: string }

/** Runs the program; when it does not end in time the mount's daemon is killed, which frees it. */
async function runHammer(mount: string, limit: number, args: string[]): Promise<Answer> {
  const child = spawn(hammer, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  child.stdout.on('data', (chunk) => {
    output += chunk
  })
  child.stderr.on('data', (chunk) => {
    output += chunk
  })
  const timer = setTimeout(() => {
    output += 'did not end in time\n'
    for (const pid of daemonsOf(mount)) process.kill(pid, 'SIGKILL')
    child.kill('SIGKILL')
  }, limit * 1000)
  const status = await new Promise<number | null>((resolve) => {
    child.on('close', resolve)
  })
  clearTimeout(timer)
  return { status, output }
}

/** Everything that a write could change, of every file below. */
function stateOf(folder: string): string {
  const form = '%P %y %m %U %G %s %T@ %C@ %i %n %l\\n'
  return spawnSync('find', [folder, '-printf', form], { encoding: 'utf8', maxBuffer: 1 << 26 }).stdout
}

class Field {
  readonly folder = mkdtempSync(join(tmpdir(), 'mica-stress-'))
  readonly mount = join(this.folder, 'merged')
  readonly lower = join(this.folder, 'lower/field')
  readonly #driver

  constructor(flags: readonly string[]) {
    for (const name of ['lower/field', 'upper', 'work', 'merged']) {
      mkdirSync(join(this.folder, name), { recursive: true })
    }
    this.#driver = micaDriver(...flags.map((word) => (word === INDEX ? join(this.folder, 'index') : word)))
    spawnSync(hammer, ['prepare', this.lower, String(processes)])
  }

  up(): void {
    const at = (name: string) => join(this.folder, name)
    this.#driver.mount({ lowers: [at('lower')], upper: at('upper'), work: at('work'), path: this.mount })
  }

  down(): void {
    spawnSync('umount', [this.mount])
  }

  run(duration: number, seed: number): Promise<Answer> {
    const args = ['run', join(this.mount, 'field'), processes, duration, seed, join(this.folder, 'state')]
    return runHammer(this.mount, duration + 30, args.map(String))
  }

  lookups(duration: number, seed: number): Promise<Answer> {
    const args = ['lookups', join(this.mount, 'field'), processes, duration, seed, this.mount]
    return runHammer(this.mount, duration + 30, args.map(String))
  }

  /** Returns how many inodes live once the kernel has forgotten all it can, or what is wrong. */
  async forgotten(): Promise<number | string> {
    let count: number | string = 'no answer'
    for (let i = 0; i < 20; i++) {
      spawnSync('mount', ['-i', '-o', 'remount', this.mount], { timeout: 5000 })
      const { status, stdout } = spawnSync(mica, ['stats', '--json', this.mount], {
        encoding: 'utf8',
        timeout: 5000,
      })
      count =
        status === 0 ? (JSON.parse(stdout) as { inodes: number }).inodes : `mica stats ended with ${status}`
      if (count === 0) return count
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    return count
  }

  verify(): Promise<Answer> {
    const args = ['verify', join(this.mount, 'field'), String(processes), join(this.folder, 'state')]
    return runHammer(this.mount, 30, args)
  }

  /** Returns the mount points that had to be taken away by force. */
  finish(): string[] {
    const left = mountsBelow(this.folder)
    for (const point of left) {
      for (const pid of daemonsOf(point)) process.kill(pid, 'SIGKILL')
      lazyUnmount(point)
    }
    rmSync(this.folder, { recursive: true, force: true })
    return left
  }
}

t.setTimeout(0)

/** Stands for a folder of the field's own. */
const INDEX = 'INDEX'
const forms = [
  ['--transport', 'dev-fuse', '--workers', '2'],
  ['--transport', 'dev-fuse', '--workers', '1'],
  // Native code answers lookups, too.
  ['--transport', 'io-uring', '--workers', '2', '--index', INDEX],
]

for (const form of forms) {
  const why = skip || (form.includes('io-uring') && noUring())
  t.test(`${form.join(' ')}: every answer is right, and so is what is left`, { skip: why }, async (t) => {
    if (form.includes('io-uring')) t.teardown(holdUring())
    const field = new Field(form)
    const lower = stateOf(field.lower)
    const seed = Date.now() % 100_000
    t.comment(`seed ${seed}`)
    field.up()
    const load = await field.run(seconds, seed)
    const calls = [...load.output.matchAll(/: (\d+) calls/g)].reduce(
      (sum, match) => sum + Number(match[1]),
      0,
    )
    t.comment(`${calls} calls by ${processes} processes in ${seconds} s`)
    t.equal(load.status, 0, 'the load gets right answers', { output: load.output })
    const cold = await field.lookups(seconds / 2, seed)
    t.equal(cold.status, 0, 'cold lookups are answered right', { output: cold.output })
    t.equal(await field.forgotten(), 0, 'every inode goes when the kernel forgets it')
    const live = await field.verify()
    t.equal(live.status, 0, 'the live mount equals the model', { output: live.output })
    field.down()
    t.equal(mountsBelow(field.folder).length, 0, 'it unmounts')
    field.up()
    const again = await field.verify()
    t.equal(again.status, 0, 'so does the next mount', { output: again.output })
    field.down()
    t.equal(stateOf(field.lower), lower, 'the lower is unchanged')
    t.same(field.finish(), [], 'nothing is left mounted')
  })
}

/** Returns what went wrong in one run, '' for nothing. */
async function withoutLock(form: string[], seed: number): Promise<string> {
  const field = new Field(form)
  try {
    field.up()
    const cold = await field.lookups(3, seed)
    if (cold.status !== 0) return cold.output
    const left = await field.forgotten()
    if (left !== 0) return `inodes left when all are forgotten: ${left}`
    const load = await field.run(2, seed)
    if (load.status !== 0) return load.output
    const tree = await field.verify()
    return tree.status === 0 ? '' : tree.output
  } finally {
    field.finish()
  }
}

t.test('without the table lock two workers give wrong answers', { skip }, async (t) => {
  process.env.MICA_TEST_UNLOCKED = '1'
  t.teardown(() => {
    delete process.env.MICA_TEST_UNLOCKED
  })
  // Workers on rings meet far more often than those on clones of the device.
  const hasRings = noUring() === false
  if (hasRings) t.teardown(holdUring())
  const racing = ['--transport', hasRings ? 'io-uring' : 'dev-fuse', '--workers', '2']
  for (let i = 1; i <= attempts; i++) {
    const caught = await withoutLock(racing, i)
    if (caught === '') continue
    t.pass(`attempt ${i} went wrong, as it must`)
    t.comment(caught.split('\n').slice(0, 3).join('\n'))
    return
  }
  t.fail(`${attempts} runs without the lock gave only right answers`)
})
