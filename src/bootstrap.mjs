// What stands behind `npm start`, `npm test`, `npm run build` and `npm run bench`: brings a clone up to
// date (dependencies, native addon, TypeScript), then runs the thing. Plain JavaScript with nothing but
// Node's own modules, as it runs before anything is installed or built.
//
// Each step leaves a fingerprint of what it was made from, so that a step with nothing to do costs a
// few milliseconds and says nothing. A failing tool's output is shown whole.

import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { delimiter, dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const OLDEST_NODE = 20

/** Ends the program with one line that says what is wrong and what to do. */
function fail(message, status = 1) {
  process.stderr.write(`mica: ${message}\n`)
  process.exit(status)
}

function note(message) {
  process.stderr.write(`mica: ${message}\n`)
}

/** Returns where a program is in PATH, undefined when it is nowhere. */
function findProgram(name) {
  for (const dir of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(dir, name)
    try {
      accessSync(path, constants.X_OK)
      if (statSync(path).isFile()) return path
    } catch {
      // Not in this directory.
    }
  }
  return undefined
}

function checkHost() {
  if (process.platform !== 'linux') fail(`Linux is needed; this is ${process.platform}`)
  const major = Number(process.versions.node.split('.')[0])
  if (major < OLDEST_NODE) fail(`Node ${OLDEST_NODE} or newer is needed; this is ${process.versions.node}`)
}

function checkCompiler() {
  const compiler = process.env.CXX?.split(' ')[0]
  if (compiler === undefined && !findProgram('c++') && !findProgram('g++')) {
    fail('a C++ compiler is needed; on Debian: apt-get install g++ make')
  }
  if (!findProgram('make')) fail('make is needed; on Debian: apt-get install make')
  if (!findProgram('python3') && !process.env.PYTHON) {
    fail('python3 is needed to build the native part; on Debian: apt-get install python3')
  }
}

/** Returns all files below these paths (relative to the root), in a fixed order. */
function filesOf(paths) {
  const files = []
  const walk = (path) => {
    const stat = statSync(join(root, path), { throwIfNoEntry: false })
    if (stat?.isDirectory()) for (const name of readdirSync(join(root, path)).sort()) walk(join(path, name))
    else if (stat?.isFile()) files.push([path, stat])
  }
  for (const path of paths) walk(path)
  return files
}

/** Returns a text that changes whenever a file below these paths is added, removed or changed. */
function fingerprint(paths, more = '') {
  const hash = createHash('sha1').update(more)
  for (const [path, stat] of filesOf(paths)) hash.update(`${path} ${stat.mtimeMs} ${stat.size}\n`)
  return hash.digest('hex')
}

function mtime(path) {
  return statSync(join(root, path), { throwIfNoEntry: false })?.mtimeMs ?? 0
}

function readStamp(path) {
  try {
    return readFileSync(join(root, path), 'utf8')
  } catch {
    return ''
  }
}

function writeStamp(path, text) {
  mkdirSync(dirname(join(root, path)), { recursive: true })
  writeFileSync(join(root, path), text)
}

/**
 * Runs a tool to its end. When it fails, shows all it said and ends the program; with `canFail` returns false.
 */
function run(what, program, args, canFail = false) {
  const started = Date.now()
  note(`${what} …`)
  const done = spawnSync(program, args, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28 })
  if (done.status === 0) {
    note(`${what}: done in ${((Date.now() - started) / 1000).toFixed(1)} s`)
    return true
  }
  if (canFail) return false
  if (done.error) fail(`${what}: ${done.error.message}`)
  process.stderr.write(done.stdout + done.stderr)
  fail(`${what} failed (${done.signal ?? `exit status ${done.status}`}): ${program} ${args.join(' ')}`)
}

function npm(what, args, canFail) {
  const script = process.env.npm_execpath
  if (script?.endsWith('.js') && existsSync(script)) {
    return run(what, process.execPath, [script, ...args], canFail)
  }
  const program = findProgram('npm') ?? fail('npm is needed; it comes with Node')
  return run(what, program, args, canFail)
}

