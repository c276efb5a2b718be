// The disk loses power while files are copied up: what the next mount shows is whole, and what was
// fsynced is there. The same with --volatile must lose something, or the test would prove nothing.
// The disk is ext4 on a loop device, shut down without its journal (FS_IOC_GOINGDOWN, ext4(5)).
import { execFileSync, spawnSync } from 'node:child_process'
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { lazyUnmount, micaDriver, mountsBelow } from '../support/driver.js'
import { packageRoot } from '../support/package-root.js'

const FILES = 600

function reasonToSkip(): string {
  if (process.getuid?.() !== 0) return 'loop devices need root'
  if (!existsSync('/dev/fuse')) return 'there is no /dev/fuse'
  if (spawnSync('mkfs.ext4', ['-V']).error !== undefined) return 'there is no mkfs.ext4 (e2fsprogs)'
  if (spawnSync('losetup', ['-f']).status !== 0) return 'there are no loop devices'
  return ''
}

const skip = reasonToSkip()
const nameOf = (i: number) => `f${String(i).padStart(4, '0')}`
const contentOf = (i: number) => Buffer.alloc(1 + ((i * 977) % 40_000), `${nameOf(i)} `)

class Disk {
  readonly folder = mkdtempSync(join(tmpdir(), 'mica-power-'))
  readonly path = join(this.folder, 'disk')
  readonly lower = join(this.folder, 'lower')
  readonly mount = join(this.folder, 'merged')
  readonly #driver

  constructor(flags: string[]) {
    for (const path of [this.path, this.lower, this.mount]) mkdirSync(path)
    for (let i = 0; i < FILES; i++) writeFileSync(join(this.lower, nameOf(i)), contentOf(i))
    const image = join(this.folder, 'image')
    closeSync(openSync(image, 'w'))
    truncateSync(image, 96 << 20)
    execFileSync('mkfs.ext4', ['-q', '-F', image])
    this.attach()
    for (const name of ['upper', 'work']) mkdirSync(join(this.path, name))
    execFileSync('sync', ['-f', this.path])
    this.#driver = micaDriver(...flags)
  }

  /** The journal is committed every second, so that some changes are on the disk and some are not. */
  attach(): void {
    execFileSync('mount', ['-o', 'loop,commit=1', join(this.folder, 'image'), this.path])
  }

  /** Copies files up until the power fails, every `step`th fsynced; then the disk comes back. Returns what was. */
  fail(afterSeconds: number, step: number): string[] {
    const { lower, path, mount } = this
    const mounted = this.#driver.mount({
      lowers: [lower],
      upper: join(path, 'upper'),
      work: join(path, 'work'),
      path: mount,
    })
    const load = join(packageRoot, 'test/crash/power.py')
    const { stdout } = spawnSync('python3', [load, mount, path, String(afterSeconds), String(step)], {
      encoding: 'utf8',
    })
    mounted.unmount()
    execFileSync('umount', [path])
    this.attach()
    return stdout.split('\n').filter((name) => name !== '')
  }

  /** Returns how many files are in the upper, and what is wrong with them. */
  inspect(promised: readonly string[]): { count: number; wrong: string[] } {
    const upper = join(this.path, 'upper')
    const names = readdirSync(upper).filter((name) => name.startsWith('f'))
    const wrong = promised.filter((name) => !names.includes(name)).map((name) => `${name} is lost`)
    for (const name of names) {
      const expected = contentOf(Number(name.slice(1)))
      const found = readFileSync(join(upper, name))
      const isWritten = found.subarray(0, 8).toString('latin1') === 'promised'
      if (isWritten || promised.includes(name)) {
        const whole = Buffer.concat([Buffer.from('promised'), expected.subarray(8)])
        if (!found.equals(whole)) wrong.push(`${name} was written and is not whole`)
      } else if (!found.equals(expected))
        wrong.push(`${name} has ${found.length} bytes of ${expected.length}`)
    }
    return { count: names.length, wrong }
  }

  lowerIsWhole(): boolean {
    return readdirSync(this.lower).every((name) =>
      readFileSync(join(this.lower, name)).equals(contentOf(Number(name.slice(1)))),
    )
  }

  /** Returns the mount points that had to be taken away by force. */
  finish(): string[] {
    const left = mountsBelow(this.folder).filter((point) => point !== this.path)
    for (const point of left) lazyUnmount(point)
    spawnSync('umount', [this.path])
    rmSync(this.folder, { recursive: true, force: true })
    return left
  }
}

t.setTimeout(0)

/** Without an fsync only the journal's own commits, one a second, bring anything to the disk. */
const moments = [1.4, 2.3]

t.test('a power failure leaves whole files', { skip }, async (t) => {
  let count = 0
  for (const moment of moments) {
    const disk = new Disk([])
    const found = disk.inspect(disk.fail(moment, 0))
    count += found.count
    t.comment(`${found.count} files in the upper`)
    t.same(found.wrong, [], 'nothing is torn')
    t.ok(disk.lowerIsWhole(), 'the lower is unchanged')
    t.same(disk.finish(), [], 'nothing is left mounted')
  }
  t.ok(count > 0, 'some copies had reached the disk')
})

t.test('a power failure takes nothing that was fsynced', { skip }, async (t) => {
  const disk = new Disk([])
  const promised = disk.fail(1.5, 10)
  const found = disk.inspect(promised)
  t.comment(`${found.count} files in the upper, ${promised.length} of them fsynced`)
  t.ok(promised.length > 0, 'something was fsynced before the power failed')
  t.same(found.wrong, [], 'nothing is lost or torn')
  t.ok(disk.lowerIsWhole(), 'the lower is unchanged')
  t.same(disk.finish(), [], 'nothing is left mounted')
})

t.test('with --volatile files are torn', { skip }, async (t) => {
  for (const moment of [...moments, 3]) {
    const disk = new Disk(['--volatile'])
    const { count, wrong } = disk.inspect(disk.fail(moment, 0))
    disk.finish()
    if (wrong.length === 0) continue
    t.pass(`${wrong.length} of ${count} files, e.g. ${wrong[0]}`)
    return
  }
  t.fail('every file was whole without a sync: the test finds nothing')
})
