// Every system call of every verb fails once, with several errors: the union must show either what it
// showed before or the finished change, live and after a remount, and leave nothing behind.

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { errnoName } from '../../src/base/errno.js'
import { dir, dump, fifo, file, link, opaque, symlink, type Tree, temporaryFolder } from './disk.js'
import { Faults } from './faults.js'
import { makeFolders, Rig, view } from './rig.js'

const isRoot = process.getuid?.() === 0
const EIO = 5
const EMFILE = 24
const ENOSPC = 28
/** Calls that need room on the disk, or a new fd. */
const WRITING = /^(create|tmpfile|mkdir|mknod|symlink|link|rename|setXattr|write|copyData)/
const OPENING = /^(open|create|tmpfile)/

const lower: Tree = {
  file: file('lower file', { 'user.a': '1', 'trusted.b': '2' }, 0o4755),
  other: 'other file',
  sym: symlink('file'),
  pipe: fifo,
  deep: { er: { file: 'deep file', link: link('other') } },
  full: { one: '1', two: '2' },
  empty: {},
  setgid: dir({ gone: 'gone' }, {}, 0o2775),
  moved: { inside: 'moved inside' },
}
const upper: Tree = {
  new: 'upper file',
  newdir: { n: 'n' },
  newempty: {},
  covered: opaque({ c: 'covering' }),
}
const lowest: Tree = {
  file: 'lowest file',
  covered: { hidden: 'hidden' },
  full: { three: '3' },
  old: { x: 'x' },
  moved: { below: 'moved below' },
}

type Scenario = {
  /** Done before, without failures. */
  before?: (rig: Rig) => void
  act: (rig: Rig) => number
  /** The only failures to inject after a change of attributes: what follows it just looks. */
  isSeen?: boolean
  /**
   * Failures of these calls leave the copy-up in place, which kept no data because all of it was to go
   * (as the kernel's overlayfs does), or leave the emptied directory opaque with a d_ino of its own.
   */
  halfWay?: RegExp
}

