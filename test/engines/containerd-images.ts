// Layers for containerd's tests, made member by member: what images are made of, deletions and all.

import { readFileSync } from 'node:fs'
import { archive, dir, file, hardLink, symlink, whiteout } from '../store/tar.js'
import { writeOciArchive } from './oci-archive.js'

const APPLETS = [
  'sh',
  'ls',
  'cat',
  'true',
  'sleep',
  'rm',
  'mkdir',
  'mv',
  'echo',
  'touch',
  'chmod',
  'ln',
  'find',
  'stat',
]

function base(): Buffer {
  const busybox = readFileSync('/bin/busybox')
  return archive(
    dir('bin/'),
    { name: 'bin/busybox', content: busybox, mode: 0o755 },
    ...APPLETS.map((name) => symlink(`bin/${name}`, 'busybox')),
    ...[
      'etc/',
      'proc/',
      'sys/',
      'dev/',
      'usr/',
      'usr/lib/',
      'var/',
      'opt/',
      'opt/old/',
      'opt/old/deep/',
      'srv/',
    ].map((name) => dir(name)),
    dir('tmp/', { mode: 0o1777 }),
    dir('var/log/', { uid: 5, gid: 6, mode: 0o750 }),
    file('etc/passwd', 'root:x:0:0:root:/:/bin/sh\n'),
    hardLink('etc/passwd2', 'etc/passwd'),
    file('etc/gone', 'lower'),
    file('etc/kept', 'lower'),
    file('usr/lib/set', 'x', { mode: 0o4755, uid: 1, gid: 2 }),
    file('opt/old/deep/a', 'a'),
    file('opt/old/b', 'b'),
    file('srv/turns', 'a file'),
    symlink('usr/link', '../etc/passwd'),
  )
}

/** Four layers with what makes merging hard. Returns the top layer's chain id. */
export function writeTestImage(path: string, name: string): string {
  return writeOciArchive(path, name, [
    base(),
    archive(
      dir('etc/'),
      whiteout('etc/.wh.gone'),
      file('etc/two', 'two'),
      dir('opt/'),
      whiteout('opt/.wh.old'),
    ),
    archive(
      ...[
        dir('etc/'),
        dir('srv/'),
        dir('opt/'),
        dir('opt/old/'),
        file('opt/old/new', 'new'),
        whiteout('srv/.wh.turns'),
      ],
      ...[
        dir('srv/turns/'),
        file('srv/turns/in', 'a directory'),
        file('etc/one', '1'),
        hardLink('etc/one2', 'etc/one'),
      ],
    ),
    archive(
      ...[
        dir('etc/'),
        dir('usr/'),
        dir('var/'),
        dir('var/log/', { uid: 7, gid: 8, mode: 0o700 }),
        whiteout('usr/lib/.wh..wh..opq'),
      ],
      ...[dir('usr/lib/'), file('usr/lib/only', 'only'), file('etc/gone', 'back')],
    ),
  ])
}

/** As many layers; each has a file of its own, changes one, and deletes one of the layer before. */
export function writeDeepImage(path: string, name: string, layers: number, files = 5): string {
  const more = Array.from({ length: layers - 1 }, (_, i) =>
    archive(
      ...[dir('deep/'), dir(`deep/d${i}/`), file('deep/changed', `layer ${i}`), file(`deep/f${i}`, `${i}`)],
      ...Array.from({ length: files }, (_, f) => file(`deep/d${i}/f${f}`, `${i} ${f}`)),
      ...(i > 0 ? [whiteout(`deep/.wh.f${i - 1}`)] : []),
    ),
  )
  return writeOciArchive(path, name, [base(), ...more])
}
