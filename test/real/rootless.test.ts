// An ordinary user mounts: as root of a user namespace, and through fusermount3. The smoke test is a
// shell script that the user runs; /dev/fuse is opened to all for its time where it is not.
import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
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
const user = 1000
const asUser = ['--reuid', String(user), '--regid', String(user), '--clear-groups']

function run(program: string, args: string[], home: string): SpawnSyncReturns<string> {
  const env = { PATH: process.env.PATH ?? '', HOME: home, TMPDIR: home, LC_ALL: 'C.UTF-8' }
  return spawnSync(program, args, { encoding: 'utf8', timeout: 60_000, cwd: '/', env })
}

function reasonToSkip(): string {
  if (process.getuid?.() !== 0) return 'becoming another user needs root'
  if (!existsSync('/dev/fuse')) return 'there is no /dev/fuse'
  if (run('setpriv', ['--version'], '/').error) return 'setpriv is not installed'
  const asOther = run('setpriv', [...asUser, 'test', '-r', join(packageRoot, 'package.json')], '/')
  return asOther.status === 0 ? '' : `an ordinary user may not read ${packageRoot}`
}

const skip = reasonToSkip()
const namespaces = skip ? undefined : run('setpriv', [...asUser, 'unshare', '-Urm', 'true'], '/')
const noNamespace = skip || (namespaces!.status === 0 ? '' : 'an ordinary user gets no user namespace here')
const noFusermount = skip || (existsSync('/usr/bin/fusermount3') ? '' : 'fusermount3 is not installed')

/** What the user does; every line must succeed. */
const smoke = `
set -eu
cd "$1"
up() { "$0" mount --lower lower0 --lower lower1 --upper upper --work work merged; }
up
test "$(cat merged/etc/both)" = top
test "$(cat merged/etc/low)" = bottom
test ! -e merged/gone
echo more >> merged/etc/low
test "$(cat merged/etc/low)" = "bottom
more"
chmod 600 merged/etc/both
rm merged/bin/unwanted
mv merged/tree merged/moved
test "$(cat merged/moved/deep/leaf)" = leaf
mkdir merged/tree
test -z "$(ls -A merged/tree)"
ln merged/etc/low merged/etc/linked
test "$(stat -c %h merged/etc/low)" = 2
ln -s low merged/etc/symbolic
mkfifo merged/pipe
head -c 3000000 /dev/zero > merged/big
truncate -s 1000 merged/big
cp merged/bin/sh merged/bin/copy
merged/bin/copy -c 'exit 0'
rm -r merged/rest
mkdir merged/rest
test "$(tar -C merged -cf - . | sha256sum)" = "$(tar -C merged -cf - . | sha256sum)"
one=$(tar -C merged --sort=name -cf - . | sha256sum)
"$0" umount merged
up
test "$(tar -C merged --sort=name -cf - . | sha256sum)" = "$one"
test "$(stat -c %h merged/etc/linked)" = 2
test -z "$(ls -A merged/rest)"
"$0" umount merged
test -z "$(ls -A merged)"
echo all done
`

class Place {
  readonly folder = mkdtempSync(join(tmpdir(), 'mica-rootless-'))

  constructor() {
    const put = (path: string, content: string) => {
      mkdirSync(join(this.folder, path, '..'), { recursive: true })
      writeFileSync(join(this.folder, path), content)
    }
    put('lower0/etc/both', 'top\n')
    put('lower0/.wh.gone', '')
    put('lower1/etc/both', 'bottom\n')
    put('lower1/etc/low', 'bottom\n')
    put('lower1/gone', 'x')
    put('lower1/tree/deep/leaf', 'leaf\n')
    put('lower1/rest/of/it', 'x'.repeat(100_000))
    put('lower1/bin/unwanted', 'x')
    spawnSync('cp', ['/bin/sh', join(this.folder, 'lower1/bin/sh')])
    for (const name of ['upper', 'work', 'merged']) mkdirSync(join(this.folder, name))
    for (const name of readdirSync(this.folder, { recursive: true, encoding: 'utf8' })) {
      lchownSync(join(this.folder, name), user, user)
    }
    chownSync(this.folder, user, user)
  }

  /** Everything that a write to the lowers could change. */
  lowers(): string {
    const form = '%P %y %m %U %G %s %T@ %C@ %i %n %l\\n'
    return spawnSync('find', [`${this.folder}/lower0`, `${this.folder}/lower1`, '-printf', form], {
      encoding: 'utf8',
    }).stdout
  }

  /** Returns the mount points that had to be taken away by force. */
  finish(): string[] {
    const left = mountsBelow(this.folder)
    for (const point of left) lazyUnmount(point)
    rmSync(this.folder, { recursive: true, force: true })
    return left
  }
}

function withOpenDevice(body: () => void): void {
  const mode = statSync('/dev/fuse').mode & 0o7777
  chmodSync('/dev/fuse', mode | 0o666)
  try {
    body()
  } finally {
    chmodSync('/dev/fuse', mode)
  }
}

const ways = [
  { title: 'as root of a user namespace', prefix: ['unshare', '-Urm'], skip: noNamespace },
  { title: 'through fusermount3', prefix: [], skip: noFusermount },
]

t.setTimeout(0)
for (const { title, prefix, skip } of ways) {
  t.test(`an ordinary user mounts ${title}`, { skip }, async (t) => {
    const place = new Place()
    t.teardown(() => place.finish())
    const before = place.lowers()
    withOpenDevice(() => {
      const words = [...asUser, ...prefix, 'sh', '-xc', smoke, mica, place.folder]
      const { status, stdout, stderr } = run('setpriv', words, place.folder)
      const tail = stderr.split('\n').slice(-6).join('\n')
      t.ok(status === 0 && stdout.includes('all done'), 'everything works', { status, stdout, tail })
    })
    t.equal(place.lowers(), before, 'the lowers are unchanged')
    t.same(place.finish(), [], 'nothing is left mounted')
  })
}