function installDependencies() {
  const stamp = 'node_modules/.mica-stamp'
  const wanted = createHash('sha1')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex')
  if (readStamp(stamp) === wanted) return
  // Installed by hand after the lock file was written: as good as by us.
  const isInstalled = mtime('node_modules/.package-lock.json') > mtime('package-lock.json')
  // Build scripts of dependencies are not run: the two native parts are built below.
  const options = ['--ignore-scripts', '--no-audit', '--no-fund']
  // `npm ci` refuses a lock file without the packages for other platforms, which some registries lack;
  // `npm install` takes the same locked versions of the others.
  if (!isInstalled && !npm('installing dependencies', ['ci', ...options], true)) {
    npm('installing dependencies by npm install', ['install', '--no-save', ...options])
  }
  writeStamp(stamp, wanted)
}

/** Returns the option that tells node-gyp where Node's headers are, when they need not be downloaded. */
function nodedirOption() {
  const configured = process.env.npm_config_nodedir
  if (configured) return [`--nodedir=${configured}`]
  const prefix = dirname(dirname(process.execPath))
  return existsSync(join(prefix, 'include/node/node_api.h')) ? [`--nodedir=${prefix}`] : []
}

function buildNative() {
  if (!existsSync(join(root, 'binding.gyp'))) return
  const stamp = 'build/.mica-stamp'
  const wanted = fingerprint(['binding.gyp', 'native'], `${process.execPath} ${process.version}`)
  const isBuilt = existsSync(join(root, 'build/Release/mica.node'))
  if (isBuilt && readStamp(stamp) === wanted) return
  checkCompiler()
  const gyp = join(root, 'node_modules/node-gyp/bin/node-gyp.js')
  run('building the native part', process.execPath, [
    gyp,
    'configure',
    'build',
    '--release',
    ...nodedirOption(),
  ])
  writeStamp('build/node-path', `${process.execPath}\n`)
  writeStamp(stamp, wanted)
}

/** Builds the image store's database from its source in node_modules, without any download. */
function buildSqlite() {
  const dir = 'node_modules/better-sqlite3'
  const stamp = `${dir}/build/.mica-stamp`
  const wanted = fingerprint([`${dir}/package.json`], `${process.execPath} ${process.version}`)
  const isBuilt = existsSync(join(root, dir, 'build/Release/better_sqlite3.node'))
  if (!existsSync(join(root, dir)) || (isBuilt && readStamp(stamp) === wanted)) return
  checkCompiler()
  const gyp = join(root, 'node_modules/node-gyp/bin/node-gyp.js')
  const args = ['rebuild', '--release', '-C', join(root, dir), ...nodedirOption()]
  run('building sqlite (a minute or so)', process.execPath, [gyp, ...args])
  writeStamp(stamp, wanted)
}

/** Removes compiled files whose source is gone, so that a deleted test does not run for ever. */
function pruneDist() {
  for (const [path] of filesOf(['dist'])) {
    const base = /^(?!bundle\/)(.*?)\.(js|js\.map|d\.ts)$/.exec(relative('dist', path))?.[1]
    if (base !== undefined && !existsSync(join(root, `${base}.ts`))) rmSync(join(root, path))
  }
}

function buildTypeScript() {
  const stamp = 'dist/.mica-stamp'
  // What a benchmark run leaves in bench/ is no reason to compile.
  const bench = readdirSync(join(root, 'bench')).filter(
    (name) => name.endsWith('.ts') || name === 'questions' || name === 'engines',
  )
  const sources = ['src', 'test', ...bench.map((name) => join('bench', name))]
  const wanted = fingerprint(['tsconfig.json', 'node_modules/.mica-stamp', ...sources])
  if (readStamp(stamp) === wanted) return
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  run('compiling', process.execPath, [tsc, '-p', 'tsconfig.json', '--pretty', 'false'])
  pruneDist()
  writeStamp(stamp, wanted)
}

/** Programs that are started often: each as one file, since Node takes 1 ms and more for every module. */
const BUNDLED = ['daemon-main', 'worker', 'mount-thread', 'unmount-thread']

