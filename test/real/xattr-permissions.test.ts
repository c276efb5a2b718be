// Owner and mode in an attribute (--xattr-permissions), as root and as root of a user namespace that has no
// other user: what the mount shows, what the upper holds, and what the next mount makes of it.

import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { lazyUnmount, mountsBelow } from '../support/driver.js'
import { packageRoot } from '../support/package-root.js'

const mica = join(packageRoot, 'bin/mica')
const asUser = ['setpriv', '--reuid', '1000', '--regid', '1000', '--clear-groups', 'unshare', '-Urm']

/** `show` prints a line for each name; every other line must succeed. */
const script = `
set -eu
mica=$0 value=$1
cd "$2"
up() { "$mica" mount --xattr-permissions "$value" --lower lower --upper upper --work work merged; }
show() { (cd merged; stat -c '%n %u:%g %a %F' "$@"); }
up
mkdir merged/dir
: > merged/made
chmod 4711 merged/made
test "$3" = no-setid || chown $3 merged/made
chmod 4711 merged/made
chmod 2770 merged/dir
test "$3" = no-setid || chown 0:$4 merged/dir
: > merged/dir/inside
mkdir merged/dir/below
chmod 600 merged/lower-file
mkfifo merged/pipe
ln merged/made merged/linked
ln -s made merged/symbolic
echo written > merged/made
chmod 4711 merged/made
echo data > merged/pipe & cat merged/pipe
! setfattr -n user.containers.override_stat -v 0:0:4777 merged/lower-file 2>/dev/null
! getfattr -d -m - merged/lower-file 2>/dev/null | grep override
show lower-file made linked dir dir/inside dir/below pipe
"$mica" umount merged
cd upper
getfattr --absolute-names -h -d -m override . lower-file made dir dir/inside pipe 2>/dev/null | grep -v '^$'
stat -c '%n %a' made dir
cd ..
up
show lower-file made linked dir dir/inside dir/below pipe
"$mica" umount merged
`

function run(
  prefix: readonly string[],
  value: string,
  folder: string,
  ids: [string, string],
): SpawnSyncReturns<string> {
  const [program, ...args] = [...prefix, 'sh', '-c', script, mica, value, folder, ...ids]
  const env = { PATH: process.env.PATH ?? '', HOME: folder, TMPDIR: folder, LC_ALL: 'C.UTF-8' }
  return spawnSync(program!, args, { encoding: 'utf8', timeout: 60_000, cwd: '/', env })
}

function reasonToSkip(isUser: boolean): string | false {
  if (process.getuid?.() !== 0) return 'needs root, also for becoming another user'
  if (!existsSync('/dev/fuse')) return 'there is no /dev/fuse'
  if (spawnSync('getfattr', ['--version']).error) return 'getfattr is not installed'
  if (!isUser) return false
  const probe = spawnSync(asUser[0]!, [...asUser.slice(1), 'test', '-r', mica])
  return probe.status === 0
    ? false
    : `an ordinary user gets no user namespace, or may not read ${packageRoot}`
}

const shown = (ids: [string, string]) => {
  const owner = ids[0] === 'no-setid' ? '0:0' : ids[0]
  const group = ids[0] === 'no-setid' ? '0' : ids[1]
  return [
    'lower-file 0:0 600 regular file',
    `made ${owner} 4711 regular file`,
    `linked ${owner} 4711 regular file`,
    `dir 0:${group} 2770 directory`,
    `dir/inside 0:${group} 644 regular empty file`,
    `dir/below 0:${group} 2755 directory`,
    'pipe 0:0 644 fifo',
  ]
}

const table = [
  { who: 'root', prefix: [], value: '1', name: 'security.fuseoverlayfs.override_stat', isUser: false },
  { who: 'root', prefix: [], value: '2', name: 'user.containers.override_stat', isUser: false },
  // Ids that its namespace does not have: no real chown could store them.
  { who: 'a user', prefix: asUser, value: '2', name: 'user.containers.override_stat', isUser: true },
]

t.setTimeout(0)
for (const { who, prefix, value, name, isUser } of table) {
  const skip = reasonToSkip(isUser)
  t.test(`${who} keeps owner and mode in ${name}`, { skip }, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'mica-permissions-'))
    const mode = statSync('/dev/fuse').mode & 0o7777
    for (const each of ['', 'lower', 'upper', 'work', 'merged']) {
      if (each !== '') mkdirSync(join(folder, each))
      if (isUser) chownSync(join(folder, each), 1000, 1000)
    }
    const file = join(folder, 'lower/lower-file')
    writeFileSync(file, 'x', { mode: 0o644 })
    if (isUser) chownSync(file, 1000, 1000)
    const before = statSync(file, { bigint: true })
    try {
      if (isUser) chmodSync('/dev/fuse', mode | 0o666)
      const ids: [string, string] = isUser ? ['no-setid', '0'] : ['5:6', '8']
      const { status, stdout, stderr } = run(prefix, value, folder, ids)
      t.equal(status, 0, stderr)
      const lines = stdout.trim().split('\n')
      const first = shown(ids)
      t.strictSame(lines.slice(0, 1), ['data'], 'the pipe is one')
      t.strictSame(lines.slice(1, 1 + first.length), first, 'what is shown')
      t.strictSame(lines.slice(-first.length), first, 'and the same after a remount')
      const held = lines.slice(1 + first.length, -first.length)
      const owner = isUser ? '0:0' : '5:6'
      for (const line of [
        `${name}="0:0:600"`,
        `${name}="${owner}:4711"`,
        `${name}="0:${isUser ? 0 : 8}:2770"`,
      ]) {
        t.ok(held.includes(line), `${line} is in the upper`, { held })
      }
      t.ok(!name.startsWith('user.') || held.includes(`${name}="0:0:644:pipe"`), 'a file stands for the pipe')
      t.ok(held.includes('made 711') && held.includes('dir 770'), 'no set-id bits on the files themselves', {
        held,
      })
      t.strictSame(statSync(file, { bigint: true }).ctimeNs, before.ctimeNs, 'the lower is unchanged')
    } finally {
      chmodSync('/dev/fuse', mode)
      const left = mountsBelow(folder)
      for (const point of left) lazyUnmount(point)
      rmSync(folder, { recursive: true, force: true })
      t.strictSame(left, [], 'nothing is left mounted')
    }
  })
}

t.test('an ordinary user is told which value works', { skip: reasonToSkip(true) }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'mica-permissions-'))
  for (const each of ['lower', 'upper', 'work', 'merged']) mkdirSync(join(folder, each), { mode: 0o777 })
  for (const each of ['.', 'lower', 'upper', 'work', 'merged']) chownSync(join(folder, each), 1000, 1000)
  const { status, stderr } = run(asUser, '1', folder, ['no-setid', '0'])
  t.not(status, 0)
  t.match(stderr, /--xattr-permissions=1 takes root; use --xattr-permissions=2/)
  rmSync(folder, { recursive: true, force: true })
})
