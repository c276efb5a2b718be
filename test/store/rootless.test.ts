// The store of an ordinary user: with subordinate ids files of layers keep their many owners, without they
// become the user's. All happens in a world of its own (test/engines/world.ts).

import type { SpawnSyncReturns } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { rootlessAbsence, USER, World } from '../engines/world.js'
import { packageRoot } from '../support/package-root.js'
import { needs } from './mica.js'
import { archive, dir, file, type Member, symlink } from './tar.js'

t.setTimeout(600_000)

const skip =
  rootlessAbsence('busybox') ??
  (needs('fusermount3', 'newgidmap') || (!isStatic() && 'needs a static busybox'))
const mica = join(packageRoot, 'bin/mica')
const www = { uid: 33, gid: 33 }
const APPLETS = 'sh ls cat echo id sleep touch rm mkdir ln stat chown chmod mount umount hostname mv kill tty'

function isStatic(): boolean {
  try {
    return readFileSync('/bin/busybox').includes('BusyBox')
  } catch {
    return false
  }
}

/** A root file system of several owners, some of whose files only they can read. */
function rootfs(hasDevice = true): Buffer {
  const links = APPLETS.split(' ').map((name) => symlink(`bin/${name}`, 'busybox'))
  const members: Member[] = [
    ...['bin', 'etc', 'proc', 'dev', 'sys', 'root', 'var'].map((name) => dir(name)),
    dir('tmp', { mode: 0o1777 }),
    { name: 'bin/busybox', content: readFileSync('/bin/busybox'), mode: 0o755 },
    ...links,
    file('etc/passwd', 'root:x:0:0::/root:/bin/sh\nwww:x:33:33::/var/www:/bin/sh\n'),
    file('etc/group', 'root:x:0:\nwww:x:33:\nmore:x:44:www\n'),
    file('etc/shadow', 'secret', { gid: 42, mode: 0o640 }),
    dir('var/www', { ...www, mode: 0o700 }),
    file('var/www/private', 'www only', { ...www, mode: 0o600 }),
    file('var/www/closed', 'x', { ...www, mode: 0 }),
    dir('var/other', { uid: 1234, gid: 5678, mode: 0o500 }),
    file('var/other/f', 'x', { uid: 1234, gid: 5678, mode: 0o400 }),
    file('bin/set-ids', 'x', { uid: 33, gid: 44, mode: 0o6755 }),
  ]
  // Left out for ordinary users.
  if (hasDevice) members.push({ name: 'dev/console', type: 'char', devMajor: 5, devMinor: 1 })
  return archive(...members)
}

class User {
  readonly world = new World({ isRootless: true })
  readonly store: string
  readonly image: string

  constructor() {
    const { path } = this
    this.image = path('home/rootfs.tar')
    this.store = path('home/.local/share/mica')
    writeFileSync(this.image, rootfs())
  }

  readonly path = (name: string): string => this.world.path(name)

  mica(...args: string[]): { status: number | null; out: string; err: string } {
    return text(this.world.run(mica, args))
  }

  ok(...args: string[]): string {
    const { status, out, err } = this.mica(...args)
    if (status !== 0 || err !== '') throw new Error(`mica ${args.join(' ')}: ${status} ${err}`)
    return out
  }

  sh(script: string): string {
    return this.world.mustRun('sh', ['-euc', script, mica])
  }

  /** Proves that layers are what they were, and that nothing stays. */
  end(t: Test, images: readonly string[]): void {
    t.match(this.ok('fsck', '-q'), 'all is well')
    t.same(this.world.mounts(), [], 'nothing is left mounted')
    this.ok('rmi', ...images)
    this.ok('prune', '-a')
    for (const name of ['layers', 'containers', 'tmp', 'blobs/sha256'])
      t.same(readdirSync(join(this.store, name)), [], `${name} is empty`)
    this.world.end()
  }
}

function text({ status, stdout, stderr }: SpawnSyncReturns<Buffer>): {
  status: number | null
  out: string
  err: string
} {
  return { status, out: stdout.toString(), err: stderr.toString() }
}

const LOOK = `stat -c '%u:%g %a' /etc/shadow /var/www/private /var/other/f /bin/set-ids`
const OWNERS = '0:42 640\n33:33 600\n1234:5678 400\n33:44 6755\n'

