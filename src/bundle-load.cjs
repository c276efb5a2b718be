// Runs a program of dist/bundle: one file, with the code that V8 made of it when it was built (bootstrap.mjs).
// Compiling is a good part of what starting takes, for each process and each thread anew. Code of another Node
// is not taken, and does no harm.
//
// load(NAME) runs it; with MICA_KEEP_CODE set its code is kept then, and the program goes no further.

'use strict'

const { readFileSync, writeFileSync } = require('node:fs')
const { join } = require('node:path')
const { Script } = require('node:vm')

function readCode(path) {
  try {
    return readFileSync(path)
  } catch {
    return undefined
  }
}

module.exports = function load(name) {
  const file = join(__dirname, `${name}.one.js`)
  const code = join(__dirname, `${name}.code`)
  const isKept = process.env.MICA_KEEP_CODE !== undefined
  const script = new Script(readFileSync(file, 'utf8'), {
    filename: file,
    cachedData: isKept ? undefined : readCode(code),
  })
  try {
    script.runInThisContext()(require, file)
  } catch (error) {
    if (!isKept) throw error
  }
  if (!isKept) return
  writeFileSync(code, script.createCachedData())
  process.exit(0)
}
