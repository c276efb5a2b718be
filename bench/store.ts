// `npm run bench -- store`: the image store beside umoci and skopeo. Loading a Debian of three layers; diff
// and commit of ten changes over a big image; memory while a large layer is loaded. Tools take turns, round
// by round; figures are medians.

import { spawn, spawnSync } from 'node:child_process'
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readMounts } from '../src/mount/mount-info.js'
import { debian } from '../test/real/debian.js'
import { packageRoot } from './probe.js'
import { median } from './statistics.js'

const MIB = 1 << 20
const mica = join(packageRoot, 'bin/mica')

type Sizes = { readonly rounds: number; readonly files: number; readonly layerMib: number }
type Done = { readonly ms: number; readonly peakBytes: number }

class Bench {
  readonly folder = mkdtempSync(join(tmpdir(), 'mica-bench-store-'))
  readonly sizes: Sizes

  constructor(sizes: Sizes) {
    this.sizes = sizes
  }

  path(name: string): string {
    return join(this.folder, name)
  }

  /** Runs a program to its end; its peak is the kernel's own high-water mark, looked at every few ms. */
  async run(program: string, args: readonly string[], root = this.path('root')): Promise<Done> {
    const begin = process.hrtime.bigint()
    const child = spawn(program, args, {
      env: { ...process.env, MICA_ROOT: root, NODE_OPTIONS: '' },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let [words, peakBytes] = ['', 0]
    child.stderr.on('data', (chunk: Buffer) => {
      words += chunk
    })
    const look = setInterval(() => {
      peakBytes = Math.max(peakBytes, highWater(child.pid!))
    }, 10)
    const status = await new Promise((resolve) => child.on('close', resolve))
    clearInterval(look)
    if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${words.trim().split('\n').at(-1)}`)
    return { ms: Number(process.hrtime.bigint() - begin) / 1e6, peakBytes }
  }

  /** Like run(), for tools that leave it to the kernel when their files reach the disk: that is waited for. */
  async runSynced(program: string, args: readonly string[], place: string): Promise<Done> {
    const done = await this.run(program, args)
    return { ...done, ms: done.ms + (await this.run('sync', ['-f', place])).ms }
  }

  mica(...args: string[]): Promise<Done> {
    return this.run(mica, args)
  }

  remove(name: string): void {
    // containers/storage binds its own directory onto itself and leaves it so.
    if (name === 'storage') spawnSync('umount', [join(this.path(name), 'overlay')])
    rmSync(this.path(name), { recursive: true, force: true })
  }

  say(line: string): void {
    process.stdout.write(`${line}\n`)
  }
}

function highWater(pid: number): number {
  try {
    return Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}

const hasProgram = (name: string): boolean => spawnSync('sh', ['-c', `command -v ${name}`]).status === 0
const ms = (value: number): string => `${value < 100 ? value.toFixed(1) : value.toFixed(0)} ms`
const mib = (bytes: number): string => `${(bytes / MIB).toFixed(0)} MiB`

type Contender = {
  readonly name: string
  readonly program: string
  /** What a turn makes, and what is to be gone before it. */
  readonly makes?: readonly string[]
  run(round: number): Promise<Done>
}

/** Lets all take turns and prints medians, each with its ratio to the first. */
async function compete(bench: Bench, title: string, contenders: readonly Contender[]): Promise<void> {
  const present = contenders.filter(({ program }) => program === mica || hasProgram(program))
  const results = new Map<string, Done[]>(present.map(({ name }) => [name, []]))
  for (let round = 0; round < bench.sizes.rounds; round++) {
    for (const each of present) {
      for (const name of each.makes ?? []) bench.remove(name)
      // What is still to be written of that, or of another's turn, is not this one's.
      await bench.run('sync', ['-f', bench.folder])
      results.get(each.name)!.push(await each.run(round))
    }
  }
  bench.say(`\n${title} (${bench.sizes.rounds} rounds)`)
  const first = median([...results.values()][0]!.map((done) => done.ms))
  for (const [name, done] of results) {
    const middle = median(done.map((each) => each.ms))
    const peak = Math.max(...done.map(({ peakBytes }) => peakBytes))
    bench.say(
      `  ${name.padEnd(44)} ${ms(middle).padStart(10)}   ${(middle / first).toFixed(2)}x   peak ${mib(peak)}`,
    )
  }
}

/** Makes an OCI layout of a Debian with two layers of changes; undefined where there is no Debian. */
async function makeDebian(bench: Bench): Promise<string | undefined> {
  const found = debian()
  if (typeof found === 'string') {
    bench.say(`no Debian: ${found}`)
    return undefined
  }
  const tar = bench.path('debian.tar')
  spawnSync('tar', ['-C', found.root, '--numeric-owner', '--exclude=./var/cache', '-cf', tar, '.'])
  await bench.mica('import', tar, 'debian:1')
  rmSync(tar)
  const scripts = [
    `dpkg -i /mnt/*.deb`,
    'rm -rf /usr/share/doc /usr/share/man; mv /usr/share/zoneinfo /srv; touch /etc/new',
  ]
  for (const [at, script] of scripts.entries()) {
    const [from, to] = [`debian:${at + 1}`, `debian:${at + 2}`]
    await bench.mica('run', '--name', 'w', '-v', `${found.packages}:/mnt:ro`, from, 'sh', '-ec', script)
    await bench.mica('commit', 'w', to)
    await bench.mica('rm', 'w')
  }
  const layout = bench.path('layout')
  await bench.mica('save', '--format', 'oci-dir', '-o', layout, 'debian:3')
  return layout
}

async function loading(bench: Bench): Promise<void> {
  const layout = await makeDebian(bench)
  if (layout === undefined) return
  try {
    const umoci = ['unpack', '--image', `${layout}:3`, bench.path('bundle')]
    const storage = `overlay@${bench.path('storage')}+${bench.path('run')}`
    const skopeo = ['copy', '-q', `oci:${layout}:3`, `containers-storage:[${storage}]debian:3`]
    await compete(bench, 'load of a Debian of three layers, OCI layout, gzip', [
      {
        name: 'mica load (layers, blobs, indexes; synced)',
        program: mica,
        makes: ['loaded'],
        run: () => bench.run(mica, ['load', '-q', layout], bench.path('loaded')),
      },
      {
        name: 'umoci unpack (one tree), then sync',
        program: 'umoci',
        makes: ['bundle'],
        run: () => bench.runSynced('umoci', umoci, bench.folder),
      },
      {
        name: 'umoci unpack, not synced',
        program: 'umoci',
        makes: ['bundle'],
        run: () => bench.run('umoci', umoci),
      },
      {
        name: 'skopeo copy to containers-storage, then sync',
        program: 'skopeo',
        makes: ['storage', 'run'],
        run: () => bench.runSynced('skopeo', skopeo, bench.folder),
      },
      {
        name: 'skopeo copy, not synced',
        program: 'skopeo',
        makes: ['storage', 'run'],
        run: () => bench.run('skopeo', skopeo),
      },
    ])
  } finally {
    for (const name of ['loaded', 'bundle', 'storage', 'run', 'layout']) bench.remove(name)
  }
}

function makeFiles(dir: string, files: number): void {
  for (let at = 0; at < files; at++) {
    if (at % 100 === 0) mkdirSync(join(dir, String(at / 100)), { recursive: true })
    writeFileSync(join(dir, String(Math.floor(at / 100)), `file${at}`), `content ${at}`)
  }
}

/** Makes a container with ten changes on an image of so many files. */
async function changed(bench: Bench, name: string, files: number): Promise<void> {
  makeFiles(bench.path(name), files)
  await bench.mica('import', bench.path(name), name)
  await bench.mica('create', name, `c-${name}`)
  const root = spawnSync(mica, ['mount', `c-${name}`], {
    encoding: 'utf8',
    env: { ...process.env, MICA_ROOT: bench.path('root'), NODE_OPTIONS: '' },
  }).stdout.trim()
  for (let at = 0; at < 4; at++) appendFileSync(join(root, `0/file${at}`), 'more')
  for (let at = 0; at < 3; at++) writeFileSync(join(root, `0/new${at}`), 'new')
  for (let at = 0; at < 3; at++) rmSync(join(root, `0/file${at + 10}`))
  await bench.mica('umount', `c-${name}`)
}

async function changes(bench: Bench): Promise<void> {
  const { files } = bench.sizes
  const few = Math.max(100, files / 100)
  await changed(bench, 'many', files)
  await changed(bench, 'few', few)
  const layout = bench.path('many-layout')
  await bench.mica('save', '--format', 'oci-dir', '-o', layout, 'many')
  const bundle = bench.path('many-bundle')
  if (hasProgram('umoci')) {
    await bench.run('umoci', ['unpack', '--image', `${layout}:latest`, bundle])
    for (let at = 0; at < 3; at++) writeFileSync(join(bundle, `rootfs/0/new${at}`), 'new')
  }
  await compete(bench, `ten changes over an image of ${files} files`, [
    { name: 'mica diff', program: mica, run: () => bench.mica('diff', 'c-many') },
    { name: `mica diff, ${few} files`, program: mica, run: () => bench.mica('diff', 'c-few') },
    { name: 'mica ps (start alone)', program: mica, run: () => bench.mica('ps') },
    { name: 'mica commit', program: mica, run: (round) => bench.mica('commit', 'c-many', `made:${round}`) },
    {
      name: 'umoci repack',
      program: 'umoci',
      run: (round) => bench.run('umoci', ['repack', '--image', `${layout}:made${round}`, bundle]),
    },
  ])
}

async function memory(bench: Bench): Promise<void> {
  const { layerMib } = bench.sizes
  const dir = bench.path('big')
  mkdirSync(dir)
  spawnSync('dd', ['if=/dev/urandom', `of=${join(dir, 'data')}`, 'bs=1M', `count=${layerMib}`])
  const made = await bench.mica('import', dir, 'big')
  rmSync(dir, { recursive: true })
  const archive = bench.path('big.tar')
  const saved = await bench.mica('save', '-o', archive, 'big')
  const loaded = await bench.run(mica, ['load', '-q', '-i', archive], bench.path('loaded'))
  bench.say(`\npeak memory for a layer of ${layerMib} MiB`)
  for (const [name, { peakBytes, ms: took }] of Object.entries({ import: made, save: saved, load: loaded })) {
    bench.say(`  mica ${name.padEnd(39)} ${mib(peakBytes).padStart(10)}   in ${(took / 1000).toFixed(1)} s`)
  }
}

const ALL = { load: loading, diff: changes, memory }

/** Runs the benchmark; arguments are `--quick`, `--rounds=N`, and names of its parts. */
export async function benchStore(args: readonly string[]): Promise<void> {
  const isQuick = args.includes('--quick')
  const rounds = Number(args.find((arg) => arg.startsWith('--rounds='))?.slice('--rounds='.length))
  const bench = new Bench({
    rounds: rounds >= 1 ? rounds : isQuick ? 2 : 5,
    files: isQuick ? 1000 : 10_000,
    layerMib: isQuick ? 64 : 1024,
  })
  const asked = Object.entries(ALL).filter(([name]) => args.includes(name))
  try {
    for (const [, part] of asked.length > 0 ? asked : Object.entries(ALL)) await part(bench)
  } finally {
    for (const { mountpoint } of readMounts().filter(({ mountpoint }) => mountpoint.startsWith(bench.folder)))
      spawnSync('umount', ['-l', mountpoint])
    rmSync(bench.folder, { recursive: true, force: true, maxRetries: 5 })
  }
}
