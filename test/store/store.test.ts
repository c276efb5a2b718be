// The store through its commands: images in every form in and out, names, what goes and what stays, wrong
// input, and death in the middle.

import { randomBytes } from 'node:crypto'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import { gzipSync } from 'node:zlib'
import Database from 'better-sqlite3'
import t from 'tap'
import { command, needs, type Ran, Sandbox } from './mica.js'
import { makeLayout } from './sample-images.js'
import { snapshot } from './snapshot.js'
import { archive, digest, dir, file, type Member } from './tar.js'

t.setTimeout(900_000)

const skip = needs('skopeo', 'umoci')

async function ok(sandbox: Sandbox, ...args: string[]): Promise<Ran> {
  const ran = await sandbox.mica(args)
  if (ran.status !== 0) throw new Error(`mica ${args.join(' ')}: ${ran.status} ${ran.err}`)
  return ran
}

/** What a store keeps, apart from its database: names of blobs and layers. */
function kept({ root }: Sandbox): Record<'blobs' | 'layers' | 'tmp', string[]> {
  const list = (name: string): string[] =>
    existsSync(join(root, name)) ? readdirSync(join(root, name)).sort() : []
  return { blobs: list('blobs/sha256'), layers: list('layers'), tmp: list('tmp') }
}

t.test('every form of archive and layout is loaded, and gives the same image', { skip }, async (t) => {
  const sandbox = new Sandbox()
  const layout = makeLayout(sandbox)
  const forms = sandbox.dir('forms')
  const skopeo = (target: string): void => void sandbox.run('skopeo', ['copy', `oci:${layout}:two`, target])
  skopeo(`docker-archive:${forms}/docker.tar:team/app:1`)
  skopeo(`oci-archive:${forms}/oci.tar:team/app:1`)
  skopeo(`oci:${forms}/dir:team/app:1`)
  sandbox.run('sh', ['-c', `gzip -k ${forms}/docker.tar; zstd -q ${forms}/oci.tar -o ${forms}/oci.tar.zst`])
  const seen = new Set<string>()
  for (const form of ['docker.tar', 'oci.tar', 'dir', 'docker.tar.gz', 'oci.tar.zst']) {
    rmSync(sandbox.root, { recursive: true, force: true })
    t.match((await ok(sandbox, 'load', '-q', join(forms, form))).out, 'Loaded image: team/app:1', form)
    seen.add((await ok(sandbox, 'images', '-q', '--no-trunc')).out)
    t.match((await ok(sandbox, 'fsck', '-q')).out, 'all is well')
  }
  rmSync(sandbox.root, { recursive: true })
  const piped = await sandbox.mica(['load', '-q'], { input: readFileSync(join(forms, 'docker.tar.gz')) })
  t.match(piped.out, 'Loaded image: team/app:1', 'standard input')
  seen.add((await ok(sandbox, 'images', '-q', '--no-trunc')).out)
  t.equal(seen.size, 1, 'one and the same id')
})

t.test(
  'archives in xz and bzip2 are read by the programs',
  { skip: skip || needs('xz', 'bzip2') },
  async (t) => {
    const sandbox = new Sandbox()
    const plain = sandbox.path('plain.tar')
    sandbox.run('skopeo', ['copy', `oci:${makeLayout(sandbox)}:two`, `docker-archive:${plain}:x:1`])
    writeFileSync(sandbox.path('root.tar'), archive(dir('./'), file('f', 'content')))
    sandbox.run('sh', ['-c', 'xz -k plain.tar root.tar; bzip2 -k plain.tar root.tar'])
    for (const ending of ['xz', 'bz2']) {
      t.equal((await ok(sandbox, 'load', '-q', `${plain}.${ending}`)).out, 'Loaded image: x:1\n')
      await ok(sandbox, 'rmi', 'x:1')
      await ok(sandbox, 'import', sandbox.path(`root.tar.${ending}`), ending)
      const damaged = sandbox.path(`damaged.${ending}`)
      writeFileSync(damaged, readFileSync(sandbox.path(`root.tar.${ending}`)).subarray(0, 60))
      t.match(await sandbox.mica(['import', damaged, 'd']), {
        status: 1,
        err: /damaged (xz|bzip2) data: .+\n$/,
      })
      const bare = { PATH: '/nonexistent' }
      t.match(await sandbox.mica(['import', damaged, 'd'], { env: bare }), {
        status: 1,
        err: /there is no program/,
      })
    }
    t.match((await ok(sandbox, 'fsck', '-q')).out, 'all is well')
    await ok(sandbox, 'create', 'xz', 'c')
    const path = (await ok(sandbox, 'mount', 'c')).out.trim()
    t.equal(readFileSync(join(path, 'f'), 'utf8'), 'content')
    await ok(sandbox, 'rm', '-f', 'c')
  },
)