const scenarios: Record<string, Scenario> = {
  'create in the root': { act: (rig) => closing(rig, rig.create('fresh')) },
  'create below a lower directory': { act: (rig) => closing(rig, rig.create('deep/er/fresh')) },
  'create over a whiteout': {
    before: (rig) => rig.unlink('file'),
    act: (rig) => closing(rig, rig.create('file')),
  },
  'create over a whiteout in a setgid directory': {
    before: (rig) => rig.unlink('setgid/gone'),
    act: (rig) => closing(rig, rig.create('setgid/gone')),
  },
  mkdir: { act: (rig) => rig.mkdir('deep/fresh') },
  'mkdir over a whiteout': { before: (rig) => emptied(rig, 'full'), act: (rig) => rig.mkdir('full') },
  mknod: { act: (rig) => rig.mknod('fresh', 0o010644) },
  symlink: { act: (rig) => rig.symlink('target', 'deep/fresh') },
  tmpfile: { act: (rig) => closing(rig, rig.tmpfile('deep')) },
  'unlink of an upper file': { act: (rig) => rig.unlink('new') },
  'unlink of a lower file': { act: (rig) => rig.unlink('deep/er/file') },
  'unlink of a copied-up file': {
    before: (rig) => rig.chmod('file', 0o600),
    act: (rig) => rig.unlink('file'),
  },
  'unlink of a lower hard link': { act: (rig) => rig.unlink('other') },
  'rmdir of an upper directory': { act: (rig) => rig.rmdir('newempty') },
  'rmdir of a lower directory': { act: (rig) => rig.rmdir('empty') },
  'rmdir of an emptied merged directory': {
    before: (rig) => rig.unlink('full/one') + rig.unlink('full/two') + rig.unlink('full/three'),
    act: (rig) => rig.rmdir('full'),
  },
  'rmdir of a directory over a lower': {
    before: (rig) => rig.unlink('covered/c'),
    act: (rig) => rig.rmdir('covered'),
  },
  'rename of an upper file': { act: (rig) => rig.rename('new', 'newer') },
  'rename of a lower file': { act: (rig) => rig.rename('deep/er/file', 'newer') },
  'rename of a hard link': { act: (rig) => rig.rename('other', 'newer') },
  'rename over a lower file': { act: (rig) => rig.rename('new', 'file') },
  'rename over an upper file': { act: (rig) => rig.rename('file', 'new') },
  'rename of a pure upper directory': { act: (rig) => rig.rename('newdir', 'deep/newer') },
  'rename of a lower directory': { act: (rig) => rig.rename('deep', 'newer') },
  'rename of a merged directory over an empty lower one': { act: (rig) => rig.rename('full', 'empty') },
  'rename of a directory over an emptied merged one': {
    halfWay: /^(openAt|removeTree|renameAt)$/,
    before: (rig) => rig.unlink('full/one') + rig.unlink('full/two') + rig.unlink('full/three'),
    act: (rig) => rig.rename('newdir', 'full'),
  },
  'rename of a renamed directory': {
    before: (rig) => rig.rename('moved', 'deep/moved'),
    act: (rig) => rig.rename('deep/moved', 'again'),
  },
  'rename of a directory onto a whiteout': {
    before: (rig) => rig.unlink('file'),
    act: (rig) => rig.rename('full', 'file'),
  },
  'exchange of a lower file and a lower directory': { act: (rig) => rig.rename('file', 'full', 2) },
  'exchange of two files': { act: (rig) => rig.rename('new', 'deep/er/file', 2) },
  'link of a lower file': { act: (rig) => rig.link('deep/er/file', 'fresh') },
  'link of an upper file onto a whiteout': {
    before: (rig) => rig.unlink('file'),
    act: (rig) => rig.link('new', 'file'),
  },
  'chmod of a lower file': { isSeen: true, act: (rig) => rig.chmod('file', 0o640) },
  'chmod of a lower directory': { isSeen: true, act: (rig) => rig.chmod('deep/er', 0o700) },
  'chmod of a merged directory': { isSeen: true, act: (rig) => rig.chmod('full', 0o700) },
  'chmod of a hard link': { isSeen: true, act: (rig) => rig.chmod('deep/er/link', 0o600) },
  'chown of a symbolic link': { isSeen: true, act: (rig) => rig.chown('sym', 5, 6) },
  'utimes of a fifo': { isSeen: true, act: (rig) => rig.utimes('pipe', 12345) },
  'truncate of a lower file to nothing': {
    isSeen: true,
    halfWay: /^(openAt|truncate)$/,
    act: (rig) => rig.truncate('file', 0),
  },
  'write to a lower file': { act: (rig) => rig.write('deep/er/file', 'WRITTEN') },
  'setxattr of a lower file': { act: (rig) => rig.setxattr('file', 'user.new', 'value') },
  'removexattr of a lower file': { act: (rig) => rig.removexattr('file', 'user.a') },
}

function closing(rig: Rig, handle: number): number {
  if (handle < 0) return handle
  rig.release(handle)
  return 0
}

function emptied(rig: Rig, path: string): void {
  for (const name of rig.names(path)) rig.unlink(`${path}/${name}`)
  rig.rmdir(path)
}

function fdCount(): number {
  return readdirSync('/proc/self/fd').length
}

/** What a scenario showed before and after, when nothing fails. */
type Expected = { before: Record<string, string>; after: Record<string, string>; calls: string[] }

const parent = temporaryFolder()
let serial = 0

function start(scenario: Scenario): { rig: Rig; faults: Faults } {
  const faults = new Faults()
  const folders = makeFolders([lower, lowest], upper, join(parent, String(serial++)))
  const rig = new Rig(folders, { sys: faults.sys })
  scenario.before?.(rig)
  return { rig, faults }
}

/** Lines that two views do not share; inos differ from run to run and are named in order. */
function normal(shown: Record<string, string>): Record<string, string> {
  const inos = new Map<string, string>()
  const result: Record<string, string> = {}
  for (const path of Object.keys(shown).sort()) {
    result[path] = shown[path]!.replace(/ino (\S+)/, (_, ino) => {
      if (!inos.has(ino)) inos.set(ino, `#${inos.size}`)
      return `ino ${inos.get(ino)}`
    }).replace(/mtime (?!1600000000|12345)\S+/, 'mtime new')
  }
  return result
}

