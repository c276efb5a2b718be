// The suites of unions, by their own tests, with an index of the lowers: what holds without holds with it.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../support/package-root.js'

const SUITES = [
  ...['copy-up', 'dialects', 'directories', 'kernel-view', 'links'],
  ...['open-files', 'rename', 'whiteouts', 'xattrs'],
]

const skip =
  (process.getuid?.() !== 0 || !existsSync('/dev/fuse')) && 'mounting these layers needs root and /dev/fuse'
t.setTimeout(0)

for (const suite of SUITES) {
  t.test(`${suite} with an index`, { skip }, async (t) => {
    const dir = mkdtempSync(join(tmpdir(), 'mica-index-'))
    t.teardown(() => rmSync(dir, { recursive: true }))
    const file = join(packageRoot, `dist/test/mount/${suite}.test.js`)
    const child = spawn(process.execPath, [file], {
      env: { ...process.env, MICA_TEST_DRIVER: `--workers 1 --index ${dir}` },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let output = ''
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk
    })
    const [status] = await once(child, 'close')
    const failed = output.split('\n').filter((line) => /^\s*not ok/.test(line))
    t.ok(/^ok 1 - .* on mica .*--index/m.test(output) || status !== 0, 'it ran')
    t.ok(
      readdirSync(dir).some((name) => name.endsWith('.stack')),
      'with an index',
    )
    t.strictSame([status, failed], [0, []])
  })
}
