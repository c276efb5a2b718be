// A real Debian lives on a mount: it installs packages, runs its programs, compiles, deletes trees;
// afterwards its lowers are what they were and the kernel's overlayfs shows the same tree.
// MICA_TEST_DRIVER=kernel runs the same on the kernel's overlayfs.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { kernelDriver, lazyUnmount, type Mounted, micaDriver, mountsBelow } from '../support/driver.js'
import { packageRoot } from '../support/package-root.js'
import { type Debian, debian } from './debian.js'

const isKernel = process.env.MICA_TEST_DRIVER === 'kernel'
const mica = join(packageRoot, 'bin/mica')

function prepare(): Debian | string {
  if (process.getuid?.() !== 0) return 'debootstrap and chroot need root'
  if (!existsSync('/dev/fuse') && !isKernel) return 'there is no /dev/fuse'
  return debian()
}

type Said = { status: number | null; output: string }

function command(program: string, args: string[], cwd = '/'): Said {
  const env = {
    ...process.env,
    LC_ALL: 'C.UTF-8',
    DEBIAN_FRONTEND: 'noninteractive',
    GIT_CONFIG_GLOBAL: '/dev/null',
  }
  const result = spawnSync(program, args, {
    encoding: 'utf8',
    timeout: 120_000,
    env,
    cwd,
    maxBuffer: 1 << 26,
  })
  return {
    status: result.status,
    output: `${result.stdout ?? ''}${result.stderr ?? ''}${result.error ?? ''}`,
  }
}

/** Everything that a write could change, of every file below. */
function stateOf(folder: string): string {
  const form = '%P %y %m %U %G %s %T@ %C@ %i %n %l\\n'
  const { stdout } = spawnSync('find', [folder, '-printf', form], { encoding: 'buffer', maxBuffer: 1 << 28 })
  return createHash('sha256').update(stdout).digest('hex')
}

function tarDigest(folder: string, ...options: string[]): string {
  const tar = ['tar', '-C', folder, '--one-file-system', '--numeric-owner', ...options, '-cf', '-', '.']
  // GNU tar warns of a changed ctime: the kernel drops its own mark from a directory when it lists it.
  const { output } = command('sh', ['-c', `${tar.join(' ')} 2>/dev/null | sha256sum`])
  return output.trim()
}

/** What must not differ between two mounts of the same layers: everything but atime and ctime. */
const canonical = ['--sort=name', '--xattrs', '--pax-option=delete=atime,delete=ctime']

class House {
  readonly folder = mkdtempSync(join(tmpdir(), 'mica-real-'))
  readonly path = join(this.folder, 'merged')
  readonly lowers: string[]
  readonly #workers: string
  #mounted: Mounted | undefined

  constructor(root: string, workers: string) {
    this.#workers = workers
    for (const name of ['edits', 'upper', 'work', 'merged']) mkdirSync(join(this.folder, name))
    const edits = join(this.folder, 'edits')
    this.lowers = [edits, root]
    // A layer above Debian's own, as an image has it: a new file, a changed one, a deletion.
    mkdirSync(join(edits, 'etc'))
    mkdirSync(join(edits, 'usr/share'), { recursive: true })
    writeFileSync(join(edits, 'etc/motd'), 'from the layer above\n')
    command('mknod', [join(edits, 'usr/share/common-licenses'), 'c', '0', '0'])
    command('cp', ['--attributes-only', '--preserve=all', '--parents', '-d', 'usr/share', edits])
  }

