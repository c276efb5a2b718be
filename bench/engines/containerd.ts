// What containerd's users wait for, by snapshotter: importing an image of many layers, a container that
// does nothing, containers at once, removing the image.
// node dist/bench/engines/containerd.js [--rounds 5] [--layers 60] [--files 200]

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Containerd, noContainerd } from '../../test/engines/containerd.js'
import { writeDeepImage } from '../../test/engines/containerd-images.js'
import { median, pairedRatio } from '../statistics.js'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    layers: { type: 'string', default: '60' },
    files: { type: 'string', default: '200' },
    only: { type: 'string', multiple: true },
  },
})

/** Snapshotters; those with arguments are `mica snapshotter`, the first is containerd's own. */
const DRIVERS: Readonly<Record<string, readonly string[] | undefined>> = {
  overlayfs: undefined,
  mica: [],
  'mica-no-index': ['--no-index'],
  'mica-through-mounts': ['--unpack', 'mount'],
  // What containerd's own proxy plugin for it does.
  'fuse-overlayfs': ['--mount-program', 'fuse-overlayfs', '--unpack', 'mount', '--no-index'],
}
const IMAGE = 'docker.io/library/bench:latest'
const AT_ONCE = 10

const why = noContainerd('busybox', 'fuse-overlayfs')
if (why !== false) {
  process.stderr.write(`${why}\n`)
  process.exit(1)
}

const names = Object.keys(DRIVERS).filter((name) => values.only?.includes(name) ?? true)
const engine = new Containerd({ names: names.filter((name) => name !== 'overlayfs') })
const times = new Map<string, Map<string, number[]>>()

async function time(name: string, what: string, work: () => unknown): Promise<void> {
  const started = process.hrtime.bigint()
  await work()
  const ms = Number(process.hrtime.bigint() - started) / 1e6
  const row = times.get(what) ?? new Map<string, number[]>()
  row.set(name, [...(row.get(name) ?? []), ms])
  times.set(what, row)
}

async function turn(name: string, archive: string): Promise<void> {
  const run = (id: string): string[] => engine.runArgs(name, IMAGE, id, '/bin/true')
  await time(name, `images import, ${values.layers} layers`, () =>
    engine.ok('images', 'import', '--snapshotter', name, archive),
  )
  await time(name, 'run --rm true, the first', () => engine.ok(...run('first')))
  await time(name, 'run --rm true', () => engine.ok(...run('again')))
  await time(name, 'run --rm find, all files', () =>
    engine.ok(
      ...engine.runArgs(name, IMAGE, 'find', '/bin/find', '/deep', '/bin', '-type', 'f', '-size', '+1000'),
    ),
  )
  await time(name, `run --rm true, ${AT_ONCE} at once`, () =>
    Promise.all(Array.from({ length: AT_ONCE }, (_, i) => engine.later(...run(`many-${i}`)))),
  )
  await time(name, 'images rm --sync', () => engine.ok('images', 'rm', '--sync', IMAGE))
}

try {
  for (const name of names) {
    const args = DRIVERS[name]
    const root = join(engine.folder, `root-${name}`)
    mkdirSync(root)
    if (args !== undefined) await engine.startNamed(name, root, args)
  }
  await engine.start()
  const archive = join(engine.folder, 'image.tar')
  writeDeepImage(archive, IMAGE, Number(values.layers), Number(values.files))
  for (let round = 0; round < Number(values.rounds); round++) {
    const order = round % 2 === 0 ? names : names.toReversed()
    for (const name of order) await turn(name, archive)
  }
} finally {
  await engine.close()
}

process.stdout.write(
  `| median of ${values.rounds}, ms (ratio) | ${names.join(' | ')} |\n|---${'|---'.repeat(names.length)}|\n`,
)
for (const [what, row] of times) {
  const reference = row.get(names[0]!)!
  const cells = names.map((name) => {
    const found = row.get(name)!
    return `${median(found).toFixed(0)} (${pairedRatio(found, reference).toFixed(2)})`
  })
  process.stdout.write(`| ${what} | ${cells.join(' | ')} |\n`)
}
