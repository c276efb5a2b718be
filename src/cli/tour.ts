// `npm start`: a tour of what a mount does, on a sample image. Mounts, works in it, shows from outside
// what became of it, and takes everything away again, whatever happens on the way.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
} from 'node:fs'
import { constants as osConstants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import pc from 'picocolors'
import { detachPath } from '../mount/device.js'
import { FS_TYPE, mountAt } from '../mount/mount-info.js'
import { needUserNamespace } from '../mount/user-namespace.js'
import { readXattr } from '../mount/xattr.js'
import { debianDir, debianSample, hostSample, type SampleImage } from './sample-image.js'
import { hashTree } from './tree-hash.js'

const MICA = fileURLToPath(new URL('../../../bin/mica', import.meta.url))

type Folder = {
  readonly top: string
  readonly upper: string
  readonly work: string
  readonly mountpoint: string
}

function heading(text: string): void {
  process.stdout.write(`\n${pc.bold(pc.cyan(text))}\n`)
}

function line(text: string): void {
  process.stdout.write(`  ${text}\n`)
}

function command(words: string): void {
  line(`${pc.dim('$')} ${pc.bold(words)}`)
}

/** The signal that ends the tour, once there was one, and what it has to end first. */
const interruption: { signal: NodeJS.Signals | undefined; child: ChildProcess | undefined } = {
  signal: undefined,
  child: undefined,
}

/** Runs mica and resolves with its exit status; what it prints goes through `show`. */
async function run(
  args: readonly string[],
  show: (text: string) => void,
): Promise<{ status: number; errors: string }> {
  const child = spawn(MICA, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  interruption.child = child
  let errors = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text
  })
  child.stdout.setEncoding('utf8').on('data', show)
  const status = await new Promise<number>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve(code ?? 1))
  })
  interruption.child = undefined
  if (interruption.signal !== undefined) throw new Error(`interrupted by ${interruption.signal}`)
  return { status, errors: errors.trim() }
}

/** Runs mica; what it prints is shown. Throws when it fails. */
async function mica(args: readonly string[]): Promise<void> {
  let text = ''
  const { status, errors } = await run(args, (part) => {
    text += part
  })
  for (const each of text.trimEnd().split('\n')) if (each !== '') line(`  ${each}`)
  if (status !== 0) throw new Error(errors.replace(/^mica: /, '') || `mica ${args[0]} ended with ${status}`)
}

/** What is done in the image: what it shows, and the command for the image's shell. */
const STEPS: readonly (readonly [title: string, command: string])[] = [
  ['a file that three layers have: the top one counts', 'cat /etc/motd'],
  ['a file of the lowest layer', 'head -n 2 /etc/os-release'],
  [
    'a directory of the lowest layer, without what the layers above deleted',
    'ls /usr/share/doc/base* | head -n 4',
  ],
  ['edit a lower file: it is copied up first', 'echo "Edited in the mount." >> /etc/motd; cat /etc/motd'],
  ['delete a lower file: a whiteout covers it', 'rm /opt/app/config.json; ls /opt/app'],
  ['rename a lower directory: a mark, no copying', 'mv /opt/app /opt/service; ls /opt/service/pages | wc -l'],
  ['a new file', 'echo "born in the upper" > /root/new.txt; ls -l /root/new.txt'],
]

const NODE_STEP = ['run a program from the middle layer', 'node /opt/app/server.js'] as const

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}

/** Returns the shell script for all steps: prints each command, runs it, indents what it says. */
function script(steps: typeof STEPS): string {
  const parts = steps.map(([title, words]) => {
    const shown = `  ${pc.dim(`# ${title}`)}\n  ${pc.dim('$')} ${pc.bold(words)}\n`
    return [
      `printf '%s\\n' ${quote(shown.trimEnd())}`,
      `out=$(set -e; ${words}) || { echo "  that failed" >&2; exit 1; }`,
      `printf '%s\\n' "$out" | while IFS= read -r each; do printf '    %s\\n' "$each"; done`,
    ].join('\n')
  })
  return parts.join('\n')
}

async function workInside(folder: Folder, image: SampleImage): Promise<void> {
  heading('Inside, by mica chroot')
  const hasNode = image.layers.some((layer) => existsSync(join(layer, 'usr/bin/node')))
  const steps = hasNode ? [...STEPS.slice(0, 3), NODE_STEP, ...STEPS.slice(3)] : STEPS
  const args = ['chroot', folder.mountpoint, '/bin/sh', '-c', script(steps)]
  const { status, errors } = await run(args, (text) => process.stdout.write(text))
  if (errors !== '') process.stderr.write(`${errors}\n`)
  if (status !== 0) throw new Error(`the commands in the image ended with ${status}`)
}

/** Returns the path in the lowers that a renamed directory of the upper stands for, undefined for others. */
function redirectOf(path: string): string | undefined {
  for (const name of ['trusted.overlay.redirect', 'user.overlay.redirect']) {
    const value = readXattr(path, name)
    if (value !== undefined) return value.toString()
  }
  return undefined
}

