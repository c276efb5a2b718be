// mkdir -p, also where Node's own has no end. In processes of their own, which can be ended.

import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { makePath } from '../../src/base/make-path.js'
import { packageRoot } from '../support/package-root.js'
import { removedAtEnd } from '../support/temporary.js'

const dir = removedAtEnd(mkdtempSync(join(tmpdir(), 'mica-make-path-')))

t.test('directories that are missing are made, each with the mode', async (t) => {
  makePath(join(dir, 'a/b/c'), 0o700)
  for (const path of ['a', 'a/b', 'a/b/c']) t.equal(statSync(join(dir, path)).mode & 0o7777, 0o700)
  makePath(join(dir, 'a/b/c'))
  mkdirSync(join(dir, 'real'))
  symlinkSync('real', join(dir, 'link'))
  makePath(join(dir, 'link/d'))
  t.ok(statSync(join(dir, 'real/d')).isDirectory())
})

t.test('what is in the way is said', async (t) => {
  writeFileSync(join(dir, 'file'), '')
  t.throws(() => makePath(join(dir, 'file')), { code: 'EEXIST' })
  t.throws(() => makePath(join(dir, 'file/below')), { code: 'ENOTDIR' })
})

t.test('a place that takes no directory ends it', async (t) => {
  const path = join(packageRoot, 'dist/src/base/make-path.js')
  const script = `import { makePath } from ${JSON.stringify(path)}
    try { makePath('/proc/nothing/below') } catch (error) { console.log(error.code) }`
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    timeout: 20_000,
  })
  t.equal(stdout, 'ENOENT\n')
})
