// The suites of unions, by their own tests, over rings: what holds over the device holds here.
// MICA_TEST_DRIVER says how the children mount.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { holdUring, noUring } from '../support/enable-uring.js'
import { packageRoot } from '../support/package-root.js'

const SUITES = [
  ...['copy-up', 'dialects', 'directories', 'kernel-view', 'links'],
  ...['mounting', 'open-files', 'rename', 'whiteouts', 'xattrs'],
]

const skip = noUring()
if (skip === false) t.teardown(holdUring())
t.setTimeout(0)

for (const suite of SUITES) {
  t.test(`${suite} over rings`, { skip }, async (t) => {
    const file = join(packageRoot, `dist/test/mount/${suite}.test.js`)
    t.ok(existsSync(file))
    const child = spawn(process.execPath, [file], {
      env: { ...process.env, MICA_TEST_DRIVER: '--transport io-uring --workers 2' },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let output = ''
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk
    })
    const [status] = await once(child, 'close')
    const failed = output.split('\n').filter((line) => /^\s*not ok/.test(line))
    t.ok(/^ok 1 - .* on mica --transport io-uring/m.test(output) || status !== 0, 'it ran')
    t.strictSame([status, failed], [0, []])
  })
}