function expected(scenario: Scenario): Expected {
  const first = start(scenario).rig
  const before = normal(view(first))
  first.end()
  const { faults, rig } = start(scenario)
  const r = faults.failing(rig, -1, 0, () => scenario.act(rig))
  if (r !== 0) throw new Error(`it fails by itself: ${r}`)
  const { calls } = faults
  const after = normal(view(rig))
  rig.end()
  return { before, after, calls }
}

function difference(a: Record<string, string>, b: Record<string, string>): string[] {
  const lines: string[] = []
  for (const path of new Set([...Object.keys(a), ...Object.keys(b)]))
    if (a[path] !== b[path]) lines.push(`${path}: ${a[path]} => ${b[path]}`)
  return lines
}

const same = (a: Record<string, string>, b: Record<string, string>) => difference(a, b).length === 0

/** Runs a scenario with one call failing and returns what is wrong afterwards. */
function attempt(scenario: Scenario, known: Expected, index: number, errno: number): string[] {
  const { faults, rig } = start(scenario)
  const lowers = rig.folders.lowers.map((path) => dump(path).join('\n'))
  const wrong: string[] = []
  const fds = fdCount()
  const r = faults.failing(rig, index, errno, () => scenario.act(rig))
  const failed = faults.calls[index]
  if (failed !== known.calls[index]) wrong.push(`call ${index} was ${failed}`)
  const live = normal(view(rig))
  const isBefore = same(live, known.before)
  const isAfter = same(live, known.after)
  const isHalfWay = scenario.halfWay?.test(failed!) === true
  if (r < 0 && !isBefore && !isAfter && !isHalfWay)
    wrong.push('reported as failed, shown half done', ...difference(known.before, live))
  if (r === 0 && !isAfter) wrong.push('reported as done, shown otherwise', ...difference(known.after, live))
  // The last step of a SETATTR looks at what it did: the change itself is made.
  const isSeen = scenario.isSeen === true && failed === 'statAt'
  if (r < 0 && isAfter && !isBefore && !isSeen) wrong.push(`reported as failed (${errnoName(r)}), shown done`)
  wrong.push(...rig.problems())
  // What a cleanup could not remove is swept at the next mount.
  const isCleanup = failed === 'unlinkAt' || failed === 'removeTree' || (failed === 'openAt' && r === 0)
  const left = readdirSync(rig.folders.work).filter((name) => name.startsWith('#'))
  if (left.length > 0 && !isCleanup) wrong.push(`left in the workdir: ${left}`)
  wrong.push(...rig.problemsAtRest())
  rig.fs.union.dirs.close()
  const gained = fdCount() - fds
  if (gained > 0) wrong.push(`${gained} fds leaked`)
  const { folders } = rig
  rig.end()
  const again = new Rig(folders)
  const remounted = normal(view(again))
  if (!same(remounted, live) && !isHalfWay)
    wrong.push('other after a remount', ...difference(live, remounted))
  if (!isSwept(folders.work)) wrong.push('the workdir was not swept')
  again.end()
  folders.lowers.forEach((path, i) => {
    if (dump(path).join('\n') !== lowers[i]) wrong.push(`lower ${i} was written`)
  })
  return wrong
}

/** Trees are swept off the loop: waits for that. */
function isSwept(work: string): boolean {
  for (let i = 0; i < 200; i++) {
    if (!readdirSync(work).some((name) => name.startsWith('#'))) return true
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
  }
  return false
}

const only = process.env.ONLY_SCENARIO
for (const [name, scenario] of Object.entries(scenarios)) {
  if (only !== undefined && name !== only) continue
  t.test(`${name}: a failing call changes nothing or all`, { skip: !isRoot && 'needs root' }, async (t) => {
    const known = expected(scenario)
    for (const [index, call] of known.calls.entries()) {
      const errors = [EIO]
      if (WRITING.test(call)) errors.push(ENOSPC)
      if (OPENING.test(call)) errors.push(EMFILE)
      for (const errno of errors) {
        const wrong = attempt(scenario, known, index, errno)
        t.strictSame(wrong, [], `call ${index} of ${known.calls.length}, ${call}: ${errnoName(errno)}`)
      }
    }
  })
}