/** Returns in words what an entry of the upper means. */
function meaning(path: string): string {
  const stat = lstatSync(path)
  if (stat.isCharacterDevice() && stat.rdev === 0) return pc.red('whiteout: deleted here')
  if (path.split('/').at(-1)!.startsWith('.wh.')) return pc.red('whiteout: deleted here')
  if (stat.isDirectory()) {
    const from = redirectOf(path)
    return from === undefined ? pc.dim('directory') : pc.yellow(`directory, the renamed ${from}`)
  }
  return pc.green(`file, ${stat.size} bytes`)
}

function showUpper(upper: string): number {
  let count = 0
  const walk = (path: string, depth: number): void => {
    for (const name of readdirSync(path).sort()) {
      const child = join(path, name)
      count++
      line(`${'  '.repeat(depth)}${name.padEnd(Math.max(2, 28 - 2 * depth))} ${meaning(child)}`)
      if (lstatSync(child).isDirectory()) walk(child, depth + 1)
    }
  }
  walk(upper, 0)
  return count
}

function chooseImage(args: readonly string[]): SampleImage {
  const unknown = args.find((arg) => !['--debootstrap', '--host'].includes(arg))
  if (unknown !== undefined) throw new Error(`unknown option ${unknown}; there are --debootstrap and --host`)
  const isDebian = args.includes('--debootstrap') || (existsSync(debianDir()) && !args.includes('--host'))
  return isDebian ? debianSample() : hostSample()
}

function makeFolder(): Folder {
  const top = realpathSync(mkdtempSync(join(tmpdir(), 'mica-tour-')))
  const folder = { top, upper: join(top, 'upper'), work: join(top, 'work'), mountpoint: join(top, 'rootfs') }
  for (const path of [folder.upper, folder.work, folder.mountpoint]) mkdirSync(path)
  return folder
}

/** Leaves nothing behind. */
function cleanUp(folder: Folder): void {
  if (mountAt(folder.mountpoint)?.type === FS_TYPE) {
    spawnSync(MICA, ['umount', folder.mountpoint], { stdio: 'ignore' })
    if (mountAt(folder.mountpoint)?.type === FS_TYPE) detachPath(folder.mountpoint)
  }
  rmSync(folder.top, { recursive: true, force: true })
}

async function tour(image: SampleImage, folder: Folder): Promise<void> {
  heading(`An image of ${image.layers.length} read-only layers, top first (${image.name})`)
  const before = image.layers.map(hashTree)
  image.layers.forEach((layer, at) => {
    const { entries, bytes } = before[at]!
    line(`${layer}  ${pc.dim(`${entries} entries, ${(bytes / 1e6).toFixed(1)} MB`)}`)
  })

  heading('Mount them under a writable upper')
  const lowers = image.layers.flatMap((layer) => ['--lower', layer])
  const args = ['mount', ...lowers, '--upper', folder.upper, '--work', folder.work, folder.mountpoint]
  command(
    `mica mount ${image.layers.map((layer) => `--lower …/${layer.split('/').at(-1)}`).join(' ')} --upper … --work … ${folder.mountpoint}`,
  )
  const started = process.hrtime.bigint()
  await mica(args)
  line(`  live after ${Number((process.hrtime.bigint() - started) / 1_000_000n)} ms`)
  command('mica ls')
  await mica(['ls'])

  await workInside(folder, image)

  heading('Outside: what landed in the upper')
  const count = showUpper(folder.upper)
  if (count === 0) throw new Error('nothing landed in the upper')

  heading('Unmount, and compare the layers with what they were')
  command(`mica umount ${folder.mountpoint}`)
  await mica(['umount', folder.mountpoint])
  image.layers.forEach((layer, at) => {
    const after = hashTree(layer)
    if (after.digest !== before[at]!.digest) throw new Error(`the layer ${layer} has changed`)
    line(`${pc.green('unchanged')}  ${layer}  ${pc.dim(`sha256 ${after.digest.slice(0, 16)}…`)}`)
  })
  const motd = readFileSync(join(folder.upper, 'etc/motd'), 'utf8')
  if (!motd.includes('Edited in the mount.')) throw new Error('the edit did not reach the upper')
}

try {
  // An ordinary user takes the tour as root of a user namespace.
  needUserNamespace()
} catch (error) {
  process.stderr.write(`mica: tour: ${(error as Error).message}\n`)
  process.exit(1)
}
const started = Date.now()
let folder: Folder | undefined
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    interruption.signal = signal
    interruption.child?.kill('SIGTERM')
  })
}
try {
  const image = chooseImage(process.argv.slice(2))
  folder = makeFolder()
  await tour(image, folder)
  process.stdout.write(`\n${pc.green('All well')}, in ${((Date.now() - started) / 1000).toFixed(1)} s.\n`)
  const shown = image.layers.map((layer) => `--lower ${layer}`).join(' ')
  process.stdout.write(`Try it yourself: mkdir u w m; ${MICA} mount ${shown} --upper u --work w m\n`)
} catch (error) {
  process.stderr.write(`mica: tour: ${(error as Error).message}\n`)
  process.exitCode = interruption.signal === undefined ? 1 : 128 + osConstants.signals[interruption.signal]
} finally {
  if (folder !== undefined) cleanUp(folder)
}
