import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { readMounts } from '../../src/mount/mount-info.js'
import { packageRoot } from '../support/package-root.js'

const TOUR = join(packageRoot, 'dist/src/cli/tour.js')
const reason =
  process.getuid?.() !== 0
    ? 'mounting needs root'
    : existsSync('/dev/fuse')
      ? undefined
      : 'there is no /dev/fuse'
const folder = mkdtempSync(join(tmpdir(), 'mica-tour-test-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const env = { ...process.env, TMPDIR: folder, XDG_CACHE_HOME: join(folder, 'cache') }

function left(): string[] {
  const names = readdirSync(folder).filter((name) => name !== 'cache')
  return [...names, ...readMounts().flatMap((m) => (m.mountpoint.startsWith(folder) ? [m.mountpoint] : []))]
}

t.test('the tour shows what became of everything, plainly where there is no terminal', async (t) => {
  if (reason !== undefined) return void t.pass('skipped', { skip: reason })
  for (const round of ['first', 'cached']) {
    const { status, stdout, stderr } = spawnSync(process.execPath, [TOUR, '--host'], {
      encoding: 'utf8',
      env,
    })
    t.equal(stderr, '', round)
    t.equal(status, 0)
    t.notMatch(stdout, '\u001b', 'no colours')
    t.match(stdout, /\$ cat \/etc\/motd\n {4}Welcome to the app layer\.\n/)
    t.match(stdout, /config\.json +whiteout: deleted here\n/)
    t.match(stdout, /service +directory, the renamed \/opt\/app\n/)
    t.match(stdout, /new\.txt +file, 18 bytes\n/)
    t.equal(stdout.match(/^ {2}unchanged /gm)?.length, 3, 'three layers are unchanged')
    t.match(stdout, /^All well, in \d+\.\d s\.$/m)
    t.same(left(), [], 'nothing is left')
  }
})

t.test('an interrupted tour leaves nothing', async (t) => {
  if (reason !== undefined) return void t.pass('skipped', { skip: reason })
  const tour = spawn(process.execPath, [TOUR, '--host'], { env, stdio: ['ignore', 'pipe', 'ignore'] })
  const ended = new Promise((resolve) => tour.on('exit', resolve))
  tour.stdout.on('data', (text: Buffer) => {
    if (text.includes('mica mount')) tour.kill('SIGTERM')
  })
  t.equal(await ended, 143)
  t.same(left(), [])
})

t.test('the tour refuses what it does not know', async (t) => {
  const { status, stderr } = spawnSync(process.execPath, [TOUR, '--frobnicate'], { encoding: 'utf8', env })
  if (reason !== undefined) return void t.pass('skipped', { skip: reason })
  t.equal(status, 1)
  t.equal(stderr, 'mica: tour: unknown option --frobnicate; there are --debootstrap and --host\n')
})