t.test('files have the owners that the image says', { skip }, async (t) => {
  const user = new User()
  user.ok('import', '-c', 'CMD ["/bin/sh"]', user.image, 'many')
  t.equal(user.ok('run', '--rm', 'many', '/bin/sh', '-c', LOOK), OWNERS)
  t.equal(user.ok('run', '--rm', '-u', 'www', 'many', 'cat', '/var/www/private'), 'www only')
  t.equal(user.ok('run', '--rm', '-u', 'www', 'many', 'id'), 'uid=33(www) gid=33(www) groups=44(more)\n')
  t.match(user.mica('run', '--rm', '-u', '2000', 'many', 'cat', '/etc/shadow'), { status: 1, err: /denied/ })
  const inside = 'hostname; umask; mount -t tmpfs none /tmp && touch /tmp/x && umount /tmp; cat /proc/1/comm'
  t.match(user.ok('run', '--rm', '--hostname', 'box', 'many', 'sh', '-c', inside), /^box\n0022\nnode\n$/)
  t.match(user.mica('run', '--rm', 'many', 'sh', '-c', 'touch /sys/x; exit 7'), {
    status: 7,
    err: /Read-only/,
  })
  t.match(user.mica('run', '--rm', '--read-only', 'many', 'touch', '/x'), { status: 1, err: /Read-only/ })
  const own = user.path('home')
  t.equal(
    user.ok('run', '--rm', '-v', `${own}:/mnt`, 'many', 'stat', '-c', '%u', '/mnt/rootfs.tar'),
    '65534\n',
  )
  t.equal(user.ok('run', '--rm', '-v', `${own}:/mnt`, 'many', 'stat', '-c', '%u', '/mnt'), '0\n')
  user.end(t, ['many'])
})

t.test('what is changed is committed, saved and exported with its owners', { skip }, async (t) => {
  const user = new User()
  writeFileSync(user.image, rootfs(false))
  user.ok('import', user.image, 'many')
  const change = `mv /var /v; chown 7:8 /etc/group; rm /v/www/closed; echo n > /v/www/new; chown 33:33 /v/www/new`
  user.ok('run', '--name', 'c', 'many', '/bin/sh', '-ec', change)
  t.match(user.ok('diff', 'c'), 'D /var\nC /etc\nC /etc/group\nA /v\n')
  t.match(user.ok('ps', '-as'), /Exited \(0\)/)
  user.ok('commit', 'c', 'changed')
  user.ok('save', '-o', user.path('home/changed.tar'), 'changed')
  user.ok('export', '-o', user.path('home/exported.tar'), 'c')
  user.ok('rmi', 'changed')
  user.ok('load', '-q', user.path('home/changed.tar'))
  user.ok('create', 'changed', 'again')
  user.ok('export', '-o', user.path('home/again.tar'), 'again')
  const exported = readFileSync(user.path('home/exported.tar'))
  t.ok(exported.equals(readFileSync(user.path('home/again.tar'))))
  // Root's own store says the same of the same archive.
  const root = (...args: string[]): void => void user.world.mustRun(mica, args, { asRoot: true })
  root('load', '--root', user.path('root'), '-q', user.path('home/changed.tar'))
  root('create', '--root', user.path('root'), 'changed', 'rooted')
  root('export', '--root', user.path('root'), '-o', user.path('rooted.tar'), 'rooted')
  t.ok(exported.equals(readFileSync(user.path('rooted.tar'))))
  user.ok('rm', 'c', 'again')
  user.end(t, ['changed', 'many'])
})

t.test('a container is mounted where everybody sees it', { skip }, async (t) => {
  const user = new User()
  user.ok('import', user.image, 'many')
  user.ok('create', 'many', 'box')
  const path = user.ok('mount', 'box').trim()
  t.equal(user.ok('mount', 'box').trim(), path)
  const seen = user.sh(
    `cd ${path}; stat -c '%u:%g' etc var/www var/other; cat etc/shadow; echo mine > etc/new; ls etc`,
  )
  const first = USER.firstSubId - 1
  t.equal(
    seen,
    `${USER.uid}:${USER.gid}\n${first + 33}:${first + 33}\n${first + 1234}:${first + 5678}\nsecretgroup\nnew\npasswd\nshadow\n`,
  )
  t.throws(() => user.sh(`cat ${path}/var/www/private`), /denied/, 'owners count')
  t.match(JSON.parse(user.ok('stats', '--json', path)), { index: 'used' })
  t.match(user.ok('ps', '-a'), /mounted/)
  t.match(user.mica('rm', 'box'), { status: 1, err: /it is mounted/ })
  t.equal(user.ok('chroot', path, '/bin/sh', '-c', LOOK), OWNERS)
  t.equal(user.ok('diff', 'box'), 'C /etc\nA /etc/new\n')
  user.ok('cp', '-a', 'box:/var/www', user.path('home/kept'))
  t.equal(user.sh(`stat -c %u ${user.path('home/kept')}`), `${first + 33}\n`)
  user.ok('cp', 'box:/var/www', user.path('home/copied'))
  t.equal(user.sh(`cat ${user.path('home/copied')}/private; rm -r ${user.path('home/copied')}`), 'www only')
  user.ok('cp', '/etc/hostname', 'box:/etc/hostname')
  user.ok('commit', 'box', 'boxed')
  t.equal(user.ok('run', '--rm', 'boxed', 'stat', '-c', '%u:%g', '/etc/new', '/etc/hostname'), '0:0\n0:0\n')
  user.ok('umount', 'box')
  t.same(user.world.mounts(), [])
  user.ok('mount', 'box')
  user.ok('rm', '-f', 'box')
  user.end(t, ['boxed', 'many'])
})

const UP = `i=0; while [ $i -lt 100 ] && ! "$0" ps | grep -q Up; do sleep 0.05; i=$((i+1)); done`