/** Bundles the daemon where esbuild is installed; bin/ takes the single modules otherwise. */
function bundle() {
  const isCurrent = (name) => mtime(`dist/bundle/${name}.js`) >= mtime('dist/.tsbuildinfo')
  if (!existsSync(join(root, 'node_modules/esbuild'))) return
  if (BUNDLED.every(isCurrent)) return
  rmSync(join(root, 'dist/bundle'), { recursive: true, force: true })
  const options = {
    entryPoints: BUNDLED.map((name) => `dist/src/mount/${name}.js`),
    entryNames: '[name].one',
    outdir: 'dist/bundle',
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    sourcemap: 'external',
    logLevel: 'warning',
    define: { 'import.meta.url': 'moduleUrl' },
    banner: {
      js: "(function (require, file) { const moduleUrl = require('node:url').pathToFileURL(file).href, exports = {}, module = { exports };",
    },
    footer: { js: '})' },
  }
  const program = `import { build } from 'esbuild'; await build(${JSON.stringify(options)})`
  run('bundling', process.execPath, ['--input-type=module', '-e', program])
  const put = (name, text) => writeFileSync(join(root, 'dist/bundle', name), text)
  put('package.json', '{ "type": "commonjs" }\n')
  put('load.js', readFileSync(join(root, 'src/bundle-load.cjs')))
  for (const name of BUNDLED) put(`${name}.js`, `require('./load.js').load('${name}')\n`)
  keepCode()
}

/** Has the bundled programs' code kept; each is started for this as it will be. */
function keepCode() {
  const env = { ...process.env, MICA_KEEP_CODE: '1' }
  for (const name of BUNDLED) {
    const path = `./dist/bundle/${name}.js`
    const thread = `require('./dist/bundle/load.js').setFlags(); new (require('node:worker_threads').Worker)('${path}', { workerData: {} })`
    const args = name !== 'daemon-main' ? ['-e', thread] : [path, '--overlay', '--version']
    spawnSync(process.execPath, args, { cwd: root, env, stdio: 'ignore' })
  }
}

/** Runs the last program in our place: same terminal, its exit status, signals passed on. */
function become(args, env = {}) {
  const child = spawn(process.execPath, args, {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, ...env },
  })
  // The terminal sends Ctrl-C to both; the child decides what it means.
  for (const signal of ['SIGINT', 'SIGQUIT']) process.on(signal, () => {})
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('error', (error) => fail(error.message))
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code ?? 1)
    for (const each of ['SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGHUP']) process.removeAllListeners(each)
    process.kill(process.pid, signal)
  })
}

/** Turns `test/union` or `test/union/lookup.test.ts` into the compiled files; options stay as they are. */
function testFiles(args) {
  const chosen = []
  for (const arg of args) {
    const path = relative(root, join(root, arg)).replace(/\.ts$/, '.js')
    const found = arg.startsWith('-') ? [] : filesOf([join('dist', path)]).map(([file]) => file)
    const tests = found.filter(
      (file) => file.endsWith('.test.js') || (found.length === 1 && file.endsWith('.js')),
    )
    if (tests.length > 0) chosen.push(...tests)
    else if (arg.startsWith('test')) fail(`there is no test ${arg}`)
    else chosen.push(arg)
  }
  return chosen
}

const commands = {
  build: () => {},
  start: (args) => become(['dist/src/cli/tour.js', ...args]),
  test: (args) => become(['node_modules/tap/dist/esm/run.mjs', 'run', ...testFiles(args)]),
  // `engines/podman` and its like start whole container engines and are programs of their own.
  bench: ([first, ...rest]) =>
    first?.startsWith('engines/')
      ? become([`dist/bench/${first}.js`, ...rest])
      : become(['dist/bench/main.js', ...(first === undefined ? [] : [first]), ...rest]),
}

const [command = '', ...args] = process.argv.slice(2)
if (!Object.hasOwn(commands, command))
  fail(`usage: bootstrap.mjs ${Object.keys(commands).join('|')} [ARGUMENTS]`, 2)
checkHost()
process.chdir(root)
installDependencies()
buildNative()
buildSqlite()
buildTypeScript()
bundle()
commands[command](args)
