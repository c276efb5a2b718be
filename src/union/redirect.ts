// Redirects: where the lowers of a directory are that was renamed. An absolute one is a path in the
// layers below taken as one tree, from their roots; a relative one is another name beside ours.
//
// See fs/overlayfs/namei.c:ovl_lookup_layer(), ovl_check_redirect(), and dir.c:ovl_get_redirect(). Cold
// paths: strings (bytes as latin1) are made freely here.

import { EIO, ENAMETOOLONG, ENOENT, ENOMEM, isAbsent } from '../base/errno.js'
import { SCRATCH_PATH, SCRATCH_STAT2, SCRATCH_VALUE, STAT_MODE } from '../vfs/arena.js'
import { copyName, dirFd } from './address.js'
import { S_IFDIR, S_IFMT } from './attr.js'
import { D_PARENT } from './dentry-table.js'
import { at, N_DENTRY } from './inode-table.js'
import { found, M_OPAQUE, M_REDIRECT, pushDir, readMarkers } from './lookup.js'
import { FIND_NEW_NAME } from './scratch.js'
import { DENTRY_WORDS, ROOT } from './state.js'
import type { Union } from './union.js'

/** Longest path that is followed or written: openat2(2) takes no longer one. */
export const PATH_BYTES = 4000
/** The path at hand, out of the way of readMarkers(). */
const WALK_PATH = SCRATCH_VALUE + 8192

const WALK_STOP = 1
const WALK_LAST = 2

/** The redirect that readMarkers() left at SCRATCH_PATH. Undefined for one that is none. */
function redirectText(u: Union): string | undefined {
  const text = Buffer.from(u.bytes.buffer, SCRATCH_PATH, found.redirectLength).toString('latin1')
  const parts = text.startsWith('/') ? text.slice(1).split('/') : [text]
  const isRight = parts.every((part) => part !== '' && part !== '.' && part !== '..' && !part.includes('/'))
  return isRight ? text : undefined
}

/** Where `path` is in the layers below a directory with this redirect at its end. */
function bend(path: string, redirect: string): string {
  return redirect.startsWith('/') ? redirect : path.slice(0, path.lastIndexOf('/') + 1) + redirect
}

function placePath(u: Union, path: string): void {
  const length = Buffer.from(u.bytes.buffer).write(path, WALK_PATH, 'latin1')
  u.bytes[WALK_PATH + length] = 0
}

/**
 * Goes on with find() below layer `from` at the absolute path that readMarkers() left: adds to u.found
 * what is there. Whiteouts, opaque directories and further redirects on the way count.
 */
export function followRedirect(u: Union, from: number): number {
  let path = redirectText(u)
  for (let layer = from + 1; layer <= u.lastLayer; layer++) {
    if (path === undefined) return -EIO
    if (path.length > PATH_BYTES) return -ENAMETOOLONG
    const end = walk(u, layer, path)
    if (end < 0 && end !== -ENOENT) return end
    if (end === WALK_STOP) break
    if (end !== -ENOENT) {
      const bytes = Buffer.from(path.slice(1), 'latin1')
      u.t.lock()
      const stored = u.t.names.store(bytes, 0, bytes.length)
      u.t.unlock()
      if (stored === 0) return -ENOMEM
      placePath(u, path.slice(1))
      const root = u.config.layers[layer]!.fd
      const markers = pushDir(u, layer, root, WALK_PATH, SCRATCH_STAT2 >> 2, stored, layer < u.lastLayer)
      if (markers < 0) return markers
      if ((markers & M_OPAQUE) !== 0 || end === WALK_LAST) break
      if ((markers & M_REDIRECT) !== 0) {
        const redirect = redirectText(u)
        path = redirect === undefined ? undefined : bend(bentPath, redirect)
        continue
      }
    }
    path = bentPath
  }
  return 0
}

/** Where the path of the last walk() leads in the layers below. */
let bentPath = ''

/**
 * Looks for the directory `path` in one layer; its Stat comes at SCRATCH_STAT2. 0: there, go on
 * below; WALK_LAST: there, nothing below counts; WALK_STOP: hidden here, stop; -ENOENT: not here.
 */
function walk(u: Union, layer: number, path: string): number {
  const root = u.config.layers[layer]!.fd
  const parts = path.slice(1).split('/')
  let isLast = false
  bentPath = ''
  for (let i = 0; i < parts.length; i++) {
    bentPath += `/${parts[i]}`
    placePath(u, parts.slice(0, i + 1).join('/'))
    const r = u.sys.statAt(root, WALK_PATH, SCRATCH_STAT2)
    if (r < 0) {
      if (!isAbsent(r)) return r
      bentPath = [bentPath, ...parts.slice(i + 1)].join('/')
      return isLast ? WALK_STOP : -ENOENT
    }
    if ((u.u32[(SCRATCH_STAT2 >> 2) + STAT_MODE]! & S_IFMT) !== S_IFDIR) return WALK_STOP
    if (i === parts.length - 1) break
    const markers = readMarkers(u, root, WALK_PATH)
    if (markers < 0) return markers
    if ((markers & M_OPAQUE) !== 0) isLast = true
    else if ((markers & M_REDIRECT) !== 0) {
      const redirect = redirectText(u)
      if (redirect === undefined) return -EIO
      bentPath = bend(bentPath, redirect)
    }
  }
  return isLast ? WALK_LAST : 0
}

/**
 * Returns the absolute redirect that leads to the lowers of a directory, or -errno. `fd`: its upper.
 * Renames do not change it: a directory that was moved says itself where its lowers are, and so do those
 * above it. Needs: the directory and all above it are in the upper.
 */
export function lowerPlace(u: Union, directory: number, fd: number): string | number {
  const t = u.t
  let below = ''
  for (let node = directory; node !== ROOT; ) {
    // The name first: who renames writes the redirect before the name changes.
    t.lock()
    const d = t.nodes[at(node) + N_DENTRY]! * DENTRY_WORDS
    const length = copyName(u, d, FIND_NEW_NAME)
    const parent = t.dentries[d + D_PARENT]!
    t.unlock()
    let name = Buffer.from(u.bytes.buffer, FIND_NEW_NAME, length).toString('latin1')
    const upper = node === directory ? fd : dirFd(u, node, 0)
    if (upper < 0) return upper
    const markers = readMarkers(u, upper, 0)
    if (markers < 0) return markers
    if ((markers & M_REDIRECT) !== 0) {
      const redirect = redirectText(u)
      if (redirect === undefined) return -EIO
      if (redirect.startsWith('/')) return redirect + below
      name = redirect
    }
    below = `/${name}${below}`
    node = parent
  }
  return below
}
