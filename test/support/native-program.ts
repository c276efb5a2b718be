// Builds the C++ helper programs of the tests at their first use. They lie where caches of tools lie, as
// build/ and dist/ are cleared by those who own them.
// The name of a program holds a fingerprint of its sources, so a stale one is never run.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from 'node:fs'
import { basename, join } from 'node:path'
import { packageRoot } from './package-root.js'

const cache = join(packageRoot, 'node_modules/.cache/micafs-test')
const flags = ['-std=c++17', '-O1', '-Wall', '-Wextra', '-D_GNU_SOURCE', '-D_FILE_OFFSET_BITS=64', '-pthread']

/** Returns the path of the program made from the C++ files of a source folder (relative to the package). */
export function nativeProgram(folder: string): string {
  const source = join(packageRoot, folder)
  const files = readdirSync(source).filter((name) => /\.(cc|h)$/.test(name))
  const hash = createHash('sha256').update(flags.join())
  for (const name of files.sort()) hash.update(name).update(readFileSync(join(source, name)))
  const target = join(cache, `${basename(folder)}-${hash.digest('hex').slice(0, 12)}`)
  if (existsSync(target)) return target
  mkdirSync(cache, { recursive: true })
  const compiler = process.env.CXX ?? 'g++'
  const partial = `${target}.${process.pid}`
  const sources = files.filter((name) => name.endsWith('.cc')).map((name) => join(source, name))
  execFileSync(compiler, [...flags, '-o', partial, ...sources], { stdio: ['ignore', 'ignore', 'inherit'] })
  renameSync(partial, target)
  return target
}
