// Runs a program of dist/bundle: one file, with the code that V8 made of it when it was built (bootstrap.mjs).
// Compiling is a good part of what starting takes, for each process and each thread anew. Code of another Node
// is not taken, and does no harm.
//
// load(NAME) runs it; with MICA_KEEP_CODE set its code is kept then, of all its functions, and the program goes
// no further.

'use strict'

const { readFileSync, writeFileSync } = require('node:fs')
const { join } = require('node:path')
const { setFlagsFromString } = require('node:v8')
const { Script } = require('node:vm')
const { isMainThread } = require('node:worker_threads')

/**
 * For the whole process, before any code is taken: what was made under other flags is not.
 *
 * Workers answer from their first moment on, and compile their code meanwhile on the CPUs that their callers
 * want. Later and without copies of one function in another that is half as much work, and the code no
 * slower. Node 22 compiles quickly by itself. A server's threads collect garbage when they have time for it.
 */
function setFlags() {
  setFlagsFromString('--expose-gc')
  if (Number(process.versions.node.split('.')[0]) >= 22) return
  setFlagsFromString('--interrupt-budget=200000')
  setFlagsFromString('--no-turbo-inlining')
}

function readCode(path) {
  try {
    return readFileSync(path)
  } catch {
    return undefined
  }
}

function load(name) {
  const file = join(__dirname, `${name}.one.js`)
  const code = join(__dirname, `${name}.code`)
  const isKept = process.env.MICA_KEEP_CODE !== undefined
  if (isMainThread) setFlags()
  if (isKept) setFlagsFromString('--no-lazy')
  const script = new Script(readFileSync(file, 'utf8'), {
    filename: file,
    cachedData: isKept ? undefined : readCode(code),
  })
  if (isKept) setFlagsFromString('--lazy')
  try {
    script.runInThisContext()(require, file)
  } catch (error) {
    if (!isKept) throw error
  }
  if (!isKept) return
  writeFileSync(code, script.createCachedData())
  process.exit(0)
}

module.exports = { load, setFlags }
