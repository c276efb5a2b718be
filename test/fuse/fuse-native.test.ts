// The transport over the npm package fuse-native: the suites of unions pass over it, apart from what its
// interface can't say (support/fuse-native-gaps.ts), and what it does about that.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import t from 'tap'
import { micaDriver, mountsBelow } from '../support/driver.js'
import { Fixture } from '../support/fixture.js'
import { packageRoot } from '../support/package-root.js'
import { Syscalls } from '../support/syscalls.js'
import { dir } from '../support/tree.js'

/** Those that take long and say nothing of a transport are left out: dialects, kernel-view. */
const SUITES = ['copy-up', 'directories', 'links', 'mounting', 'open-files', 'rename', 'whiteouts', 'xattrs']
const O_CREAT = 0o100
const O_RDWR = 2

function reasonToSkip(): string | false {
  if (process.getuid?.() !== 0) return 'mounting these layers needs root'
  if (!existsSync('/dev/fuse')) return 'there is no /dev/fuse'
  try {
    createRequire(import.meta.url)('fuse-native')
    return false
  } catch (error) {
    return `fuse-native does not load: ${(error as Error).message.split('\n')[0]}`
  }
}

const skip = reasonToSkip()
t.setTimeout(0)

for (const suite of SUITES) {
  t.test(`${suite} over fuse-native`, { skip }, async (t) => {
    const file = join(packageRoot, `dist/test/mount/${suite}.test.js`)
    const child = spawn(process.execPath, [file], {
      env: { ...process.env, MICA_TEST_DRIVER: '--transport fuse-native' },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let output = ''
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk
    })
    const [status] = await once(child, 'close')
    const failed = output.split('\n').filter((line) => /^\s*not ok/.test(line))
    t.ok(/^ok 1 - .* on mica --transport fuse-native/m.test(output) || status !== 0, 'it ran')
    t.strictSame([status, failed], [0, []])
  })
}

t.test('what the interface loses does no harm', { skip }, async (t) => {
  const root = new Syscalls()
  const user = new Syscalls(1000)
  const layers = { lowers: [{ d: dir({}, { mode: 0o1777 }) }], upper: {} }
  const fixture = new Fixture(micaDriver('--transport', 'fuse-native'), layers, root)
  try {
    const before = fixture.lowerSnapshots()
    fixture.mount()
    const at = (name: string) => join(fixture.path, name)
    t.test('an ordinary user makes no set-user-id file of the server', (t) => {
      user.close(user.open(at('d/own'), O_CREAT | O_RDWR, 0o4755))
      user.mkdir(at('d/sub'))
      t.equal(root.lstat(at('d/own')).mode, 0o755)
      t.end()
    })
    t.test('a name that is no UTF-8 is refused, not stored under another', (t) => {
      t.equal(root.errno('open', at('caf\udce9'), O_CREAT | O_RDWR, 0o644), 'EILSEQ')
      t.strictSame(root.list(fixture.path), ['d'])
      t.end()
    })
    t.strictSame(fixture.lowerSnapshots(), before, 'the lowers are what they were')
  } finally {
    fixture.finish()
    for (const process of [root, user]) process.stop()
  }
  t.strictSame(mountsBelow(fixture.folder), [], 'nothing is left mounted')
})
