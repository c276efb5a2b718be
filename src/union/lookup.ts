// What a name means: the search through the reals of a directory, top first.
//
// See fs/overlayfs/namei.c:ovl_lookup(). A non-directory ends the search where it is found. A
// directory goes on below until something opaque, a whiteout, or a non-directory. Redirects bend
// the search of all layers below the one that has it.

import { EIO, ENAMETOOLONG, ENODATA, ENOENT, ENOMEM, EOPNOTSUPP, isAbsent } from '../base/errno.js'
import {
  DOT_OPAQUE,
  DOT_WHITEOUT,
  IMPURE,
  INO,
  INTERNAL_PREFIXES,
  LINKS,
  OPAQUE,
  OWN,
  REDIRECT,
  WHITEOUT,
} from '../format/markers.js'
import {
  SCRATCH_LIST,
  SCRATCH_PATH,
  SCRATCH_STAT2,
  SCRATCH_VALUE,
  STAT_DEV,
  STAT_INO,
  STAT_MODE,
  STAT_NLINK,
  STAT_RDEV,
  STAT_SIZE,
} from '../vfs/arena.js'
import { dirFd } from './address.js'
import { S_IFCHR, S_IFDIR, S_IFMT, S_IFREG, showIno, statReal } from './attr.js'
import { D_LENGTH, D_NAME, D_PARENT } from './dentry-table.js'
import { pathIn, readReals, readRealsAbove, releasePaths } from './dir-stack.js'
import { ASK_LAYERS, adoptPath, adoptSibling, findIndexed } from './indexed.js'
import { at, F_IMPURE, F_ROOT, N_DENTRY, N_INFO } from './inode-table.js'
import { firstLower, NOWHERE, UNKNOWN } from './lower-index.js'
import { isPristine, setApart } from './pristine.js'
import { followRedirect } from './redirect.js'
import { FIND_DOT_NAME, FIND_NEW_NAME } from './scratch.js'
import { DENTRY_WORDS, H_COPIES, ROOT } from './state.js'
import type { Union } from './union.js'

export const M_OPAQUE = 1
export const M_IMPURE = 2
export const M_REDIRECT = 4
export const M_OPAQUE_X = 8
export const M_WHITEOUT = 16
export const M_INO = 32
export const M_LINKS = 64
export const M_OWN = 128
/** What pristine.ts notes of what it found. */
export const M_PRISTINE = 256
export const M_TOUCHED = 512

const SCRATCH_STAT3 = SCRATCH_STAT2 + 128
const DOT_PATH = SCRATCH_VALUE + 40960
const LIST_BYTES = 65536

const text = new TextEncoder()
const prefixes = INTERNAL_PREFIXES.map((prefix) => text.encode(prefix))
const suffixes = [
  [text.encode(OPAQUE), M_OPAQUE],
  [text.encode(IMPURE), M_IMPURE],
  [text.encode(REDIRECT), M_REDIRECT],
  [text.encode(WHITEOUT), M_WHITEOUT],
  [text.encode(INO), M_INO],
  [text.encode(LINKS), M_LINKS],
  [text.encode(OWN), M_OWN],
] as const
const dotWhiteout = text.encode(DOT_WHITEOUT)
const dotOpaque = text.encode(DOT_OPAQUE)

/** The result of find(), one per thread: what the name is and where. */
export const found = {
  mode: 0,
  nlink: 0,
  /** Layer of the topmost real. A directory's other reals are in u.found. */
  layer: 0,
  /** The shown ino. */
  ino: new Int32Array(2),
  /** Markers of the topmost real when it is a directory. */
  markers: 0,
  /** Length of the redirect left in SCRATCH_VALUE by readMarkers(). */
  redirectLength: 0,
  /** H_COPIES before the search. */
  copies: 0,
}

/** Tells whether a name is `.` or `..`. */
export function isDots(bytes: Uint8Array, name: number, length: number): boolean {
  return bytes[name] === 0x2e && (length === 1 || (length === 2 && bytes[name + 1] === 0x2e))
}

/** Tells whether a name belongs to the AUFS dialect and is therefore never shown. */
export function isDotWhiteout(bytes: Uint8Array, name: number, length: number): boolean {
  return (
    length > 4 &&
    bytes[name] === 0x2e &&
    bytes[name + 1] === 0x77 &&
    bytes[name + 2] === 0x68 &&
    bytes[name + 3] === 0x2e
  )
}

/** Tells whether the Stat at word `w` is a whiteout in the kernel's form. */
export function isWhiteout(u: Union, w: number): boolean {
  return (u.u32[w + STAT_MODE]! & S_IFMT) === S_IFCHR && u.u32[w + STAT_RDEV] === 0
}