t.test('one image of a layout is loaded by its tag', { skip }, async (t) => {
  const sandbox = new Sandbox()
  const layout = makeLayout(sandbox)
  t.equal((await ok(sandbox, 'load', '-q', `oci:${layout}:one`)).out, 'Loaded image: layout:one\n')
  t.match(await sandbox.mica(['load', '-q', `oci:${layout}`]), {
    status: 1,
    err: /several images; name one of one, two/,
  })
  t.match(await sandbox.mica(['load', '-q', `oci:${layout}:tow`]), {
    status: 1,
    err: /no image tow in it, but one, two/,
  })
})

t.test('an image has the tree that umoci gives it', { skip }, async (t) => {
  const sandbox = new Sandbox()
  const layout = makeLayout(sandbox)
  await ok(sandbox, 'load', '-q', layout)
  sandbox.run('umoci', ['unpack', '--image', `${layout}:two`, sandbox.path('umoci')])
  const id = (await ok(sandbox, 'create', 'layout:two')).out.trim()
  const path = (await ok(sandbox, 'mount', id)).out.trim()
  try {
    // umoci touches a directory that it removes something from.
    const withTime = (at: string): boolean => at !== '' && at !== '/etc' && at !== '/var'
    t.same(snapshot(path, withTime), snapshot(sandbox.path('umoci/rootfs'), withTime))
  } finally {
    await ok(sandbox, 'rm', '-f', id)
  }
})

for (const format of ['docker-archive', 'oci-archive', 'oci-dir']) {
  t.test(`what is saved as ${format} comes back, and skopeo and umoci read it`, { skip }, async (t) => {
    const sandbox = new Sandbox()
    await ok(sandbox, 'load', '-q', makeLayout(sandbox))
    await ok(sandbox, 'tag', 'layout:two', 'team/app:1')
    const id = (await ok(sandbox, 'images', '-q', '--no-trunc', 'team/app')).out
    const [first, second] = [sandbox.path('first'), sandbox.path('second')]
    await ok(sandbox, 'save', '--format', format, '-o', first, 'team/app:1')
    await ok(sandbox, 'save', '--format', format, '-o', second, 'team/app:1')
    if (format !== 'oci-dir') t.ok(readFileSync(first).equals(readFileSync(second)), 'always the same bytes')
    const transport = format === 'oci-dir' ? `oci:${first}` : `${format}:${first}`
    sandbox.run('skopeo', ['copy', transport, `oci:${sandbox.path('copied')}:x`])
    sandbox.run('umoci', ['unpack', '--image', `${sandbox.path('copied')}:x`, sandbox.path('copied-bundle')])
    t.ok(existsSync(sandbox.path('copied-bundle/rootfs/etc/two')))
    rmSync(sandbox.root, { recursive: true })
    await ok(sandbox, 'load', '-q', first)
    t.equal((await ok(sandbox, 'images', '-q', '--no-trunc')).out, id)
  })
}

