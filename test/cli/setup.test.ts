// `mica setup`, in a mount namespace of its own where the switch and /etc are stand-ins: the machine's own
// switch is never touched.

import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { packageRoot } from '../support/package-root.js'

const main = join(packageRoot, 'dist/src/cli/main.js')

function reasonToSkip(): string | false {
  if (process.getuid?.() !== 0) return 'a mount namespace needs root'
  if (!existsSync('/sys/module/fuse')) return 'there is no /sys/module/fuse to stand in for'
  return spawnSync('unshare', ['-m', 'true']).status !== 0 && 'unshare -m is refused'
}

const skip = reasonToSkip()

/** `value`: of the switch; undefined: the kernel has none. */
function machine(t: Test, value: string | undefined, isModule: boolean) {
  const folder = mkdtempSync(join(tmpdir(), 'mica-setup-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  for (const name of ['fuse/parameters', 'etc']) mkdirSync(join(folder, name), { recursive: true })
  const at = (name: string) => join(folder, name)
  if (value !== undefined) writeFileSync(at('fuse/parameters/enable_uring'), value)
  if (isModule) writeFileSync(at('fuse/initstate'), 'live\n')
  const script = `mount --bind ${at('fuse')} /sys/module/fuse && mount --bind ${at('etc')} /etc && exec "$@"`
  return {
    value: () => readFileSync(at('fuse/parameters/enable_uring'), 'latin1'),
    bootFile: at('etc/modprobe.d/mica.conf'),
    setup(...args: string[]) {
      const command = ['-m', 'sh', '-c', script, 'sh', process.execPath, main, 'setup', ...args]
      // Files below /etc that the environment names are not there.
      const env = { PATH: process.env.PATH }
      const { status, stdout, stderr } = spawnSync('unshare', command, { encoding: 'utf8', env })
      return { status, stdout, stderr }
    },
  }
}

t.test('it is switched on, kept, shown and switched off', { skip }, (t) => {
  const m = machine(t, 'N', true)
  t.match(m.setup(), {
    status: 0,
    stdout: /switched on {6}off\n {2}kept at boot {5}no\n[\s\S]*As root: mica setup/,
  })
  t.equal(m.value(), 'N', 'looking changes nothing')
  t.match(m.setup('--enable-uring'), {
    status: 0,
    stdout: /is on; [\s\S]*--at-boot, which writes \/etc\/mod[\s\S]*--undo/,
  })
  t.equal(m.value(), 'Y')
  t.notOk(existsSync(m.bootFile))
  t.match(m.setup('--enable-uring', '--at-boot'), { status: 0, stdout: /mica\.conf keeps it on/ })
  t.match(readFileSync(m.bootFile, 'latin1'), /^options fuse enable_uring=1$/m)
  t.match(m.setup(), {
    status: 0,
    stdout: /switched on {6}on\n {2}kept at boot {5}by \/etc\/modprobe.d\/mica.conf/,
  })
  t.match(m.setup('--enable-uring', '--undo'), { status: 0, stdout: /is off, and .*mica\.conf is gone/ })
  t.equal(m.value(), 'N')
  t.notOk(existsSync(m.bootFile))
  t.end()
})

t.test('a file that others have changed is left alone', { skip }, (t) => {
  const m = machine(t, 'Y', true)
  mkdirSync(join(m.bootFile, '..'))
  writeFileSync(m.bootFile, 'options fuse max_user_bgreq=9\n')
  t.equal(m.setup('--enable-uring', '--undo').status, 0)
  t.equal(readFileSync(m.bootFile, 'latin1'), 'options fuse max_user_bgreq=9\n')
  t.end()
})

t.test('what can not be is said with the way out', { skip }, (t) => {
  const builtIn = machine(t, 'N', false)
  t.match(builtIn.setup('--enable-uring'), {
    status: 0,
    stdout: /boot with the kernel parameter fuse.enable_uring=1/,
  })
  t.strictSame(builtIn.setup('--enable-uring', '--at-boot'), {
    status: 1,
    stdout: '',
    stderr: 'mica: setup: FUSE is built into this kernel: it stays on when booted with fuse.enable_uring=1\n',
  })
  const old = machine(t, undefined, true)
  t.match(old.setup(), {
    status: 0,
    stdout: /not in this kernel\n {2}not to be had {4}this kernel has no FUSE over/,
  })
  t.match(old.setup('--enable-uring'), {
    status: 1,
    stderr: /^mica: setup: this kernel has no FUSE over io_uring; Li/,
  })
  for (const args of [
    ['--undo'],
    ['--at-boot'],
    ['--enable-uring', '--undo', '--at-boot'],
    ['--frobnicate'],
  ]) {
    const { status, stderr } = builtIn.setup(...args)
    t.equal(status, 2, args.join(' '))
    t.match(stderr, /^mica: setup: .*\n$/)
  }
  t.end()
})

t.test('an ordinary user may look, and is told who may switch', { skip }, (t) => {
  const asUser = (...args: string[]) =>
    // Without what the test runner puts into Node's options: it writes where this user may not.
    spawnSync('env', ['-i', `PATH=${process.env.PATH}`, process.execPath, main, 'setup', ...args], {
      uid: 65534,
      gid: 65534,
      encoding: 'utf8',
    })
  t.equal(asUser().status, 0)
  t.match(asUser('--enable-uring'), {
    status: 1,
    stderr: /no permission to write .*; run as root\n$|no FUSE over/,
  })
  t.end()
})

t.test('nothing of it is left on this machine', { skip }, (t) => {
  t.notMatch(execFileSync('cat', ['/proc/self/mountinfo'], { encoding: 'utf8' }), /mica-setup-/)
  t.end()
})