/**
 * Returns the M_* markers of an object, or -errno. One call for an object without attributes.
 * A redirect's value is left at SCRATCH_VALUE with a NUL, a stored ino as well (never both).
 */
export function readMarkers(u: Union, fd: number, ref: number): number {
  const length = u.sys.listXattrAt(fd, ref, SCRATCH_LIST, LIST_BYTES)
  if (length <= 0) return length === -EOPNOTSUPP ? 0 : length
  let markers = 0
  const end = SCRATCH_LIST + length
  for (let name = SCRATCH_LIST; name < end; ) {
    let nul = name
    while (nul < end && u.bytes[nul] !== 0) nul++
    const marker = markerOf(u.bytes, name, nul - name)
    if (marker !== 0) {
      const size = u.sys.getXattrAt(fd, ref, name, SCRATCH_VALUE, 4096)
      if (size < 0 && size !== -ENODATA) return size
      if (marker === M_OPAQUE) {
        if (size === 1 && u.bytes[SCRATCH_VALUE] === 0x79) markers |= M_OPAQUE
        if (size === 1 && u.bytes[SCRATCH_VALUE] === 0x78) markers |= M_OPAQUE_X
      } else if (marker === M_REDIRECT) {
        if (size > 0) {
          u.bytes[SCRATCH_VALUE + size] = 0
          found.redirectLength = size
          markers |= M_REDIRECT
          // Kept apart: further attributes reuse SCRATCH_VALUE.
          u.bytes.copyWithin(SCRATCH_PATH, SCRATCH_VALUE, SCRATCH_VALUE + size + 1)
        }
      } else if (marker === M_INO) {
        if (size === 16 && readHexIno(u)) markers |= M_INO
      } else markers |= marker
    }
    name = nul + 1
  }
  return markers
}

const storedIno = new Int32Array(2)

/** Copies the ino that readMarkers() found (M_INO) out. */
export function storedInoInto(out: Int32Array): void {
  out.set(storedIno)
}

function readHexIno(u: Union): boolean {
  const hi = Number.parseInt(Buffer.from(u.bytes.buffer, SCRATCH_VALUE, 8).toString('latin1'), 16)
  const lo = Number.parseInt(Buffer.from(u.bytes.buffer, SCRATCH_VALUE + 8, 8).toString('latin1'), 16)
  if (Number.isNaN(hi) || Number.isNaN(lo)) return false
  storedIno[0] = lo | 0
  storedIno[1] = hi | 0
  return true
}

function markerOf(bytes: Uint8Array, name: number, length: number): number {
  for (const prefix of prefixes) {
    if (!startsWith(bytes, name, length, prefix)) continue
    for (const [suffix, marker] of suffixes) {
      if (
        length === prefix.length + suffix.length &&
        startsWith(bytes, name + prefix.length, suffix.length, suffix)
      ) {
        return marker
      }
    }
    return 0
  }
  return 0
}

export function startsWith(bytes: Uint8Array, name: number, length: number, prefix: Uint8Array): boolean {
  if (length < prefix.length) return false
  for (let i = 0; i < prefix.length; i++) if (bytes[name + i] !== prefix[i]) return false
  return true
}

/** Tells (1), or -errno, whether `.wh.NAME` lies beside a name in a real directory. */
export function hasDotWhiteout(u: Union, fd: number, name: number, length: number): number {
  u.bytes.set(dotWhiteout, FIND_DOT_NAME)
  u.bytes.copyWithin(FIND_DOT_NAME + 4, name, name + length + 1)
  const r = u.sys.statAt(fd, FIND_DOT_NAME, SCRATCH_STAT3)
  return r === 0 ? 1 : isAbsent(r) ? 0 : r
}

/** Tells (1), or -errno, whether a real directory holds `.wh..wh..opq`. */
export function hasDotOpaque(u: Union, fd: number, ref: number): number {
  let at = DOT_PATH
  if (ref !== 0) {
    for (let i = ref; u.bytes[i] !== 0; i++) u.bytes[at++] = u.bytes[i]!
    u.bytes[at++] = 0x2f
  }
  u.bytes.set(dotOpaque, at)
  u.bytes[at + dotOpaque.length] = 0
  const r = u.sys.statAt(fd, DOT_PATH, SCRATCH_STAT3)
  return r === 0 ? 1 : isAbsent(r) ? 0 : r
}

/**
 * Finds a name in a directory: fills `found`, for a directory also u.found (its reals, whose paths are
 * freed by the next find() unless a node took them over), and leaves the topmost real's Stat at `stat`. Returns 0, -ENOENT, or another errno.
 * With `below` only the layers under the upper are searched.
 */