  mount(driver = isKernel ? kernelDriver : micaDriver('--workers', this.#workers)): void {
    const { lowers, path, folder } = this
    this.#mounted = driver.mount({ lowers, path, upper: join(folder, 'upper'), work: join(folder, 'work') })
  }

  unmount(): void {
    this.#mounted!.unmount()
  }

  /** Runs a shell command inside, in a mount namespace of its own. */
  inside(script: string): Said {
    if (!isKernel) return command(mica, ['chroot', this.path, '/bin/bash', '-c', script])
    const mounts = `mount -t proc proc ${this.path}/proc; mount --rbind /dev ${this.path}/dev`
    return command('unshare', [
      '-m',
      'sh',
      '-c',
      `${mounts}; exec chroot ${this.path} /bin/bash -c "$1"`,
      'sh',
      script,
    ])
  }

  finish(): string[] {
    const left = mountsBelow(this.folder)
    for (const point of left) lazyUnmount(point)
    rmSync(this.folder, { recursive: true, force: true })
    return left
  }
}

t.setTimeout(0)
const given = prepare()
const skip = typeof given === 'string' ? given : ''

function tourOf(t: Test, house: House, { packages, names }: Debian): void {
  const works = (title: string, script: string, expected: RegExp) => {
    const { status, output } = house.inside(script)
    const isRight = status === 0 && expected.test(output)
    t.ok(isRight, title, isRight ? {} : { status, output: output.slice(-2000) })
  }
  const fileOf = (name: string) => names.find((file) => file.startsWith(`${name}_`))

  works('bash runs', 'echo "$((6 * 7)) $(cat /etc/motd)"', /^42 from the layer above/)
  works(
    'python3 runs',
    `python3 -c 'import os, sys; print(len(os.listdir("/usr/lib")), sys.version)'`,
    /^\d+ 3/,
  )
  works('a deleted tree is gone', 'test ! -e /usr/share/common-licenses && echo gone', /gone/)

  mkdirSync(join(house.path, 'srv/packages'))
  for (const name of [...names, 'Packages']) {
    copyFileSync(join(packages, name), join(house.path, 'srv/packages', name))
  }
  works('dpkg -i installs a package', `dpkg -i /srv/packages/${fileOf('hello')} && hello`, /Hello, world!/)
  works('dpkg -V finds it intact', 'dpkg -V hello && echo intact', /intact/)
  const source = 'deb [trusted=yes] file:/srv/packages ./'
  const update = `rm -f /etc/apt/sources.list.d/*; echo "${source}" > /etc/apt/sources.list && apt-get -q update`
  works('apt-get update reads a local directory', `${update} && echo updated`, /updated/)
  works(
    'apt-get install brings dependencies',
    `apt-get -qy install jq tree && echo '{"a":[7]}' | jq .a[0]`,
    /^7$/m,
  )
  works('apt-get reinstall', 'apt-get -qy --reinstall install tree && tree --version', /tree v/)
  works('apt-get remove', 'apt-get -qy remove hello && ! command -v hello && echo removed', /removed/)
  works(
    'dpkg --audit has nothing to say',
    'test -z "$(dpkg --audit)" && dpkg -V jq tree && echo clean',
    /clean/,
  )

  const program = '#include <stdio.h>\nint main(void) { printf("%d\\\\n", 6 * 9); }\n'
  works(
    'a C program is compiled and run',
    `printf '${program.replaceAll('\n', '\\n').replaceAll('%', '%%')}' > /root/a.c && gcc -O1 -o /root/a /root/a.c && /root/a`,
    /^54$/m,
  )
  works(
    'a python program in a new directory is compiled',
    'mkdir /root/p && echo "x = 7" > /root/p/m.py && cd /root/p && python3 -c "import m; print(m.x)"',
    /^7$/m,
  )
  works(
    'rm -rf removes trees',
    'rm -rf /usr/share/doc /usr/share/locale && mkdir /usr/share/doc && ls -A /usr/share/doc',
    /^$/,
  )
  works(
    'a merged tree is renamed',
    'mv /usr/share/perl5 /usr/share/perl && ls /usr/share/perl',
    /Debconf|Dpkg|deb/i,
  )
  works('and back', 'mv /usr/share/perl /usr/share/perl5 && perl -e "print 40 + 2"', /42/)
}

function gitTour(t: Test, house: House): void {
  const origin = join(house.folder, 'origin')
  const clone = join(house.path, 'root/clone')
  const git = (cwd: string, ...args: string[]) =>
    command('git', ['-c', 'user.name=a', '-c', 'user.email=a@b', ...args], cwd)
  mkdirSync(origin)
  git(origin, 'init', '-q', '-b', 'main')
  for (let i = 0; i < 200; i++) writeFileSync(join(origin, `file${i}`), `${i}\n`.repeat(i + 1))
  git(origin, 'add', '.')
  git(origin, 'commit', '-qm', 'one')
  const cloned = command('git', ['clone', '-q', '--no-local', origin, clone])
  t.equal(cloned.status, 0, 'git clone', { output: cloned.output })
  t.equal(git(clone, 'status', '--short').output, '', 'a fresh clone is clean')
  writeFileSync(join(clone, 'file7'), 'changed\n')
  t.match(git(clone, 'status', '--short').output, /^ M file7/, 'a change is seen')
  t.equal(git(clone, 'commit', '-qam', 'two').status, 0, 'git commit')
  t.equal(git(clone, 'gc', '-q').status, 0, 'git gc')
  t.equal(git(clone, 'fsck', '--full').status, 0, 'git fsck')
}

for (const workers of isKernel ? ['no'] : ['1', '2']) {
  t.test(`${workers} workers: a Debian lives on it`, { skip }, async (t) => {
    const debian = given as Debian
    const house = new House(debian.root, workers)
    t.teardown(() => house.finish())
    const before = house.lowers.map(stateOf)
    house.mount()
    const first = tarDigest(house.path)
    t.equal(tarDigest(house.path), first, 'tar gives identical bytes twice')
    tourOf(t, house, debian)
    if (command('git', ['--version']).status === 0) gitTour(t, house)
    else t.comment('git is not installed: no clone')

    const sorted = tarDigest(house.path, ...canonical)
    house.unmount()
    house.mount()
    t.equal(tarDigest(house.path, ...canonical), sorted, 'the next mount shows the same')
    t.match(house.inside('test -z "$(ls -A /usr/share/doc)" && dpkg -V jq && echo kept').output, /kept/)
    house.unmount()
    rmSync(join(house.folder, 'work'), { recursive: true })
    mkdirSync(join(house.folder, 'work'))
    house.mount(kernelDriver)
    t.equal(tarDigest(house.path, ...canonical), sorted, "the kernel's overlayfs shows the same")
    command('umount', [house.path])
    t.same(house.lowers.map(stateOf), before, 'the lowers are unchanged')
    t.same(house.finish(), [], 'nothing is left mounted')
  })
}