t.test('layers are shared, and go with the last image that has them', { skip }, async (t) => {
  const sandbox = new Sandbox()
  await ok(sandbox, 'load', '-q', makeLayout(sandbox))
  t.equal(kept(sandbox).layers.length, 2, 'two images, two layers')
  t.match((await ok(sandbox, 'tree', 'layout:two')).out, 'shared with layout:one')
  const container = (await ok(sandbox, 'create', 'layout:two')).out.trim()
  const refused = await sandbox.mica(['rmi', 'layout:two'])
  t.match(refused, { status: 1, err: /uses it/ })
  await ok(sandbox, 'rm', container)
  const removed = (await ok(sandbox, 'rmi', 'layout:two')).out
  t.match(removed, /^Untagged: layout:two\nDeleted: sha256:/)
  t.equal(kept(sandbox).layers.length, 1, 'the shared layer stays')
  await ok(sandbox, 'rmi', 'layout:one')
  t.same(kept(sandbox), { blobs: [], layers: [], tmp: [] })
  t.same(readdirSync(join(sandbox.root, 'locks')), ['store'], 'nor do locks stay')
})

t.test('tags move, prune takes what has no name', { skip }, async (t) => {
  const sandbox = new Sandbox()
  await ok(sandbox, 'load', '-q', makeLayout(sandbox))
  await ok(sandbox, 'tag', 'layout:one', 'x')
  await ok(sandbox, 'tag', 'layout:two', 'x')
  const listed = JSON.parse((await ok(sandbox, 'images', '--json')).out) as {
    id: string
    repository: string
    tag: string
  }[]
  t.equal(listed.filter(({ repository }) => repository === 'docker.io/library/x').length, 1)
  await ok(sandbox, 'rmi', 'x', 'layout:two')
  await ok(sandbox, 'tag', 'layout:one', 'layout:two')
  await ok(sandbox, 'rmi', 'layout:one')
  t.match((await ok(sandbox, 'prune', '--dry-run')).out, 'reclaimable space: 0B')
  const would = (await ok(sandbox, 'prune', '-a', '--dry-run')).out
  t.match(would, 'would delete image layout:two')
  t.match(would, 'would delete layer')
  const done = (await ok(sandbox, 'prune', '-a')).out
  t.equal(done, would.replaceAll('would delete', 'deleted').replace('reclaimable', 'reclaimed'))
  t.same(kept(sandbox), { blobs: [], layers: [], tmp: [] })
  t.match((await ok(sandbox, 'df')).out, /Images +0/)
})

t.test('images are filtered and formatted', { skip }, async (t) => {
  const sandbox = new Sandbox()
  await ok(sandbox, 'load', '-q', makeLayout(sandbox))
  const names = async (...args: string[]): Promise<string> =>
    (await ok(sandbox, 'images', '--format', '{{.Repository}}:{{.Tag}}', ...args)).out
      .trim()
      .split('\n')
      .sort()
      .join(' ')
  t.equal(await names(), 'layout:one layout:two')
  t.equal(await names('layout:t*'), 'layout:two')
  t.equal(await names('--filter', 'reference=other'), '')
  t.equal(await names('--filter', 'dangling=true'), '')
  for (const key of ['since', 'before'])
    t.match(await sandbox.mica(['images', '-f', `${key}=layout:tow`]), {
      status: 1,
      err: new RegExp(`^mica: images: ${key}=layout:tow: no such image; there is layout:two.*\n$`),
    })
  // A tag that moves leaves an image without a name; each is made later than the one before.
  for (const [label, name] of [
    ['a=old', 'x'],
    ['a=new', 'x'],
    ['b=', 'y'],
  ] as const) {
    await ok(sandbox, 'import', '-c', `LABEL ${label}`, sandbox.dir('empty'), name)
  }
  const labels = async (...args: string[]): Promise<string> => {
    const ids = (await ok(sandbox, 'images', '-q', ...args)).out.trim().split('\n').filter(Boolean)
    if (ids.length === 0) return ''
    const all = JSON.parse((await ok(sandbox, 'inspect', ...ids)).out) as { Config: { Labels?: object } }[]
    return all.map(({ Config }) => Object.entries(Config.Labels ?? {}).join()).join(' ')
  }
  t.equal(await labels('-f', 'label=a'), 'a,new a,old')
  t.equal(await labels('-f', 'label=a=new', '-f', 'label=b'), 'b, a,new')
  t.equal(await labels('-f', 'dangling=true'), 'a,old')
  t.equal(await labels('-f', 'dangling=true', '-f', 'label=b'), '')
  t.equal(await labels('-f', 'since=x'), 'b,')
  t.equal(await labels('-f', 'before=x', '-f', 'label=a'), 'a,old')
  t.match(
    (await ok(sandbox, 'images', '--digests', '--no-trunc', 'y')).out,
    /DIGEST.*\ny +latest +<none> +sha256:[0-9a-f]{64} /,
  )
  t.match(await new Sandbox().mica(['images', '-f', 'since=x']), { status: 1, err: /since=x: no such image/ })
  const table = (await ok(sandbox, 'images', '--format', 'table {{.Tag}}\\t{{.ID}}', 'layout')).out
  t.match(table, /^TAG +IMAGE ID\n(two|one) +[0-9a-f]{12}\n(two|one) +[0-9a-f]{12}\n$/)
  t.match(await sandbox.mica(['images', '--filter', 'nonsense=1']), { status: 1, err: /no filter nonsense/ })
  t.match(await sandbox.mica(['images', '--format', '{{.Nonsense}}']), { status: 2, err: /Nonsense/ })
  t.match((await ok(sandbox, 'history', 'layout:two')).out, /umoci repack/)
  t.match(JSON.parse((await ok(sandbox, 'inspect', 'layout:two')).out), [{ Config: { WorkingDir: '/root' } }])
})