export function find(
  u: Union,
  parent: number,
  name: number,
  length: number,
  stat: number,
  below = false,
): number {
  found.copies = Atomics.load(u.t.header, H_COPIES)
  const r = search(u, parent, name, length, stat, below)
  if (r === 0 && isPristine(u.t, parent)) setApart(u, parent, name, length)
  return r
}

function search(
  u: Union,
  parent: number,
  name: number,
  length: number,
  stat: number,
  below: boolean,
): number {
  if (length > 255) return -ENAMETOOLONG
  if (isDotWhiteout(u.bytes, name, length)) return -ENOENT
  const t = u.t
  t.lock()
  releasePaths(t, u.found)
  if (u.index === null) readReals(t, parent, u.reals)
  else readRealsAbove(t, parent, u.indexBase, u.reals)
  t.unlock()
  const reals = u.reals
  let stacked = u.index === null ? 0 : reals.stacked
  const out = u.found
  let isBent = false
  let hasAsked = false
  let word = stat >> 2
  for (let i = 0; i < reals.count; i++) {
    let layer = reals.layers[i]!
    const isLower = !u.isUpper(layer)
    if (below && !isLower) continue
    if (isLower && stacked !== 0 && !isBent) {
      const r = findIndexed(u, stacked, name, length, stat)
      if (r !== ASK_LAYERS) return r
      stacked = 0
      readAllReals(u, parent)
    }
    if (isLower && !hasAsked && i + 1 < reals.count) {
      hasAsked = true
      const first = firstLower(u, parent, name, length, i)
      if (first === NOWHERE) break
      if (first !== UNKNOWN) {
        while (i < reals.count && reals.layers[i] !== first) i++
        layer = first
      }
    }
    const hasMore = i + 1 < reals.count
    const fd = dirFd(u, parent, layer)
    if (fd < 0) {
      if (isAbsent(fd)) continue
      return fd
    }
    const here = out.count === 0 ? stat : SCRATCH_STAT2
    const r = statReal(u, fd, name, here)
    const hasDots = hasMore && u.config.layers[layer]!.hasDotWhiteouts
    if (r < 0) {
      if (!isAbsent(r)) return r
      if (hasDots) {
        const dot = hasDotWhiteout(u, fd, name, length)
        if (dot < 0) return dot
        if (dot === 1) break
      }
      continue
    }
    word = here >> 2
    if (isWhiteout(u, word)) break
    const mode = u.u32[word + STAT_MODE]!
    if ((mode & S_IFMT) !== S_IFDIR) {
      if (out.count > 0) break
      if ((mode & S_IFMT) === S_IFREG && u.u32[word + STAT_SIZE] === 0) {
        const w = isXattrWhiteout(u, parent, layer, fd, name)
        if (w < 0) return w
        if (w === 1) break
      }
      // Asked now: a copy-up sets the mark before its file can be met.
      const isImpure = (t.nodes[at(parent) + N_INFO]! & F_IMPURE) !== 0
      return foundFile(u, layer, fd, name, word, u.isUpper(layer) && isImpure)
    }
    const path = isBent ? layerPath(u, parent, layer, name, length) : 0
    if (isBent && path === 0) return -ENOMEM
    const markers = pushDir(u, layer, fd, name, word, path, hasMore)
    if (markers < 0) return markers
    if ((markers & M_OPAQUE) !== 0) break
    // An absolute redirect leads to the lowers even where the parent has none.
    if ((markers & M_REDIRECT) !== 0 && u.bytes[SCRATCH_PATH] === 0x2f) return goByPath(u, layer)
    if (!hasMore) break
    if (hasDots) {
      const dot = hasDotWhiteout(u, fd, name, length)
      if (dot < 0) return dot
      if (dot === 1) break
    }
    if ((markers & M_REDIRECT) !== 0) {
      length = found.redirectLength
      if (!isName(u.bytes, SCRATCH_PATH, length)) return -EIO
      u.bytes.copyWithin(FIND_NEW_NAME, SCRATCH_PATH, SCRATCH_PATH + length + 1)
      name = FIND_NEW_NAME
      isBent = true
      hasAsked = true
      if (stacked !== 0) readAllReals(u, parent)
    }
  }
  if (out.count === 0) return -ENOENT
  if (isBent && stacked !== 0) adoptSibling(u, stacked, name, length)
  return 0
}

/** The lowers are searched after all: all of the parent's reals. */
function readAllReals(u: Union, parent: number): void {
  u.t.lock()
  readReals(u.t, parent, u.reals)
  u.t.unlock()
}

/** The search goes on at the absolute path that readMarkers() left. */
function goByPath(u: Union, layer: number): number {
  const path = u.index === null ? undefined : u.bytes.slice(SCRATCH_PATH, SCRATCH_PATH + found.redirectLength)
  const r = followRedirect(u, layer)
  if (r === 0 && path !== undefined && u.isUpper(layer)) adoptPath(u, path)
  return r
}

