// `mica cp`: files into and out of a container. Its paths are found inside of its root, links and all;
// the copying is cp(1)'s, which keeps times, attributes and links, and owners if asked to.

import { spawnSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import type { Command } from 'commander'
import { MountError, UsageError } from '../mount/errors.js'
import { close, openRoot, S_IFDIR, S_IFLNK, S_IFMT, statAt } from '../store/at.js'
import { findContainer } from '../store/containers.js'
import { cleanName, LayerTree } from '../store/unpack-path.js'
import { withMounted } from './container-tree.js'
import { storeCommand, withLayers } from './store-command.js'

type Side = { readonly container: string | undefined; readonly path: string }

/** A path with a colon in its first part is a container's. */
function parseSide(text: string): Side {
  const [, container, path] = /^([^/:.][^/:]*):(.*)$/s.exec(text) ?? []
  return container === undefined ? { container, path: text } : { container, path: path! }
}

/** A place inside: the directory it is in, and its name there ('' for that directory itself). */
type Place = {
  readonly dirFd: number
  readonly name: string
  readonly isDirectory: boolean
  readonly exists: boolean
}

function place(tree: LayerTree, path: string, followLast: boolean): Place {
  const parts = cleanName(path)
  const name = parts.pop() ?? ''
  const dir = tree.walk(parts, false)
  if (dir.fd < 0)
    throw new MountError(`the container has no directory ${JSON.stringify(parts.join('/'))}`, 'ENOENT')
  const stat = statAt(dir.fd, name)
  const type = stat === undefined ? 0 : stat.mode & S_IFMT
  if (type === S_IFLNK && followLast) {
    const inside = tree.walk([...parts, name], false)
    if (inside.fd >= 0) return { dirFd: inside.fd, name: '', isDirectory: true, exists: true }
  }
  return { dirFd: dir.fd, name, isDirectory: type === S_IFDIR, exists: stat !== undefined }
}

function copy(from: string, to: string, fd: number, keepsOwners: boolean): void {
  const owners = keepsOwners ? [] : ['--no-preserve=ownership']
  const args = ['-a', ...owners, '-T', '--remove-destination', '--', from, to]
  const done = spawnSync('cp', args, { stdio: ['ignore', 'ignore', 'pipe', fd], encoding: 'utf8' })
  if (done.status === 0) return
  const words = done.error?.message ?? done.stderr.trim().split('\n')[0] ?? ''
  throw new MountError(words.replace(/^cp: /, '').replaceAll('/proc/self/fd/3/', ''), 'EIO')
}

const inside = ({ name }: Place): string =>
  name === '' ? '/proc/self/fd/3/.' : `/proc/self/fd/3/${Buffer.from(name, 'latin1')}`
const bytes = (path: string): string => Buffer.from(path).toString('latin1')

function copyIn(tree: LayerTree, from: string, to: string, keepsOwners: boolean): void {
  const stat = statSync(from, { throwIfNoEntry: false })
  if (stat === undefined) throw new MountError(`there is no ${from}`, 'ENOENT')
  const wanted = to.endsWith('/') ? `${to}.` : to
  let target = place(tree, bytes(wanted), true)
  if (!target.exists && to.endsWith('/'))
    throw new MountError(`the container has no directory ${to}`, 'ENOENT')
  // docker: a directory's content with `/.`, else the thing itself into an existing directory.
  if (target.isDirectory && !from.endsWith('/.')) {
    target = place(tree, bytes(join(wanted, basename(resolve(from)))), false)
  }
  copy(resolve(from), inside(target), target.dirFd, keepsOwners)
}

function copyOut(tree: LayerTree, from: string, to: string, keepsOwners: boolean): void {
  const source = place(tree, bytes(from), from.endsWith('/'))
  if (!source.exists) throw new MountError(`the container has no ${from}`, 'ENOENT')
  const isInto = statSync(to, { throwIfNoEntry: false })?.isDirectory() === true && !from.endsWith('/.')
  copy(inside(source), isInto ? join(resolve(to), basename(from)) : resolve(to), source.dirFd, keepsOwners)
}

type Options = { root?: string; archive?: boolean }

async function run(from: string, to: string, { root, archive = false }: Options): Promise<void> {
  if (from === '-' || to === '-')
    throw new UsageError('standard input and output are no places; mica exec -i CONTAINER tar … takes them')
  const [source, target] = [parseSide(from), parseSide(to)]
  const name = source.container ?? target.container
  await withLayers(
    root,
    name ?? from,
    async ({ store }) => {
      if (name === undefined) throw new UsageError('one of the two is CONTAINER:PATH')
      if (source.container !== undefined && target.container !== undefined) {
        throw new UsageError('from container to container takes two steps')
      }
      await withMounted(store, findContainer(store, name), (path) => {
        const rootFd = openRoot(path)
        const tree = new LayerTree(rootFd, [])
        try {
          if (source.container === undefined) copyIn(tree, source.path, target.path, archive)
          else copyOut(tree, source.path, target.path, archive)
        } finally {
          tree.close()
          close(rootFd)
        }
      })
    },
    name === undefined ? [] : [name],
  )
}

/** Returns the command. */
export function cpCommand(): Command {
  return storeCommand('cp', 'copy files into or out of a container')
    .argument('<from>', 'a path, or CONTAINER:PATH')
    .argument('<to>', 'a path, or CONTAINER:PATH')
    .option('-a, --archive', "keep owners; else files become the container's root's, or yours")
    .action(run)
}
