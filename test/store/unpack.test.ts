// Layers as umoci unpacks them: the same archives through both, the trees compared. Needs root, for owners
// and devices, and kernel overlayfs to see several layers as one.

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { isRoot } from '../../src/store/at.js'
import { DEFAULT_LIMITS } from '../../src/store/unpack.js'
import { unpackLayer } from '../../src/store/unpack-layer.js'
import { native } from '../../src/sys/native.js'
import { needs, Sandbox } from './mica.js'
import { type Snapshot, snapshot } from './snapshot.js'
import { archive, digest, dir, file, hardLink, type Member, member, symlink, whiteout } from './tar.js'

t.setTimeout(600_000)

const folder = mkdtempSync(join(tmpdir(), 'mica-unpack-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
let count = 0

/** Unpacks archives on each other; returns the trees, top first. */
async function unpackAll(archives: readonly Buffer[], limits = DEFAULT_LIMITS): Promise<string[]> {
  const trees: string[] = []
  for (const bytes of archives) {
    const id = ++count
    const blob = join(folder, `blob${id}`)
    writeFileSync(blob, bytes)
    const tree = join(folder, `tree${id}`)
    const lowers = Promise.resolve([...trees])
    const plain = bytes[0] === 0x1f ? Buffer.alloc(0) : bytes
    await unpackLayer({ blob, tree, diffId: digest(plain), lowers, limits })
    trees.unshift(tree)
  }
  return trees
}

/** Returns what the trees show as one. */
function merged(trees: readonly string[], withTime: (path: string) => boolean): Snapshot {
  if (trees.length === 1) return snapshot(trees[0]!, withTime)
  const point = join(folder, `merged${++count}`)
  mkdirSync(point)
  const result = native.mount('none', Buffer.from(point), 'overlay', 1, `lowerdir=${trees.join(':')}`)
  if (result < 0) throw new Error(`overlay mount: ${result}`)
  try {
    return snapshot(point, withTime)
  } finally {
    native.umount(Buffer.from(point), 0)
  }
}

/** Returns what umoci makes of the archives. */
function byUmoci(archives: readonly Buffer[], withTime: (path: string) => boolean): Snapshot {
  const sandbox = new Sandbox()
  const image = `${sandbox.path('layout')}:x`
  sandbox.run('umoci', ['init', '--layout', sandbox.path('layout')])
  sandbox.run('umoci', ['new', '--image', image])
  for (const bytes of archives) {
    writeFileSync(sandbox.path('layer.tar'), bytes)
    sandbox.run('umoci', ['raw', 'add-layer', '--image', image, sandbox.path('layer.tar')])
  }
  sandbox.run('umoci', ['unpack', '--image', image, sandbox.path('bundle')])
  const seen = snapshot(sandbox.path('bundle/rootfs'), withTime)
  rmSync(sandbox.folder, { recursive: true })
  return seen
}

const big = 'x'.repeat(300)
const cap = Buffer.from('0100000200200000000000000000000000000000', 'hex')

/** Title, layers base first, and directories whose time nobody decides. */
const SAME: readonly (readonly [
  title: string,
  layers: readonly (readonly (Member | Buffer)[])[],
  loose?: readonly string[],
])[] = [
  [
    'all kinds of members with their attributes',
    [
      [
        dir('./', { mode: 0o700, uid: 3, gid: 4 }),
        dir('d', { mode: 0o2755, gid: 7, mtimeNs: 123456789 }),
        file('d/f', 'data', { mode: 0o4755, uid: 1000, gid: 1000, mtimeNs: 987654321 }),
        symlink('d/l', '/etc/passwd'),
        symlink('d/long', 'y'.repeat(1000)),
        { name: 'c', type: 'char', devMajor: 5, devMinor: 1, mode: 0o620 },
        { name: 'b', type: 'block', devMajor: 259, devMinor: 70000, mode: 0o660 },
        { name: 'p', type: 'fifo', mode: 0o600 },
        hardLink('h', 'd/f'),
        hardLink('hl', 'd/l'),
        file('empty', ''),
        file('x', 'x', {
          xattrs: new Map([
            ['user.k', Buffer.from([0, 255, 10])],
            ['security.capability', cap],
          ]),
        }),
        dir('dx', { xattrs: new Map([['user.dir', Buffer.from('v')]]) }),
        file('negative', 'n', { mtime: -5, mtimeNs: 250_000_000 }),
        file('big-ids', 'n', { uid: 3_000_000, gid: 4_000_000_000 }),
        ...Array.from({ length: 60 }, (_, at) => dir('long/'.repeat(at + 1))),
        file(`${'long/'.repeat(60)}name`, 'deep'),
        file(big.slice(0, 250), 'long name'),
        file('caf\u00c3\u00a9', 'utf-8'),
        file('bad\u00ffname', 'not utf-8'),
      ],
    ],
    [''],
  ],
  [
    'a later member replaces an earlier one of any kind',
    [
      [
        dir('./'),
        file('a', '1'),
        file('a', '2'),
        dir('b'),
        file('b/x'),
        file('b', 'file'),
        file('c'),
        dir('c'),
        file('c/y'),
        symlink('d', 'a'),
        file('d', 'no link'),
      ],
    ],
  ],
  [
    'names are cleaned and stay inside',
    [
      [
        dir('./'),
        file('/abs', '1'),
        file('../../up', '2'),
        dir('a'),
        file('a/../b', '3'),
        dir('tmp'),
        file('./a/./c', '4'),
        file('a//d', '5'),
        file('../../../../tmp/mica-escape', '6'),
      ],
    ],
    ['/tmp', ''],
  ],
  [
    'a link as a parent is followed inside of the root',
    [
      [
        dir('./'),
        dir('etc'),
        symlink('abs', '/etc'),
        symlink('up', '../../../../etc'),
        dir('d'),
        symlink('d/rel', '../etc'),
        file('abs/one', '1'),
        file('up/two', '2'),
        file('d/rel/three', '3'),
      ],
    ],
    ['/etc', '/d', ''],
  ],
  [
    'hard links find their targets through links and absolute names',
    [
      [
        dir('./'),
        dir('etc'),
        file('etc/f', 'f'),
        symlink('s', 'etc'),
        hardLink('one', '/etc/f'),
        hardLink('two', './s/f'),
        hardLink('three', '../../etc/f'),
      ],
    ],
    ['/etc'],
  ],
  [
    'whiteouts hide lower names only',
    [
      [dir('./'), dir('d'), file('d/a'), file('d/b'), file('top'), dir('gone'), file('gone/x')],
      [
        dir('./'),
        dir('d'),
        whiteout('d/.wh.a'),
        whiteout('.wh.top'),
        whiteout('.wh.gone'),
        whiteout('.wh.never'),
        file('d/c'),
      ],
    ],
  ],
  [
    'directories that only whiteouts of nothing speak of do not come to be',
    [[dir('./'), whiteout('x/.wh.z'), whiteout('x/z/.wh.v'), whiteout('x/z/w/.wh.v')]],
    [''],
  ],
  [
    'a whiteout below a file hides nothing',
    [
      [dir('./'), dir('d'), file('d/low')],
      [file('d', 'file'), whiteout('d/.wh.low'), whiteout('d/.wh..wh..opq'), file('e')],
    ],
    [''],
  ],
  [
    'a parent that is a link in a lower layer is followed, though another link comes in its place',
    [
      [dir('./'), dir('d'), dir('e'), symlink('l', 'd')],
      [file('l/f'), symlink('l', 'e'), file('l/g')],
    ],
    ['', '/d', '/e'],
  ],
  [
    'an opaque marker hides what was there, not its siblings',
    [
      [dir('./'), dir('d'), file('d/a'), dir('d/sub'), file('d/sub/x')],
      [dir('./'), dir('d'), file('d/new'), whiteout('d/.wh..wh..opq'), file('d/later')],
    ],
  ],
  [
    'a directory comes back empty after its whiteout',
    [
      [dir('./'), dir('d'), file('d/a')],
      [dir('./'), whiteout('.wh.d'), dir('d'), file('d/b')],
    ],
  ],
  [
    'a directory over a file, a file over a directory',
    [
      [dir('./'), file('f'), dir('d'), file('d/x')],
      [dir('./'), dir('f'), file('f/y'), file('d', 'file')],
    ],
  ],
  [
    'a hard link to a file of a lower layer',
    [
      [
        dir('./'),
        dir('d'),
        file('d/f', 'content', { uid: 5, xattrs: new Map([['user.a', Buffer.from('b')]]) }),
      ],
      [dir('./'), hardLink('h', 'd/f')],
    ],
    ['/d'],
  ],
  [
    'a parent that only a lower layer has keeps its attributes',
    [
      [dir('./'), dir('d', { mode: 0o711, uid: 9 }), dir('d/e', { mode: 0o1777 })],
      [dir('./'), file('d/e/f')],
    ],
    ['/d/e', '/d'],
  ],
  [
    'a parent that is a link in a lower layer is followed',
    [
      [dir('./'), dir('run', { mode: 0o711 }), dir('var'), symlink('var/run', '/run')],
      [dir('./'), file('var/run/pid', '1')],
    ],
    ['/run', '/var'],
  ],
  [
    'attributes of a directory change without its content',
    [
      [dir('./'), dir('d'), file('d/f')],
      [dir('./'), dir('d', { mode: 0o700, uid: 1 })],
    ],
  ],
]

const skip = isRoot ? needs('umoci') : 'needs root: owners and devices'

for (const [title, layers, loose = []] of SAME) {
  t.test(`${title}, as with umoci`, { skip }, async (t) => {
    const archives = layers.map((members) => archive(...members))
    const withTime = (path: string): boolean => !loose.includes(path)
    const ours = merged(await unpackAll(archives), withTime)
    t.same(ours, byUmoci(archives, withTime))
    t.notOk(readdirSync(tmpdir()).includes('mica-escape'), 'nothing is made outside')
  })
}

const good = member(file('good'))

function unknownKind(): Buffer {
  const bytes = member(file('s', ''))
  bytes[156] = '9'.charCodeAt(0)
  const sum = bytes
    .subarray(0, 512)
    .fill(' ', 148, 156)
    .reduce((all, byte) => all + byte, 0)
  bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return bytes
}

/** Title, archives, and what the error says. */
const REFUSED: readonly (readonly [title: string, archives: readonly Buffer[], words: RegExp])[] = [
  ['text', [Buffer.from('hello'.repeat(200))], /not a tar archive/],
  ['a member of unknown kind', [unknownKind()], /member "s": of an unknown kind, "9"/],
  ['an archive cut off in data', [member(file('f', big.repeat(10))).subarray(0, 1024)], /middle of a member/],
  ['an archive cut off in a header', [Buffer.concat([good, good.subarray(0, 100)])], /middle of a member/],
  ['a wrong checksum', [Buffer.concat([Buffer.from('X'), good.subarray(1)])], /not a tar archive/],
  ['a whiteout of no name', [archive(whiteout('d/.wh.'))], /whiteout of no name/],
  ['a whiteout of a parent', [archive(whiteout('d/.wh...'))], /whiteout of no name/],
  ['something in a whiteout', [archive(file('.wh.d/f'))], /\.wh\./],
  ['a hard link to nothing', [archive(hardLink('h', 'nothing'))], /not there/],
  ['a hard link out of the layer', [archive(symlink('s', '/etc'), hardLink('h', 's/hostname'))], /not there/],
  ['a hard link to a directory', [archive(dir('d'), hardLink('h', 'd'))], /a directory/],
  ['a hard link to itself', [archive(file('f'), hardLink('f', 'f'))], /itself/],
  [
    'a hard link to what a whiteout hides',
    [archive(dir('d'), file('d/f')), archive(whiteout('.wh.d'), hardLink('h', 'd/f'))],
    /not there/,
  ],
  ['a file as a parent', [archive(file('f'), file('f/g'))], /no directory/],
  [
    'a loop of links as a parent',
    [archive(symlink('a', 'b'), symlink('b', 'a'), file('a/f'))],
    /too many symbolic links/,
  ],
  ['a name over 255 bytes', [archive(file('n'.repeat(256)))], /name too long/],
  ['a path over 4096 bytes', [archive(file('a/'.repeat(2100)))], /longer than 4096/],
  ['a root that is no directory', [archive(symlink('.', '/etc'))], /root/],
  [
    'an enormous PAX header',
    [archive(member({ name: 'x', mtimeNs: 1 })).fill('77777777777', 124, 135)],
    /tar archive|larger/,
  ],
  [
    'a device number of too many bits',
    [archive({ name: 'c', type: 'char', devMajor: 100_000, devMinor: 0 })],
    /device number/,
  ],
]

for (const [title, archives, words] of REFUSED) {
  t.test(`${title} is refused`, async (t) => {
    await t.rejects(unpackAll(archives), words)
  })
}

t.test('a layer of more than the limits is refused', async (t) => {
  const bomb = archive(file('zeros', '\0'.repeat(1 << 20)))
  await t.rejects(unpackAll([bomb], { bytes: 1 << 19, entries: 100 }), /larger than 524288 bytes/)
  await t.rejects(
    unpackAll([archive(file('a'), file('b'))], { bytes: 1 << 19, entries: 1 }),
    /more than 1 entries/,
  )
})

t.test('a blob of no bytes is a layer of nothing, as with umoci', { skip }, async (t) => {
  const [tree] = await unpackAll([Buffer.alloc(0)])
  t.same(
    snapshot(tree!, () => false),
    byUmoci([Buffer.alloc(0)], () => false),
  )
})

t.test("AUFS's own files are no files of the image", async (t) => {
  const [tree] = await unpackAll([
    archive(
      dir('./'),
      file('.wh..wh.aufs'),
      dir('.wh..wh.plnk'),
      file('.wh..wh.plnk/12.34', 'data'),
      dir('.wh..wh.orph'),
      file('a', 'data after it'),
    ),
  ])
  t.same(readdirSync(tree!), ['a'])
  t.equal(readFileSync(join(tree!, 'a'), 'utf8'), 'data after it')
})

t.test('data after the end is ignored, but counts for the digest', async (t) => {
  const [tree] = await unpackAll([Buffer.concat([archive(file('a')), Buffer.from('garbage'.repeat(300))])])
  t.same(readdirSync(tree!), ['a'])
})

t.test('a layer with the wrong digest, or damaged gzip, is refused', async (t) => {
  const bytes = archive(file('a', big.repeat(1000)))
  const packed = gzipSync(bytes)
  const attempt = async (blobBytes: Buffer): Promise<unknown> => {
    const blob = join(folder, `blob${++count}`)
    writeFileSync(blob, blobBytes)
    return unpackLayer({
      blob,
      tree: join(folder, `tree${count}`),
      diffId: digest(bytes),
      lowers: Promise.resolve([]),
    })
  }
  await t.resolves(attempt(packed))
  await t.rejects(attempt(archive(file('b'))), /not the one that the config names/)
  await t.rejects(attempt(packed.subarray(0, packed.length - 20)), /damaged gzip/)
  const flipped = Buffer.from(packed)
  flipped[packed.length >> 1]! ^= 0xff
  await t.rejects(attempt(flipped), /damaged|not the one|tar/)
})

t.test('attributes that mean something to a union are kept where they mean nothing', { skip }, async (t) => {
  const xattrs = new Map([
    ['trusted.overlay.opaque', Buffer.from('y')],
    ['user.overlay.redirect', Buffer.from('/etc')],
    ['user.containers.override_stat', Buffer.from('0:0:0777')],
  ])
  const lower = archive(dir('./'), dir('d'), file('d/f'))
  const trees = await unpackAll([lower, archive(dir('./'), dir('d', { xattrs }))])
  const seen = merged(trees, () => false)
  t.ok('/d/f' in seen, 'the directory hides nothing')
  t.match(snapshot(trees[0]!, () => false)['/d'], /trusted\.overlay\.opaque=79 user\.overlay\.redirect=/)
  t.notMatch(snapshot(trees[0]!, () => false)['/d'], /override_stat/)
})

t.test('sparse files of GNU tar keep data and size', { skip: needs('tar') }, async (t) => {
  const sandbox = new Sandbox()
  const path = sandbox.path('sparse')
  sandbox.run('sh', [
    '-c',
    `truncate -s 5M ${path}; printf middle | dd of=${path} bs=1 seek=2000000 conv=notrunc; printf end | dd of=${path} bs=1 seek=5242877 conv=notrunc`,
  ])
  for (const format of [
    '--format=gnu',
    '--format=pax',
    '--format=pax --sparse-version=0.1',
    '--format=pax --sparse-version=0.0',
  ]) {
    sandbox.run('sh', ['-c', `tar -S ${format} -cf t.tar sparse`])
    const bytes = readFileSync(sandbox.path('t.tar'))
    if (format.endsWith('0.0')) {
      await t.rejects(unpackAll([bytes]), /sparse/, format)
      continue
    }
    const [tree] = await unpackAll([bytes])
    t.ok(readFileSync(join(tree!, 'sparse')).equals(readFileSync(path)), format)
  }
})