/** Tells whether a relative redirect is one: a name that another directory could have. */
function isName(bytes: Uint8Array, name: number, length: number): boolean {
  if (length === 0 || length > 255 || bytes.subarray(name, name + length).includes(0x2f)) return false
  return !(bytes[name] === 0x2e && (length === 1 || (length === 2 && bytes[name + 1] === 0x2e)))
}

function foundFile(
  u: Union,
  layer: number,
  fd: number,
  name: number,
  word: number,
  isStored: boolean,
): number {
  found.mode = u.u32[word + STAT_MODE]!
  found.nlink = u.u32[word + STAT_NLINK]!
  found.layer = layer
  found.markers = 0
  showIno(u, u.u32[word + STAT_INO]!, u.u32[word + STAT_INO + 1]!, u.u32[word + STAT_DEV]!, found.ino)
  if (isStored) {
    const markers = readMarkers(u, fd, name)
    if (markers < 0) return markers
    if ((markers & M_INO) !== 0) found.ino.set(storedIno)
  }
  return 0
}

/** Adds one real of a directory to u.found. Returns its markers. */
export function pushDir(
  u: Union,
  layer: number,
  fd: number,
  name: number,
  word: number,
  path: number,
  hasMore: boolean,
): number {
  const isTop = u.found.count === 0
  const isUpper = u.isUpper(layer)
  // Pushed first: whatever happens, the path has an owner.
  u.found.push(layer, path)
  let markers = 0
  if (hasMore || isUpper) {
    markers = readMarkers(u, fd, name)
    if (markers < 0) return markers
    if ((markers & M_OPAQUE) === 0 && u.config.layers[layer]!.hasDotWhiteouts) {
      const dot = hasDotOpaque(u, fd, name)
      if (dot < 0) return dot
      if (dot === 1) markers |= M_OPAQUE
    }
  }
  if (isTop) {
    found.mode = u.u32[word + STAT_MODE]!
    found.nlink = 1
    found.layer = layer
    found.markers = markers
  }
  // A directory shows the ino of its topmost lower: copy-up does not change it.
  if (isTop || u.isUpper(u.found.layers[u.found.count - 2]!)) {
    showIno(u, u.u32[word + STAT_INO]!, u.u32[word + STAT_INO + 1]!, u.u32[word + STAT_DEV]!, found.ino)
  }
  return markers
}

/** Tells (1), or -errno, whether an empty file is a whiteout in xattr form (fs/overlayfs, 6.7). */
function isXattrWhiteout(u: Union, parent: number, layer: number, fd: number, name: number): number {
  const own = readMarkers(u, fd, name)
  if (own < 0) return own
  if ((own & M_WHITEOUT) === 0) return 0
  const dir = readMarkers(u, dirFd(u, parent, layer), 0)
  if (dir < 0) return dir
  return (dir & M_OPAQUE_X) !== 0 ? 1 : 0
}

/**
 * Stores the path of `name` in a parent's real and returns the reference (0: out of memory).
 */
export function layerPath(u: Union, parent: number, layer: number, name: number, length: number): number {
  const start = buildPath(u, parent, layer, name, length)
  u.t.lock()
  const ref = u.t.names.store(u.bytes, start, pathEnd - start)
  u.t.unlock()
  return ref
}

/** End (exclusive) of the path that buildPath() made. */
let pathEnd = 0

/**
 * Writes the path (no leading slash) from a layer's root to `name` in a parent's real, backwards
 * from the end of SCRATCH_PATH's room; returns its start.
 */
function buildPath(u: Union, parent: number, layer: number, name: number, length: number): number {
  const t = u.t
  pathEnd = SCRATCH_VALUE + 32768
  let start = pathEnd - length
  u.bytes.copyWithin(start, name, name + length)
  u.bytes[pathEnd] = 0
  t.lock()
  let node = parent
  while (node !== ROOT && (t.nodes[at(node) + N_INFO]! & F_ROOT) === 0 && start > SCRATCH_VALUE + 16384) {
    u.bytes[--start] = 0x2f
    const path = pathIn(t, node, layer)
    let from: number
    let bytes: number
    if (path !== 0) {
      from = t.names.offset(path)
      bytes = 0
      while (t.names.bytes[from + bytes] !== 0) bytes++
    } else {
      const d = t.nodes[at(node) + N_DENTRY]! * DENTRY_WORDS
      from = -t.dentries[d + D_NAME]! * 8
      bytes = t.dentries[d + D_LENGTH]!
      node = t.dentries[d + D_PARENT]!
    }
    start -= bytes
    for (let i = 0; i < bytes; i++) u.bytes[start + i] = t.names.bytes[from + i]!
    if (path !== 0) break
  }
  t.unlock()
  return start
}
