// The server is killed at random moments while three processes write; what their calls promised is
// there at the next mount. MICA_CRASH_KILLS and MICA_CRASH_SEED change how often, and the moments;
// MICA_CRASH_KEEP leaves layers and journals for a look.
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { lazyUnmount, type Mounted, micaDriver, mountsBelow } from '../support/driver.js'
import { holdUring, noUring } from '../support/enable-uring.js'
import { packageRoot } from '../support/package-root.js'
import { Syscalls } from '../support/syscalls.js'

const kills = Number(process.env.MICA_CRASH_KILLS ?? 8)
const seed = Number(process.env.MICA_CRASH_SEED ?? Date.now() % 100_000)
const processes = ['0', '1', '2']
const program = join(packageRoot, 'test/crash/load.py')

function reasonToSkip(): string {
  if (process.getuid?.() !== 0) return 'device nodes and trusted xattrs in layers need root'
  if (!existsSync('/dev/fuse')) return 'there is no /dev/fuse'
  return ''
}

/** 32 bits of a linear congruential generator: the moments must follow from the seed. */
class Moments {
  #state: number
  constructor(start: number) {
    this.#state = start
  }
  next(from: number, to: number): number {
    this.#state = (Math.imul(this.#state, 1_664_525) + 1_013_904_223) >>> 0
    return from + ((this.#state >>> 8) % (to - from))
  }
}

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

type Load = { child: ChildProcess; ended: Promise<number | null>; said: () => string }

class Scene {
  readonly folder = mkdtempSync(join(tmpdir(), 'mica-crash-'))
  readonly lowers = ['lower0', 'lower1'].map((name) => join(this.folder, name))
  readonly upper = join(this.folder, 'upper')
  readonly path = join(this.folder, 'merged')
  readonly #models = join(this.folder, 'models')
  readonly #driver
  #mounted: Mounted | undefined

  constructor(form: string[]) {
    for (const name of ['lower0', 'lower1', 'upper', 'work', 'merged', 'models']) {
      mkdirSync(join(this.folder, name))
    }
    execFileSync('python3', [program, '--models', this.#models, 'build', ...this.lowers])
    this.#driver = micaDriver(...form)
  }

  mount(): void {
    const { lowers, upper, path } = this
    this.#mounted = this.#driver.mount({ lowers, upper, path, work: join(this.folder, 'work') })
  }

  unmount(): void {
    this.#mounted!.unmount()
  }

  kill(): void {
    this.#mounted!.killDaemon!()
  }

  /** Returns when all of them work in the mount. */
  async load(round: number): Promise<Load[]> {
    const loads = processes.map((number) => {
      const args = [
        program,
        '--models',
        this.#models,
        'run',
        this.path,
        number,
        String(seed * 100 + round * 3 + Number(number)),
      ]
      const child = spawn('python3', args, { stdio: ['ignore', 'pipe', 'pipe'] })
      let said = ''
      child.stderr.on('data', (chunk) => {
        said += chunk
      })
      const ended = new Promise<number | null>((resolve) => {
        child.on('close', resolve)
      })
      const ready = Promise.race([ended, new Promise((resolve) => child.stdout.once('data', resolve))])
      return { child, ready, ended, said: () => said }
    })
    await Promise.all(loads.map((load) => load.ready))
    return loads
  }

  verify(): { status: number | null; said: string; calls: number } {
    const args = [program, '--models', this.#models, 'verify', this.path, ...processes]
    const { status, stdout, stderr } = spawnSync('python3', args, { encoding: 'utf8', timeout: 60_000 })
    const calls = [...stdout.matchAll(/: (\d+) calls kept/g)].reduce(
      (sum, match) => sum + Number(match[1]),
      0,
    )
    return { status, said: stderr, calls }
  }

  leftovers(): string[] {
    const listed = readdirSync(join(this.folder, 'work'), { recursive: true, encoding: 'utf8' })
    return listed.filter((path) => !/^(work|index|index\/.*)$|^work\/[^/]*%$/.test(path))
  }

  /** Returns the mount points that had to be taken away by force. */
  finish(): string[] {
    const left = mountsBelow(this.folder)
    for (const point of left) lazyUnmount(point)
    if (!process.env.MICA_CRASH_KEEP) rmSync(this.folder, { recursive: true, force: true })
    return left
  }
}

/** A load that its dead mount doesn't end (a file passed through still answers) is ended here. */
async function end(loads: Load[]): Promise<string[]> {
  await Promise.race([Promise.all(loads.map((load) => load.ended)), sleep(300)])
  for (const { child } of loads) child.kill('SIGKILL')
  await Promise.all(loads.map((load) => load.ended))
  return loads.map((load) => load.said()).filter((text) => text !== '')
}

async function round(scene: Scene, number: number, delay: number): Promise<{ wrong: string; calls: number }> {
  const loads = await scene.load(number)
  await sleep(delay)
  scene.kill()
  const complaints = await end(loads)
  scene.mount()
  const { status, said, calls } = scene.verify()
  if (complaints.length > 0) return { wrong: `before kill ${number}: ${complaints.join('\n')}`, calls }
  return { wrong: status === 0 ? '' : `after kill ${number}: ${said}`, calls }
}

t.setTimeout(0)
const skip = reasonToSkip()

const forms = [
  ['--transport', 'dev-fuse', '--workers', '1'],
  ['--transport', 'dev-fuse', '--workers', '2'],
  ['--transport', 'io-uring', '--workers', '2'],
]

for (const form of forms) {
  const isUring = form.includes('io-uring')
  const why = skip || (isUring && noUring())
  t.test(`${form.join(' ')}: ${kills} kills lose nothing that was promised`, { skip: why }, async (t) => {
    if (isUring) t.teardown(holdUring())
    const scene = new Scene(form)
    t.teardown(() => scene.finish())
    const root = new Syscalls()
    t.teardown(() => root.stop())
    const before = scene.lowers.map((lower) => root.snapshot(lower))
    const moments = new Moments(seed + forms.indexOf(form))
    t.comment(`seed ${seed}`)
    scene.mount()
    let total = 0
    for (let i = 1; i <= kills; i++) {
      const { wrong, calls } = await round(scene, i, moments.next(20, 900))
      total += calls
      if (wrong !== '') return t.fail(wrong)
    }
    t.ok(total > kills * 20, `${total} calls kept over ${kills} kills`)
    scene.unmount()
    t.same(scene.leftovers(), [], 'nothing half-made is left in the workdir')
    t.same(
      scene.lowers.map((lower) => root.snapshot(lower)),
      before,
      'the lowers are unchanged',
    )
    t.same(scene.finish(), [], 'nothing is left mounted')
  })
}

t.test('a file taken out of the upper is missed', { skip }, async (t) => {
  const scene = new Scene(forms[0]!)
  t.teardown(() => scene.finish())
  scene.mount()
  const loads = await scene.load(0)
  await sleep(1000)
  scene.kill()
  await end(loads)
  const victims = readdirSync(scene.upper, { recursive: true, withFileTypes: true, encoding: 'utf8' })
  const victim = victims.find((entry) => entry.isFile())
  t.ok(victim, 'the load has written a file')
  rmSync(join(victim!.parentPath, victim!.name))
  scene.mount()
  const { status, said } = scene.verify()
  t.not(status, 0, 'the verification fails')
  t.match(said, /is lost|should be/)
  scene.unmount()
})
