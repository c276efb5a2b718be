// What `podman diff` and `podman commit` look at: of a large image only what the container changed.

import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../support/package-root.js'
import { Engine } from './engine.js'
import { diffOf } from './look.js'
import { absence, rootlessAbsence } from './world.js'

const FOLDERS = 20
const FILES = 100
/** Requests for the few names on the way to the changes, and what an engine asks besides. */
const FEW = 400

// The runner has a limit of its own.
t.setTimeout(0)

const skip = absence('podman', 'runc', 'busybox', 'tar') ?? false
const noRootless = skip || (rootlessAbsence() ?? false)

function importImage(engine: Engine): void {
  const root = mkdtempSync(join(tmpdir(), 'mica-compare-'))
  try {
    for (let d = 0; d < FOLDERS; d++) {
      mkdirSync(join(root, `files/d${d}`), { recursive: true })
      for (let f = 0; f < FILES; f++) writeFileSync(join(root, `files/d${d}/f${f}`), `${d} ${f}`)
    }
    mkdirSync(join(root, 'bin'))
    execFileSync('cp', ['/bin/busybox', join(root, 'bin/busybox')])
    for (const name of ['sh', 'sleep']) symlinkSync('busybox', join(root, 'bin', name))
    const archive = engine.world.path('many.tar')
    execFileSync('tar', ['-C', root, '--owner=0', '--group=0', '-cf', archive, '.'])
    engine.podman('import', '-q', archive, 'localhost/many')
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
}

/** Returns how many requests the only mount has had. */
function requests(engine: Engine): number {
  const mica = (...words: string[]): string => engine.inside(join(packageRoot, 'bin/mica'), words).toString()
  const [mount] = JSON.parse(mica('ls', '--json')) as { mountpoint: string; state: string }[]
  const stats = JSON.parse(mica('stats', '--json', mount!.mountpoint)) as {
    requests: Record<string, { requests: number }>
  }
  return Object.values(stats.requests).reduce((sum, each) => sum + each.requests, 0)
}

for (const isRootless of [false, true]) {
  const who = isRootless ? 'an ordinary user' : 'root'
  t.test(`diff and commit by ${who}`, { skip: isRootless ? noRootless : skip }, async (t) => {
    const [kernel, mica] = (['kernel', 'mica'] as const).map((backend) => {
      const engine = new Engine(backend, { isRootless })
      t.teardown(() => engine.end())
      importImage(engine)
      const script = 'echo x > /files/d3/f4; echo y > /files/d5/new; : > /files/d6/f1; exec sleep 1000'
      engine.podman('run', '-d', '--name', 'box', 'localhost/many', 'sh', '-c', script)
      engine.podman('exec', 'box', 'sh', '-c', 'until [ -e /files/d5/new ]; do :; done')
      return engine
    }) as [Engine, Engine]
    const before = requests(mica)
    t.same(diffOf(mica, 'box'), diffOf(kernel, 'box'), 'a running container')
    mica.podman('commit', '-q', 'box', 'localhost/changed')
    t.ok(requests(mica) - before < FEW, `${requests(mica) - before} requests`)

    for (const engine of [kernel, mica]) engine.podman('stop', '-t', '0', 'box')
    t.same(diffOf(mica, 'box'), diffOf(kernel, 'box'), 'one that is mounted for this')
    const [kernelLayers, micaLayers] = [kernel, mica].map((engine) => {
      engine.podman('commit', '-q', 'box', 'localhost/stopped')
      engine.podman('create', '--name', 'next', 'localhost/stopped')
      return diffOf(engine, 'next')
    })
    t.same(micaLayers, kernelLayers)
    t.same(mica.world.mounts(), [], 'nothing is left mounted')
  })
}