/** Writes a docker-archive of one layer with parts of it changed; returns its path. */
function dockerArchive(
  sandbox: Sandbox,
  change: { layer?: Buffer; config?: object; items?: unknown; members?: Member[] } = {},
): string {
  const layer = change.layer ?? archive(dir('./'), file('f', 'content'))
  const config = JSON.stringify({
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: [digest(layer)] },
    ...change.config,
  })
  const items = change.items ?? [{ Config: 'config.json', RepoTags: ['bad:1'], Layers: ['layer.tar'] }]
  const path = sandbox.path('bad.tar')
  writeFileSync(
    path,
    archive(
      file('config.json', config),
      { name: 'layer.tar', content: layer },
      file('manifest.json', JSON.stringify(items)),
      ...(change.members ?? []),
    ),
  )
  return path
}

t.test('wrong input is one clear line, and the store stays as it was', { skip }, async (t) => {
  const sandbox = new Sandbox()
  await ok(sandbox, 'load', '-q', makeLayout(sandbox))
  const before = (await ok(sandbox, 'images', '--no-trunc', '-q')).out
  const layers = kept(sandbox).layers
  const other = digest(Buffer.from('other'))
  const broken = sandbox.path('broken')
  const breakLayout = (change: (dir: string) => void): string => {
    rmSync(broken, { recursive: true, force: true })
    cpSync(makeLayout(sandbox), broken, { recursive: true })
    change(broken)
    return broken
  }
  const write = (name: string, content: string | Buffer): string => {
    writeFileSync(sandbox.path(name), content)
    return sandbox.path(name)
  }
  const largest = (path: string): string =>
    readdirSync(join(path, 'blobs/sha256'))
      .map((name) => join(path, 'blobs/sha256', name))
      .sort((a, b) => readFileSync(b).length - readFileSync(a).length)[0]!
  const cases: readonly (readonly [title: string, path: () => string, words: RegExp])[] = [
    ['no such file', () => sandbox.path('nothing'), /no such file/],
    ['a text', () => write('text', 'hello'), /tar/],
    ['a directory', () => sandbox.dir('plain'), /without an OCI layout; mica import/],
    ['an archive of something else', () => write('o.tar', archive(file('a'))), /neither an OCI layout/],
    [
      'a layer that is no tar',
      () => dockerArchive(sandbox, { layer: Buffer.from('x'.repeat(2000)) }),
      /not a tar archive/,
    ],
    [
      'a layer of another digest',
      () => dockerArchive(sandbox, { config: { rootfs: { diff_ids: [other] } } }),
      /wrong digest|not the one/,
    ],
    [
      'a config of more layers',
      () => dockerArchive(sandbox, { config: { rootfs: { diff_ids: [other, other] } } }),
      /2 layers/,
    ],
    [
      'a missing layer',
      () => dockerArchive(sandbox, { items: [{ Config: 'config.json', Layers: ['gone.tar'] }] }),
      /gone\.tar is missing/,
    ],
    ['a config without layers', () => dockerArchive(sandbox, { config: { rootfs: null } }), /diff_ids/],
    [
      'another platform',
      () => dockerArchive(sandbox, { config: { architecture: 's390x' } }),
      /linux\/s390x.*--platform/,
    ],
    [
      'a hostile layer',
      () => dockerArchive(sandbox, { layer: archive(file('.wh..')) }),
      /whiteout of no name/,
    ],
    ['a layout without a blob', () => breakLayout((path) => rmSync(largest(path))), /missing/],
    [
      'a layout with a damaged blob',
      () =>
        breakLayout((path) => {
          const bytes = readFileSync(largest(path))
          bytes[bytes.length >> 1]! ^= 1
          writeFileSync(largest(path), bytes)
        }),
      /wrong digest/,
    ],
    [
      'a layout of a later version',
      () => breakLayout((path) => writeFileSync(join(path, 'oci-layout'), '{"imageLayoutVersion":"2"}')),
      /version 2/,
    ],
    [
      'an index that is no JSON',
      () => breakLayout((path) => writeFileSync(join(path, 'index.json'), '{')),
      /no JSON/,
    ],
  ]
  for (const [title, path, words] of cases) {
    // Layers that the store has would not be read.
    const fresh = new Sandbox({
      MICA_ROOT: title.startsWith('a layout with') ? sandbox.path('fresh') : sandbox.root,
    })
    const { status, out, err } = await fresh.mica(['load', '-q', path()])
    t.equal(status, 1, title)
    t.equal(out, '', title)
    t.match(err, words, title)
    t.equal(err.trim().split('\n').length, 1, `${title}: one line`)
    t.match(err, /^mica: load /, title)
  }
  const limited = await sandbox.mica(['load', '-q', makeLayout(sandbox)], {
    env: { MICA_MAX_LAYER_BYTES: '1G' },
  })
  t.equal(limited.status, 1)
  t.match(limited.err, /^mica: load .*: MICA_MAX_LAYER_BYTES=1G: give a whole number from 1 on, in digits\n$/)
  t.equal((await ok(sandbox, 'images', '--no-trunc', '-q')).out, before)
  t.same(kept(sandbox).layers, layers)
  t.same(kept(sandbox).tmp, [])
  await ok(sandbox, 'prune')
  t.match((await ok(sandbox, 'fsck', '-q')).out, 'all is well')
})

