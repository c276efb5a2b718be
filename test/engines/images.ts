// Images for the engines' tests as docker archives: no network. Built once for each test file.

import { execFileSync } from 'node:child_process'
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import { Sandbox } from '../store/mica.js'
import { makeLayout } from '../store/sample-images.js'
import { archive, digest, dir, file, type Member, symlink, whiteout } from '../store/tar.js'
import type { World } from './world.js'

const sandbox = new Sandbox()

/** Puts an archive of the image NAME (`one`: a layer, `two`: two layers) in the world; returns its path. */
export function putArchive(world: World, name: 'one' | 'two'): string {
  const archive = sandbox.path(`${name}.tar`)
  execFileSync('sh', [
    '-c',
    'test -e "$2" || skopeo copy -q --insecure-policy "oci:$0:$1" "docker-archive:$2:localhost/$1:latest"',
    makeLayout(sandbox),
    name,
    archive,
  ])
  const path = world.path(`${name}.tar`)
  copyFileSync(archive, path)
  return path
}

const APPLETS = ['sh', 'ls', 'cat', 'echo', 'rm', 'mv', 'mkdir', 'sleep', 'true', 'touch', 'find', 'sync']

/** Makes an archive of an image `deep` of many layers, each of which adds, replaces and deletes something. */
export function putDeepArchive(world: World, layers: number): string {
  const base: Member[] = [
    ...['bin', 'etc', 'proc', 'sys', 'dev', 'tmp', 'layers'].map((name) => dir(name)),
    { name: 'bin/busybox', content: readFileSync('/bin/busybox'), mode: 0o755 },
    ...APPLETS.map((name) => symlink(`bin/${name}`, 'busybox')),
    file('etc/passwd', 'root:x:0:0:root:/:/bin/sh\n'),
    file('etc/group', 'root:x:0:\n'),
    file('layers/0'),
  ]
  const tars = [archive(...base)]
  for (let n = 1; n < layers; n++) {
    const gone = n % 3 === 0 ? [whiteout(`layers/.wh.${n - 2}`)] : []
    const fresh = n % 10 === 0 ? [whiteout('again/.wh..wh..opq')] : []
    tars.push(
      archive(
        file(`layers/${n}`),
        file('top', `${n}\n`),
        dir('again'),
        ...fresh,
        file(`again/${n}`),
        ...gone,
      ),
    )
  }
  const config = {
    architecture: 'amd64',
    os: 'linux',
    config: { Cmd: ['/bin/sh'], Env: ['PATH=/bin'] },
    rootfs: { type: 'layers', diff_ids: tars.map(digest) },
    history: tars.map(() => ({ created_by: 'test' })),
  }
  const names = tars.map((_, n) => `${n}.tar`)
  const path = world.path('deep.tar')
  const manifest = [{ Config: 'config.json', RepoTags: ['localhost/deep:latest'], Layers: names }]
  writeFileSync(
    path,
    archive(
      file('manifest.json', JSON.stringify(manifest)),
      file('config.json', JSON.stringify(config)),
      ...tars.map((content, n) => ({ name: basename(names[n]!), content })),
    ),
  )
  return path
}
