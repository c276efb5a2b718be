// Where things are in a store's directory. Nothing here touches the disk.
//
//   mica.db            what is known: images, tags, layers, containers (metadata.ts)
//   blobs/sha256/HEX   manifests, configs and layer archives, content-addressed (blob-store.ts)
//   partial/HEX        the beginning of a blob whose download did not end; the next one goes on from there
//   layers/HEX/fs      a layer's tree; HEX is its chain id
//   layers/HEX/index   its index; indexes/ has those of stacks of layers (layer-index.ts)
//   containers/ID/     upper, work and merged of one container
//   locks/             files that are only ever locked (lock.ts)
//   tmp/               unfinished work, one directory per running operation

import { homedir } from 'node:os'
import { isAbsolute, join, resolve } from 'node:path'
import { type Digest, hexOf } from './digest.js'

export type Layout = {
  readonly root: string
  readonly database: string
  readonly blobs: string
  readonly partial: string
  readonly layers: string
  readonly indexes: string
  readonly containers: string
  readonly locks: string
  readonly tmp: string
}

/** Returns the store's directory: `--root`, MICA_ROOT, root's /var/lib/mica, else the user's own. */
export function storeRoot(given: string | undefined, env: NodeJS.ProcessEnv = process.env): string {
  if (given !== undefined && given !== '') return resolve(given)
  if (env.MICA_ROOT !== undefined && env.MICA_ROOT !== '') return resolve(env.MICA_ROOT)
  // Root of a user namespace of ours (native/userns.cc) is a user.
  if (process.geteuid?.() === 0 && env.MICA_USERNS === undefined) return '/var/lib/mica'
  const data = env.XDG_DATA_HOME
  // basedir-spec: relative paths in these variables are to be ignored.
  return join(data !== undefined && isAbsolute(data) ? data : join(homedir(), '.local/share'), 'mica')
}

export function layoutOf(root: string): Layout {
  return {
    root,
    database: join(root, 'mica.db'),
    blobs: join(root, 'blobs/sha256'),
    partial: join(root, 'partial'),
    layers: join(root, 'layers'),
    indexes: join(root, 'indexes'),
    containers: join(root, 'containers'),
    locks: join(root, 'locks'),
    tmp: join(root, 'tmp'),
  }
}

/** Returns a layer's directory; its tree is `fs` in it. */
export function layerDir(layout: Layout, chainId: Digest): string {
  return join(layout.layers, hexOf(chainId))
}

export function layerTree(layout: Layout, chainId: Digest): string {
  return join(layerDir(layout, chainId), 'fs')
}
