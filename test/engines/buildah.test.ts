// buildah on mica-overlay: builds with several stages, deletions and directories made again, compared with the
// same builds on the kernel's overlayfs.

import { writeFileSync } from 'node:fs'
import t from 'tap'
import { Engine } from './engine.js'
import { putArchive } from './images.js'
import { containerTree, layersOf, type Tree } from './look.js'
import { absence, rootlessAbsence } from './world.js'

// The runner has a limit of its own.
t.setTimeout(0)

const skip = absence('podman', 'buildah', 'skopeo', 'umoci', 'runc', 'python3') ?? false
const noRootless = skip || (rootlessAbsence() ?? false)

const CONTAINERFILE = `
FROM localhost/two AS builder
RUN mkdir -p /out/deep/er && echo one > /out/deep/er/one && rm -rf /usr/lib && mkdir /usr/lib && echo made > /usr/lib/made
RUN rm -r /out/deep/er && mkdir /out/deep/er && echo two > /out/deep/er/two && rm /usr/lib/made && chmod 711 /usr/lib
RUN mv /out/deep /out/moved && ln -s moved /out/symbolic && echo three > /out/three && ln /out/three /out/linked
FROM localhost/two
COPY --from=builder /out /out
COPY context.txt /srv/
RUN rm /etc/two && rm -rf /var/log && cat /out/moved/er/two > /srv/read && chown 3:4 /srv/read && chmod 4751 /srv/read
RUN echo again > /etc/two && mkdir -p /var/log/new
ENV NAME=value
CMD ["/bin/cat", "/srv/read"]
`

/**
 * The drivers differ in which directories they take along for their contents' sake, and in how they say that a
 * directory was made again; the tree tells of both.
 */
function filesOf(layer: Tree): string[] {
  return Object.keys(layer)
    .filter((path) => !layer[path]!.startsWith('5 ') && !/(^|\/)\.wh\./.test(path))
    .sort()
}

for (const isRootless of [false, true]) {
  t.test(
    `buildah by ${isRootless ? 'an ordinary user' : 'root'}`,
    { skip: isRootless ? noRootless : skip },
    async (t) => {
      const results = (['kernel', 'mica'] as const).map((backend) => {
        const engine = new Engine(backend, { isRootless })
        t.teardown(() => engine.end())
        engine.podman('load', '-q', '-i', putArchive(engine.world, 'two'))
        const context = engine.world.makeDir('home/context')
        writeFileSync(`${context}/Containerfile`, CONTAINERFILE)
        writeFileSync(`${context}/context.txt`, 'context\n')
        engine.buildah('bud', '-q', '--isolation', 'chroot', '-t', 'built', context)
        const built = [
          containerTree(engine, 'image', 'built', 0),
          layersOf(engine, 'built', 0).slice(-1).map(filesOf),
          engine.podman('run', '--rm', 'built'),
        ]
        engine.buildah('from', '-q', '--name', 'working', 'localhost/two')
        engine.buildah('copy', '-q', 'working', `${context}/context.txt`, '/etc/two')
        engine.buildah(
          'run',
          '--isolation',
          'chroot',
          'working',
          'sh',
          '-c',
          'rm -rf /usr; mkdir /usr; echo x > /usr/x',
        )
        engine.buildah('commit', '-q', '--rm', 'working', 'copied')
        const copied = containerTree(engine, 'image', 'copied', 0)
        return { built, copied, left: engine.world.mounts().length }
      })
      t.same(results[1], results[0])
      t.equal(results[1]!.left, 0, 'nothing is left mounted')
    },
  )
}