t.test('unknown things are named with what is near', { skip }, async (t) => {
  const sandbox = new Sandbox()
  await ok(sandbox, 'load', '-q', makeLayout(sandbox))
  for (const command of ['inspect', 'history', 'rmi', 'save', 'create', 'tree']) {
    const { status, err } = await sandbox.mica([command, 'layout:tow'])
    t.equal(status, 1)
    t.match(err, /no such (container or )?image; there is layout:two/, command)
  }
  t.match(await sandbox.mica(['frobnicate']), { status: 2, err: /unknown command/ })
})

t.test(
  'a full disk is said, and leaves nothing',
  { skip: skip || (process.getuid?.() !== 0 && 'needs root to mount') },
  async (t) => {
    const sandbox = new Sandbox()
    const disk = sandbox.dir('root')
    sandbox.run('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'none', disk])
    try {
      const zeros = archive(dir('./'), file('big', '\0'.repeat(8 << 20)))
      const gzipped = gzipSync(zeros)
      const path = dockerArchive(sandbox, {
        layer: gzipped,
        config: { rootfs: { diff_ids: [digest(zeros)] } },
      })
      const { status, err } = await sandbox.mica(['load', '-q', path])
      t.equal(status, 1)
      t.match(err, /no space left/)
      t.equal(err.trim().split('\n').length, 1)
      t.match((await ok(sandbox, 'images', '-q')).out, /^$/)
      await ok(sandbox, 'prune')
      t.same(kept(sandbox), { blobs: [], layers: [], tmp: [] })
    } finally {
      sandbox.run('umount', [disk])
    }
  },
)

t.test('killed at any moment, a load leaves the old store or the new one', { skip }, async (t) => {
  const sandbox = new Sandbox()
  const layout = makeLayout(sandbox)
  let interrupted = 0
  for (let ms = 60; ms < 600; ms += 30) {
    const load = sandbox.start(['load', '-q', layout])
    const timer = setTimeout(() => load.kill('SIGKILL'), ms)
    const { status } = await load.ended
    clearTimeout(timer)
    if (status === null) interrupted++
    const listed = (await ok(sandbox, 'images', '-q')).out.trim().split('\n').filter(Boolean)
    t.ok(listed.length === 0 || listed.length === 2, `${listed.length} images after ${ms} ms`)
    t.same(kept(sandbox).tmp, [], 'the next command has swept')
    if (listed.length === 0) continue
    t.match((await ok(sandbox, 'fsck', '-q')).out, 'all is well')
    await ok(sandbox, 'rmi', 'layout:one', 'layout:two')
    t.same(kept(sandbox), { blobs: [], layers: [], tmp: [] })
  }
  t.ok(interrupted > 3, `${interrupted} loads were interrupted`)
  await ok(sandbox, 'load', '-q', layout)
  t.match((await ok(sandbox, 'fsck', '-q')).out, 'all is well')
})

t.test('a store that another process makes just now is waited for', async (t) => {
  for (const state of [
    'BEGIN EXCLUSIVE',
    'BEGIN IMMEDIATE; CREATE TABLE x (y)',
    'BEGIN; SELECT * FROM sqlite_master',
  ]) {
    const sandbox = new Sandbox()
    const other = new Database(join(sandbox.dir('root'), 'mica.db'))
    other.exec(state)
    const images = sandbox.start(['images', '-q'])
    setTimeout(() => other.close(), 600)
    t.match(await images.ended, { status: 0, err: '' }, state)
  }
})

t.test('a reader that has gone is no failure, a full disk is', { skip }, async (t) => {
  const sandbox = new Sandbox()
  await ok(sandbox, 'load', '-q', makeLayout(sandbox))
  // The reader is gone before anything is written.
  const piped = (redirection: string, ...args: string[]): string =>
    sandbox.run('bash', [
      '-c',
      `{ mkfifo p; exec 3<>p 4>p 3<&-; ${command} "$@" ${redirection}; echo $? >&2; } 2>&1`,
      'x',
      ...args,
    ])
  for (const args of [['images'], ['inspect', 'layout:two'], ['mount', '--help'], ['--help']]) {
    t.equal(piped('>&4', ...args), '0\n', args.join(' '))
    rmSync(sandbox.path('p'))
  }
  t.equal(piped('2>&4 >/dev/null', 'load', makeLayout(sandbox)), '0\n', 'of progress')
  rmSync(sandbox.path('p'))
  t.match(piped('>&4', 'save', 'layout:two'), /^mica: save layout:two: nobody reads it any more\n1\n$/)
  for (const args of [['images'], ['save', 'layout:two']]) {
    rmSync(sandbox.path('p'))
    t.match(piped('>/dev/full', ...args), /^mica: [^\n]+: no space left on device\n1\n$/)
  }
})

t.test('a place that can be no store is named', { skip }, async (t) => {
  const sandbox = new Sandbox()
  writeFileSync(sandbox.path('file'), '')
  for (const [root, reason] of [
    ['/proc/nothing', 'no such file or directory'],
    [sandbox.path('file'), 'file exists'],
    [sandbox.path('file/below'), 'not a directory'],
  ] as const) {
    const err = `mica: images: no store at ${root}: ${reason} (--root or MICA_ROOT name another)\n`
    t.match(await sandbox.mica(['images', '--root', root]), { status: 1, out: '', err })
  }
})

t.test('Ctrl-C at any moment is one line, and leaves nothing', { skip }, async (t) => {
  const sandbox = new Sandbox()
  const source = sandbox.dir('source')
  for (let at = 0; at < 400; at++) writeFileSync(join(source, `f${at}`), randomBytes(20_000))
  await ok(sandbox, 'import', source, 'x')
  const [tar, part] = [sandbox.path('x.tar'), sandbox.path('x.tar.part')]
  await ok(sandbox, 'save', '-o', sandbox.path('in.tar'), 'x')
  const interrupted = new Set<string>()
  for (const args of [
    ['save', '-o', tar, 'x'],
    ['save', '--format', 'oci-dir', '-o', sandbox.path('x.dir'), 'x'],
    ['fsck', '-q'],
    ['import', source, 'again'],
    ['load', '-q', sandbox.path('in.tar')],
  ]) {
    for (let ms = 120; ms < 700; ms += 90) {
      const started = sandbox.start(args)
      const timer = setTimeout(() => started.kill('SIGINT'), ms)
      const { status, signal, err } = await started.ended
      clearTimeout(timer)
      const title = `${args[0]} after ${ms} ms`
      // Before it listens for signals it has begun nothing.
      if (status === 0 || signal === 'SIGINT') t.equal(err, '', title)
      else t.match({ status, err }, { status: 130, err: /^mica: [^\n]+: interrupted\n$/ }, title)
      if (status === 130) interrupted.add(args[0]!)
      t.notOk(existsSync(part) || (status !== 0 && existsSync(tar)), title)
      rmSync(tar, { force: true })
      await ok(sandbox, 'images')
      t.same(kept(sandbox).tmp, [], title)
      if (args[0] === 'import' || args[0] === 'load') await sandbox.mica(['rmi', '-f', 'again', 'x'])
    }
  }
  t.ok(interrupted.has('load') || interrupted.has('import'), [...interrupted].join())
  t.match((await ok(sandbox, 'fsck', '-q')).out, 'all is well')
})

t.test(
  'a terminal sees a bar for each layer, and its cursor again',
  { skip: skip || needs('script') },
  async (t) => {
    const sandbox = new Sandbox()
    const layout = makeLayout(sandbox)
    const seen = await sandbox.atTerminal(['load', layout], 'stty cols 90', [])
    t.equal(seen.status, 0, seen.out)
    const text = stripVTControlCharacters(seen.out)
    t.equal(new Set(text.match(/[0-9a-f]{12}: Done +\[■+\]/g)).size, 2, 'two layers')
    t.match(text, /\r\nLoaded image: layout:one\r\nLoaded image: layout:two\r\n$/)
    t.ok(seen.out.lastIndexOf('\x1b[?25h') > seen.out.lastIndexOf('\x1b[?25l'))
    t.notMatch((await sandbox.atTerminal(['load', '-q', layout], 'true', [])).out, /\x1b/)
    for (const args of [['load'], ['import', '-', 'x']])
      t.match(await sandbox.atTerminal(args, 'true', []), { status: 2, out: /: a terminal is no archive/ })
  },
)

t.test('two loads of one image at a time unpack it once', { skip }, async (t) => {
  const sandbox = new Sandbox()
  const layout = makeLayout(sandbox)
  const both = await Promise.all([
    sandbox.start(['load', layout]).ended,
    sandbox.start(['load', layout]).ended,
  ])
  t.same(
    both.map(({ status }) => status),
    [0, 0],
  )
  const unpacked = both.flatMap(({ err }) => err.match(/Unpacking/g) ?? []).length
  t.ok(unpacked <= 2, `${unpacked} unpackings of two layers`)
  t.match((await ok(sandbox, 'fsck', '-q')).out, 'all is well')
})

t.test('fsck finds every kind of damage, and repairs layers', { skip }, async (t) => {
  const sandbox = new Sandbox()
  await ok(sandbox, 'load', '-q', makeLayout(sandbox))
  const trees = kept(sandbox).layers.map((hex) => join(sandbox.root, 'layers', hex, 'fs'))
  // Whiteouts have the time of their making.
  const layer = trees.find(
    (path) => !Object.values(snapshot(path)).some((line) => line.startsWith('20000 ')),
  )!
  const good = snapshot(layer)
  const damages: readonly (readonly [title: string, change: () => void])[] = [
    ['another file', () => writeFileSync(join(layer, 'etc/extra'), '')],
    [
      'a changed file',
      () => writeFileSync(join(layer, 'etc', readdirSync(join(layer, 'etc'))[0]!), 'changed'),
    ],
    ['a lost tree', () => rmSync(layer, { recursive: true })],
  ]
  for (const [title, change] of damages) {
    change()
    t.equal((await sandbox.mica(['fsck', '-q'])).status, 1, title)
    t.match((await ok(sandbox, 'fsck', '-q', '--repair')).out, 'repaired', title)
    t.same(snapshot(layer), good, title)
  }
  const blob = join(sandbox.root, 'blobs/sha256', kept(sandbox).blobs[0]!)
  writeFileSync(blob, 'damaged')
  t.match(await sandbox.mica(['fsck', '-q']), { status: 1, out: /damaged/ })
})

t.test('layers and stacks have indexes, which fsck proves and makes anew', { skip }, async (t) => {
  const sandbox = new Sandbox()
  await ok(sandbox, 'load', '-q', makeLayout(sandbox))
  const indexes = join(sandbox.root, 'indexes')
  const beside = (): string[] =>
    kept(sandbox)
      .layers.map((hex) => join(sandbox.root, 'layers', hex, 'index'))
      .filter((path) => existsSync(path))
  t.equal(beside().length, kept(sandbox).layers.length)
  t.match(readdirSync(indexes), [/\.stack$/, /\.stack$/], 'of the image of one layer and that of two')
  t.match((await ok(sandbox, 'fsck', '-q')).out, 'all is well')
  await ok(sandbox, 'create', '--name', 'box', 'layout:two')
  const path = (await ok(sandbox, 'mount', 'box')).out.trim()
  t.match(JSON.parse((await ok(sandbox, 'stats', '--json', path)).out), { index: 'used' })
  await ok(sandbox, 'umount', 'box')
  await ok(sandbox, 'rm', 'box')
  const [layer] = beside() as [string]
  const stack = join(indexes, readdirSync(indexes)[0]!)
  const damages: readonly (readonly [title: string, words: RegExp, change: () => void])[] = [
    ['a lost index', /index sha256:[0-9a-f]+: it is missing/, () => rmSync(layer)],
    ['a damaged one', /index sha256:[0-9a-f]+: block \d+ is damaged/, () => harm(layer)],
    ['one cut short', /index sha256:[0-9a-f]+: it has \d+ bytes/, () => truncateSync(layer, 8192)],
    ['a damaged stack', /index \/.*stack: block \d+ is damaged/, () => harm(stack)],
  ]
  for (const [title, words, change] of damages) {
    change()
    const found = await sandbox.mica(['fsck', '-q'])
    t.match(found, { status: 1, out: words }, title)
    t.match((await ok(sandbox, 'fsck', '-q', '--repair')).out, /index .*\(repaired\)/, title)
    t.match((await ok(sandbox, 'fsck', '-q')).out, 'all is well', title)
  }
  for (const id of (await ok(sandbox, 'images', '-q')).out.trim().split('\n'))
    await ok(sandbox, 'rmi', '-f', id)
  t.strictSame([kept(sandbox).layers, readdirSync(indexes)], [[], []], 'they go with their layers')
})

/** Changes a bit of the last block. */
function harm(path: string): void {
  const bytes = readFileSync(path)
  bytes[bytes.length - 4090]! ^= 1
  writeFileSync(path, bytes)
}

t.test('an import and its directory give the tree that came in', { skip }, async (t) => {
  const sandbox = new Sandbox()
  const source = sandbox.dir('source')
  mkdirSync(join(source, 'd/e'), { recursive: true })
  writeFileSync(join(source, 'd/f'), 'x')
  sandbox.run('sh', ['-c', 'tar -cf source.tar -C source . && gzip -k source.tar'])
  for (const [from, name] of [
    [source, 'a'],
    [sandbox.path('source.tar'), 'b'],
    [sandbox.path('source.tar.gz'), 'c'],
  ] as const) {
    await ok(sandbox, 'import', '-c', 'CMD ["/x"]', from, name)
    const [found] = JSON.parse((await ok(sandbox, 'inspect', name)).out) as {
      Layers: { Path: string }[]
      Config: object
    }[]
    t.match(found!.Config, { Cmd: ['/x'] })
    t.same(Object.keys(snapshot(found!.Layers[0]!.Path)), Object.keys(snapshot(source)))
  }
})
