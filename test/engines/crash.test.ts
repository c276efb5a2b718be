// What a user sees when a part dies: the file system's process, or podman itself.

import { existsSync } from 'node:fs'
import t from 'tap'
import { Engine } from './engine.js'
import { putArchive } from './images.js'
import { containerTree, diffOf } from './look.js'
import { absence, nextSecond, pause, rootlessAbsence } from './world.js'

// The runner has a limit of its own.
t.setTimeout(0)

const skip = absence('podman', 'skopeo', 'umoci', 'runc') ?? false
const CHANGES = 'echo kept > /etc/kept; rm /etc/two; echo more >> /etc/new; rm -r /usr/lib'
const noRootless = skip || (rootlessAbsence() ?? false)

for (const isRootless of [false, true]) {
  const who = isRootless ? 'an ordinary user' : 'root'
  t.test(
    `kill -9 of the file system under a container of ${who}`,
    { skip: isRootless ? noRootless : skip },
    async (t) => {
      const engine = new Engine('mica', { isRootless })
      t.teardown(() => engine.end())
      putArchive(engine.world, 'two')
      const before = await nextSecond()
      engine.podman('load', '-q', '-i', putArchive(engine.world, 'two'))
      for (const name of ['box', 'other']) engine.podman('run', '-d', '--name', name, 'two', 'sleep', '1000')
      engine.podman('exec', 'box', 'sh', '-c', CHANGES)
      killServers(engine)
      t.not(engine.tryPodman(['exec', 'box', 'ls', '/etc']).status, 0, 'the container has lost its root')

      engine.podman('rm', '-f', '-t', '0', 'other')
      engine.podman('stop', '-t', '0', 'box')
      engine.podman('start', 'box')
      t.equal(
        engine.podman('exec', 'box', 'sh', '-c', 'cat /etc/kept /etc/new; ls /etc/two 2>&1 || true'),
        'kept\nmore\nls: /etc/two: No such file or directory\n',
        'a new start has what was written',
      )
      // On the kernel's driver the container alone can be killed; what was written is the same.
      const kernel = new Engine('kernel', { isRootless })
      t.teardown(() => kernel.end())
      kernel.podman('load', '-q', '-i', putArchive(kernel.world, 'two'))
      kernel.podman('run', '-d', '--name', 'box', 'two', 'sleep', '1000')
      kernel.podman('exec', 'box', 'sh', '-c', CHANGES)
      kernel.podman('kill', 'box')
      kernel.podman('wait', 'box')
      kernel.podman('start', 'box')
      const look = (engine: Engine) => [
        diffOf(engine, 'box'),
        containerTree(engine, 'container', 'box', before),
      ]
      t.same(look(engine), look(kernel))
      killServers(engine)
      engine.podman('rm', '-f', '-t', '0', 'box')
      t.same(engine.world.mounts(), [], 'nothing is left mounted')
      t.equal(engine.podman('run', '--rm', 'two', 'cat', '/etc/two'), 'two\n', 'and the image is whole')
    },
  )
}

t.test('a mount that fails is the engine\u2019s error', { skip }, async (t) => {
  const engine = new Engine('mica')
  t.teardown(() => engine.end())
  engine.podman('load', '-q', '-i', putArchive(engine.world, 'two'))
  engine.podman('create', '--name', 'box', 'two')
  const work = engine.podman('inspect', '--format', '{{.GraphDriver.Data.WorkDir}}', 'box').trim()
  engine.world.mustRun('touch', [`${work}/foreign`])
  const { status, err } = engine.tryPodman(['start', 'box'])
  t.not(status, 0)
  t.match(err, /mica-overlay .*: workdir .* is not empty: it holds 'foreign'/)
  engine.podman('rm', '-f', 'box')

  engine.configure({ program: '/nonexistent/mica-overlay' })
  const { status: missing, err: words } = engine.tryPodman(['run', '--rm', 'two', 'true'])
  t.not(missing, 0)
  t.match(words, /nonexistent/)
  t.same(engine.world.mounts(), [])
})

function killServers(engine: Engine): void {
  const pids = engine.world.fuseServers()
  if (pids.length === 0) throw new Error('nothing serves the container')
  for (const pid of pids) process.kill(pid, 'SIGKILL')
  while (pids.some((pid) => existsSync(`/proc/${pid}/fd/0`))) pause(5)
}
