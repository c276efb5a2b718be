// A sample image for the tour, made without a network: the host's own shell, coreutils and Node with the
// libraries that they load, as three layers that delete from each other. Cached, as an image would be.

import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  constants,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { homedir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { VERSION } from '../mount/version.js'

export type SampleImage = {
  readonly name: string
  /** Top first. */
  readonly layers: readonly string[]
  readonly wasCached: boolean
}

const PROGRAMS = [
  ...[
    'sh',
    'cat',
    'chmod',
    'cp',
    'cut',
    'date',
    'du',
    'env',
    'false',
    'head',
    'id',
    'ln',
    'ls',
    'mkdir',
    'mv',
  ],
  ...[
    'printf',
    'rm',
    'rmdir',
    'sha256sum',
    'sleep',
    'sort',
    'stat',
    'tail',
    'touch',
    'tr',
    'true',
    'uname',
    'wc',
  ],
  ...['bash', 'find', 'grep', 'sed', 'tar'],
]
const NEEDED = ['sh', 'cat', 'ls', 'mv', 'rm', 'mkdir', 'head', 'wc']
/** Names at the root that are links into /usr on today's distributions. */
const USR_LINKS = ['bin', 'sbin', 'lib', 'lib32', 'lib64', 'libx32']
const SEARCH = ['/usr/bin', '/bin', '/usr/sbin', '/sbin', '/usr/local/bin']

/** Returns the directory that samples are kept in; made if need be. */
export function cacheDir(): string {
  const base = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache')
  const dir = join(base, 'mica')
  mkdirSync(dir, { recursive: true })
  return dir
}

/** Returns the absolute paths of the libraries (and the loader) that a program loads; none for a static one. */
function librariesOf(program: string): string[] {
  const { stdout } = spawnSync('ldd', [program], { encoding: 'utf8' })
  return [...(stdout ?? '').matchAll(/(?:=>\s+)?(\/\S+)\s+\(0x/g)].map(([, path]) => path!)
}

/** Copies a host file to the same place in a layer, with links on the way to it resolved. */
function copyIn(layer: string, path: string, mode?: number): void {
  const target = join(layer, realpathSync(dirname(path)), basename(path))
  if (existsSync(target)) return
  mkdirSync(dirname(target), { recursive: true })
  copyFileSync(realpathSync(path), target, constants.COPYFILE_FICLONE)
  if (mode !== undefined) chmodSync(target, mode)
}

function copyProgram(layer: string, path: string): void {
  copyIn(layer, path, 0o755)
  for (const library of librariesOf(realpathSync(path))) copyIn(layer, library)
}

function findProgram(name: string): string | undefined {
  return SEARCH.map((dir) => join(dir, name)).find((path) => existsSync(path))
}

function put(layer: string, path: string, text: string): void {
  mkdirSync(dirname(join(layer, path)), { recursive: true })
  writeFileSync(join(layer, path), text)
}

/** Marks a name as deleted: the kernel's form where device nodes can be made, AUFS's `.wh.` else. */
export function putWhiteout(layer: string, path: string): void {
  const target = join(layer, path)
  mkdirSync(dirname(target), { recursive: true })
  const { status } = spawnSync('mknod', [target, 'c', '0', '0'], { stdio: 'ignore' })
  if (status !== 0) writeFileSync(join(dirname(target), `.wh.${basename(target)}`), '')
}

function composeBase(layer: string): void {
  for (const name of ['proc', 'sys', 'dev', 'etc', 'root', 'tmp', 'var/log', 'usr']) {
    mkdirSync(join(layer, name), { recursive: true })
  }
  chmodSync(join(layer, 'tmp'), 0o1777)
  for (const name of USR_LINKS) {
    const host = `/${name}`
    if (lstatSync(host, { throwIfNoEntry: false })?.isSymbolicLink() !== true) continue
    symlinkSync(readlinkSync(host).replace(/^\//, ''), join(layer, name))
    mkdirSync(join(layer, realpathSync(host)), { recursive: true })
  }
  for (const name of PROGRAMS) {
    const path = findProgram(name)
    if (path !== undefined) copyProgram(layer, path)
    else if (NEEDED.includes(name))
      throw new Error(`the sample image needs ${name}, which this machine has not`)
  }
  put(layer, 'etc/passwd', 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n')
  put(layer, 'etc/group', 'root:x:0:\nnogroup:x:65534:\n')
  put(layer, 'etc/os-release', 'ID=mica-sample\nPRETTY_NAME="Mica sample image"\n')
  put(layer, 'etc/motd', 'Welcome to the base layer.\n')
  put(layer, 'usr/share/doc/base/README', 'This file is in the base layer only.\n')
  put(layer, 'usr/share/doc/base/COPYING', 'Deleted by the second layer.\n')
  put(layer, 'var/log/install.log', 'Deleted by the second layer, too.\n')
}

function composeRuntime(layer: string): void {
  const node = realpathSync(process.execPath)
  mkdirSync(join(layer, 'usr/bin'), { recursive: true })
  copyFileSync(node, join(layer, 'usr/bin/node'), constants.COPYFILE_FICLONE)
  chmodSync(join(layer, 'usr/bin/node'), 0o755)
  for (const library of librariesOf(node)) copyIn(layer, library)
  put(layer, 'etc/motd', 'Welcome to the runtime layer.\n')
  putWhiteout(layer, 'usr/share/doc/base/COPYING')
  putWhiteout(layer, 'var/log/install.log')
}

const SERVER = `const { readFileSync } = require('node:fs')
console.log('node ' + process.version + ' in the image says: ' + readFileSync('/etc/motd', 'utf8').trim())
`

function composeApp(layer: string): void {
  put(layer, 'opt/app/server.js', SERVER)
  put(layer, 'opt/app/config.json', '{ "port": 8080 }\n')
  for (let at = 1; at <= 100; at++) put(layer, `opt/app/pages/${at}.html`, `<p>Page ${at}</p>\n`)
  put(layer, 'etc/motd', 'Welcome to the app layer.\n')
}

/** Returns a directory made by `make`, from the cache when it is there whole. */
function cached(name: string, make: (dir: string) => void): { dir: string; wasCached: boolean } {
  const dir = join(cacheDir(), name)
  if (existsSync(dir)) return { dir, wasCached: true }
  const draft = `${dir}.${process.pid}`
  try {
    mkdirSync(draft)
    make(draft)
    renameSync(draft, dir)
  } catch (error) {
    rmSync(draft, { recursive: true, force: true })
    if (!existsSync(dir)) throw error
  }
  return { dir, wasCached: false }
}

/** Returns the sample made of the host's programs. */
export function hostSample(): SampleImage {
  const owner = process.getuid!() === 0 ? 'root' : 'user'
  const { dir, wasCached } = cached(`sample-${VERSION}-${process.version}-${owner}`, (draft) => {
    const layers = { base: composeBase, runtime: composeRuntime, app: composeApp }
    for (const [name, compose] of Object.entries(layers)) {
      mkdirSync(join(draft, name))
      compose(join(draft, name))
    }
  })
  const layers = ['app', 'runtime', 'base'].map((name) => join(dir, name))
  return { name: 'the host’s shell, coreutils and Node', layers, wasCached }
}

/** Returns where a Debian root is, or would be. */
export function debianDir(): string {
  return join(cacheDir(), 'debian-minbase')
}

/** Returns a Debian root made by debootstrap (which needs root and a network the first time). */
export function debianSample(): SampleImage {
  const { dir, wasCached } = cached(basename(debianDir()), (draft) => {
    const root = join(draft, 'root')
    const mirror = process.env.MICA_DEBIAN_MIRROR
    const suite = process.env.MICA_DEBIAN_SUITE ?? 'stable'
    const args = ['--variant=minbase', suite, root, ...(mirror === undefined ? [] : [mirror])]
    const { status, error, stderr, stdout } = spawnSync('debootstrap', args, { encoding: 'utf8' })
    if (error !== undefined)
      throw new Error('debootstrap is not installed; on Debian: apt-get install debootstrap')
    if (status !== 0) {
      const last = (stderr || stdout).trim().split('\n').at(-1) ?? ''
      throw new Error(`debootstrap ended with ${status}: ${last}`)
    }
    const app = join(draft, 'app')
    mkdirSync(app)
    composeApp(app)
    putWhiteout(app, 'usr/share/doc/base-files')
  })
  const layers = ['app', 'root'].map((name) => join(dir, name))
  return { name: 'Debian, made by debootstrap', layers, wasCached }
}