t.test('commands reach a container that runs', { skip }, async (t) => {
  const user = new User()
  user.ok('import', user.image, 'many')
  const running = `
    "$0" run --name r many /bin/sh -c 'mv /var /v; trap "exit 5" TERM; while :; do sleep 0.1; done' & pid=$!
    ${UP}
    "$0" exec r /bin/sh -c "stat -c %u:%g /v/www; umask"
    "$0" exec -u www r cat /v/www/private; echo
    "$0" exec r false-that-is-not || echo status $?
    "$0" diff r | head -2
    "$0" cp r:/v/www/private ${user.path('home/copied')}
    "$0" commit -q r 2>/dev/null || "$0" commit r now > /dev/null
    "$0" export r | tar t | grep -c '^v/www/'
    ! "$0" mount r 2>&1
    ! "$0" umount r 2>&1
    ! "$0" rm r 2>&1
    kill -TERM $pid; wait $pid || echo ended with $?
    "$0" ps -a | grep -o 'Exited (5)'
  `
  t.equal(
    user.sh(running),
    [
      ...['33:33', '0022', 'www only', 'status 127', 'D /var', 'A /v', '3'],
      'mica: mount r: a command that runs has it; mica exec and mica cp reach it',
      'mica: umount r: it runs; end it, or mica rm -f',
      'mica: rm r: it runs; end it, or mica rm -f',
      ...['ended with 5', 'Exited (5)', ''],
    ].join('\n'),
  )
  t.equal(user.ok('run', '--rm', 'now', 'cat', '/v/www/private'), 'www only')
  const killed = `
    "$0" run --name k1 many sleep 100 & one=$!
    "$0" run --name k2 many sleep 100 & two=$!
    while [ $("$0" ps -q | wc -l) -lt 2 ]; do :; done
    kill -9 $two
    "$0" rm -f k1 k2 r
    wait $one || echo ended with $?
    "$0" ps -aq
  `
  t.equal(user.sh(killed), 'k1\nk2\nr\nended with 137\n')
  user.end(t, ['now', 'many'])
})

t.test('an image of a layout is mounted with its owners', { skip: skip || needs('umoci') }, async (t) => {
  const user = new User()
  user.ok('import', user.image, 'many')
  const layout = user.path('home/layout')
  user.ok('save', '--format', 'oci-dir', '-o', layout, 'many')
  user.ok('rmi', 'many')
  user.sh('cd; mkdir upper work merged')
  const home = user.path('home')
  user.ok(
    'mount',
    `oci:${layout}:latest`,
    '--upper',
    `${home}/upper`,
    '--work',
    `${home}/work`,
    `${home}/merged`,
  )
  t.equal(
    user.sh('cd; stat -c %u merged/var/www; echo x > merged/etc/x; cat upper/etc/x'),
    `${USER.firstSubId + 32}\nx\n`,
  )
  user.ok('umount', `${home}/merged`)
  t.match(user.mica('mount', `oci:${layout}:none`, `${home}/merged`), {
    status: 1,
    err: /^mica: mount oci:\S+: no image none/,
  })
  user.end(t, user.ok('images', '-q').trim().split('\n'))
})

t.test('what a killed command leaves of other owners is swept', { skip }, async (t) => {
  const user = new User()
  let found = 0
  user.ok('images')
  for (const ms of [50, 80, 110, 140, 170, 200, 230]) {
    user.sh(
      `"$0" import ${user.image} killed > /dev/null & sleep ${ms / 1000}; kill -9 $! 2> /dev/null || :; wait $! || :`,
    )
    found += readdirSync(join(user.store, 'tmp')).length
    // The user alone can't remove them, and goes on.
    t.match(user.mica('images'), { status: 0, err: '' })
    user.ok('prune')
    t.same(readdirSync(join(user.store, 'tmp')), [], `${ms} ms`)
  }
  t.ok(found > 0, `${found} were left`)
  user.ok('import', user.image, 'killed')
  user.end(t, ['killed'])
})

t.test('without subordinate ids all is the user’s, and one line says so', { skip }, async (t) => {
  const user = new User()
  writeFileSync(user.path('etc/subuid'), '')
  const words = `${USER.name} has no ids in /etc/subuid`
  const { status, err } = user.mica('import', user.image, 'many')
  t.equal(status, 0)
  t.equal(err, `mica: files of 0:42, 33:33, 1234:5678 and 1 more have become root's: ${words}\n`)
  t.equal(user.ok('run', '--rm', 'many', '/bin/sh', '-c', LOOK), '0:0 640\n0:0 600\n0:0 400\n0:0 6755\n')
  t.match(user.mica('run', '--rm', '-u', 'www', 'many', 'id'), {
    status: 125,
    err: `mica: run: nobody can be user 33:33 here: ${words}\n`,
  })
  user.ok('create', 'many', 'box')
  const path = user.ok('mount', 'box').trim()
  t.equal(user.sh(`cat ${path}/var/www/private`), 'www only')
  user.ok('umount', 'box')
  user.ok('rm', 'box')
  user.end(t, ['many'])
})
