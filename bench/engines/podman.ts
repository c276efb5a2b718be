// What podman's and buildah's users wait for, by driver: a container that does nothing, diff and commit, a small
// build, packages unpacked in a container; and the memory of one container more.
// npm run bench engines/podman -- [--rounds 5] [--only mica --only kernel]

import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type Backend, Engine } from '../../test/engines/engine.js'
import { absence } from '../../test/engines/world.js'
import { debian } from '../../test/real/debian.js'
import { median, pairedRatio } from '../statistics.js'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    only: { type: 'string', multiple: true },
  },
})
const rounds = Number(values.rounds)
const IMAGE = 'localhost/debian'
const MORE = 6
/** Milliseconds of a second at which a quick comparison begins to end in the next one. */
const SECOND_END = 950
const CONTAINERFILE = `
FROM ${IMAGE} AS builder
COPY main.c /src/
RUN cd /src && cc -O1 -o main main.c && mkdir -p /out && cp main /out/ && rm -rf /usr/share/locale && mkdir /usr/share/locale
FROM ${IMAGE}
COPY --from=builder /out /usr/local/bin
RUN rm -r /usr/share/doc/gcc* && touch /etc/built && chmod -R o-w /etc/apt
`

const source = debian()
const why = typeof source === 'string' ? source : absence('podman', 'buildah', 'runc', 'fuse-overlayfs')
if (why !== undefined || typeof source === 'string') {
  process.stderr.write(`${why}\n`)
  process.exit(1)
}

const all: readonly Backend[] = ['kernel', 'fuse-overlayfs', 'mica']
const names = all.filter((name) => values.only?.includes(name) ?? true)
const figures = new Map<string, Map<string, number[]>>()

function note(name: string, what: string, value: number): void {
  const row = figures.get(what) ?? new Map<string, number[]>()
  row.set(name, [...(row.get(name) ?? []), value])
  figures.set(what, row)
}

function time(name: string, what: string, work: () => unknown): void {
  const started = process.hrtime.bigint()
  work()
  note(name, what, Number(process.hrtime.bigint() - started) / 1e6)
}

/** Returns the memory of the processes that serve mounts, in MB, what they share counted once. */
function servingMb(engine: Engine): number {
  const pss = (pid: number): number =>
    Number(/^Pss:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? 0)
  return engine.world.fuseServers().reduce((sum, pid) => sum + pss(pid), 0) / 1024
}

function prepare(engine: Engine, archive: string): void {
  const path = engine.world.path('debian.tar')
  copyFileSync(archive, path)
  engine.podman('import', '-q', '-c', 'CMD ["/bin/sh"]', path, IMAGE)
  const context = engine.world.makeDir('home/context')
  writeFileSync(`${context}/main.c`, '#include <stdio.h>\nint main(void) { return puts("built") < 0; }\n')
  writeFileSync(`${context}/Containerfile`, CONTAINERFILE)
  const packages = engine.world.makeDir('home/packages')
  const { packages: from } = source as Exclude<typeof source, string>
  for (const name of readdirSync(from)) {
    if (name.endsWith('.deb')) copyFileSync(join(from, name), join(packages, name))
  }
  const script = 'echo x > /etc/new; echo y >> /etc/passwd; rm -r /usr/share/doc/bash; mkdir /srv/new'
  engine.podman('run', '--name', 'box', IMAGE, 'sh', '-c', script)
}

function turn(name: string, engine: Engine, round: number): void {
  const packages = engine.world.path('home/packages')
  const context = engine.world.path('home/context')
  const unpack = ['run', '--rm', '-v', `${packages}:/packages:ro`, IMAGE, 'sh', '-c']
  time(name, 'run --rm true', () => engine.podman('run', '--rm', IMAGE, 'true'))
  time(name, 'diff', () => engine.podman('diff', 'box'))
  // The engine sleeps to the next full second: each round begins in another part of one.
  const phase = ((round + 0.5) / rounds) * 1000
  const commit = (what: string, at: number): void => {
    for (const until = nextAt(at); Date.now() < until; );
    time(name, what, () => engine.podman('commit', '-q', 'box', `localhost/committed-${round}`))
  }
  commit('commit', phase)
  commit('commit, with little of that sleep', SECOND_END)
  time(name, 'bud of two stages', () =>
    engine.buildah('bud', '-q', '--isolation', 'chroot', '-t', `localhost/built-${round}`, context),
  )
  time(name, 'run dpkg --unpack', () => engine.podman(...unpack, 'dpkg --force-all --unpack /packages/*.deb'))
}

/** Returns the next moment that is so many ms after a full second. */
function nextAt(phase: number): number {
  const now = Date.now()
  const at = Math.floor(now / 1000) * 1000 + phase
  return at >= now ? at : at + 1000
}

/** Notes what each of several containers more takes. */
function weigh(name: string, engine: Engine): void {
  if (name === 'kernel') return
  const start = (i: number): void =>
    void engine.podman(
      'run',
      '-d',
      '--name',
      `more-${i}`,
      IMAGE,
      'sh',
      '-c',
      'ls -lR /etc >/dev/null; sleep 1000',
    )
  start(0)
  const settle = (): void => void execFileSync('sleep', ['4'])
  settle()
  const before = servingMb(engine)
  for (let i = 1; i <= MORE; i++) start(i)
  settle()
  note(name, 'memory of a further container, MB', (servingMb(engine) - before) / MORE)
}

const engines = new Map<Backend, Engine>()
const scratch = mkdtempSync(join(tmpdir(), 'mica-bench-'))
try {
  const archive = join(scratch, 'debian.tar')
  const without = ['proc', 'sys', 'dev'].map((dir) => `--exclude=./${dir}/*`)
  execFileSync('tar', ['-C', source.root, ...without, '-cf', archive, '.'])
  for (const name of names) {
    const engine = new Engine(name)
    engines.set(name, engine)
    prepare(engine, archive)
  }
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 0 ? names : names.toReversed()
    for (const name of order) turn(name, engines.get(name)!, round)
  }
  for (const name of names) weigh(name, engines.get(name)!)
} finally {
  for (const engine of engines.values()) engine.end()
  rmSync(scratch, { recursive: true, force: true })
}

const head = `median of ${rounds} in ms, least, ratio to ${names[0]}`
process.stdout.write(`| ${head} | ${names.join(' | ')} |\n|---${'|---'.repeat(names.length)}|\n`)
for (const [what, row] of figures) {
  const reference = row.get(names[0]!)
  const cells = names.map((name) => {
    const found = row.get(name)
    if (found === undefined) return '-'
    if (reference === undefined) return median(found).toFixed(1)
    const ratio = pairedRatio(found, reference).toFixed(2)
    return `${median(found).toFixed(0)}, ${Math.min(...found).toFixed(0)} (${ratio})`
  })
  process.stdout.write(`| ${what} | ${cells.join(' | ')} |\n`)
}
