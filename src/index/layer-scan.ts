// One layer's tree as an index: every name with its attributes, and what the union's markers in this layer
// mean (whiteouts in all forms, opaque directories). Each file costs a statx and a listxattr, done once.
//
// What only the union itself can follow (a redirect, another device inside the layer) is marked E_ASK.

import { errnoName, errnoReason, isAbsent } from '../base/errno.js'
import { O_DIRECTORY } from '../base/open-flags.js'
import {
  DOT_OPAQUE,
  DOT_WHITEOUT,
  INTERNAL_PREFIXES,
  OPAQUE,
  OVERRIDE_STAT,
  REDIRECT,
  WHITEOUT,
} from '../format/markers.js'
import { isWhiteoutNode } from '../format/whiteout.js'
import { native } from '../sys/native.js'
import { attachThreadArena, threadArena } from '../sys/thread-arena.js'
import {
  ATTR_WORDS,
  OUT,
  SCRATCH_DIRENTS,
  SCRATCH_DIRENTS_CAPACITY,
  SCRATCH_LIST,
  SCRATCH_NAME,
  SCRATCH_STAT,
  SCRATCH_VALUE,
  STAT_BTIME,
  STAT_DEV,
  STAT_MODE,
  STAT_RDEV,
  STAT_SIZE,
  STAT_WORDS,
} from '../vfs/arena.js'
import {
  DIR_COUNT,
  DIR_FIRST,
  DIR_WORDS,
  E_ASK,
  E_ATTR,
  E_CHILD,
  E_HAS_XATTRS,
  E_LENGTH,
  E_MORE,
  E_NAME,
  E_OPAQUE,
  E_TYPE,
  ENTRY_WORDS,
  INDEX_OVERRIDE_STAT,
  INDEX_SAW_TRUSTED,
  MORE_WORDS,
  TYPE_DIR,
  TYPE_HIDDEN,
} from './format.js'
import { IndexTable } from './table.js'

const S_IFREG = 0o100000
const S_IFMT = 0o170000
const LIST_BYTES = 65536
const STATS = OUT + 65536

const X_SOME = 1
const X_OPAQUE = 2
const X_WHITEOUTS = 4 // overlay.opaque=x: files may be whiteouts
const X_REDIRECT = 8
const X_WHITEOUT = 16
const X_OVERRIDE = 32

class ScanError extends Error {
  readonly code: string
  constructor(errno: number, what: string) {
    super(`${what}: ${errnoReason(errno)}`)
    this.code = errnoName(errno)
  }
}

function check(result: number, what: string): number {
  if (result < 0) throw new ScanError(result, what)
  return result
}

/** Returns X_* of a file's attributes. `ref` as for native calls. */
function xattrsOf(fd: number, ref: number): number {
  const { bytes } = threadArena()
  const length = native.listXattrAt(fd, ref, SCRATCH_LIST, LIST_BYTES)
  if (length === -95) return 0 // EOPNOTSUPP
  if (check(length, 'listxattr') === 0) return 0
  let found = X_SOME
  const names = Buffer.from(bytes.buffer).toString('latin1', SCRATCH_LIST, SCRATCH_LIST + length - 1)
  let at = SCRATCH_LIST
  for (const name of names.split('\0')) {
    found |= meaningOf(fd, ref, at, name)
    at += name.length + 1
  }
  return found
}

function meaningOf(fd: number, ref: number, at: number, name: string): number {
  if ((OVERRIDE_STAT as readonly string[]).includes(name)) return X_OVERRIDE
  const prefix = INTERNAL_PREFIXES.find((each) => name.startsWith(each))
  if (prefix === undefined) return 0
  const marker = name.slice(prefix.length)
  if (marker === WHITEOUT) return X_WHITEOUT
  if (marker === REDIRECT) return X_REDIRECT
  if (marker !== OPAQUE) return 0
  const { bytes } = threadArena()
  const size = native.getXattrAt(fd, ref, at, SCRATCH_VALUE, 16)
  if (size !== 1) return 0
  return bytes[SCRATCH_VALUE] === 0x79 ? X_OPAQUE : bytes[SCRATCH_VALUE] === 0x78 ? X_WHITEOUTS : 0
}

/** Tells whether this process sees attributes in `trusted.`. */
function seesTrusted(fd: number): boolean {
  const { bytes } = threadArena()
  const length = Buffer.from(bytes.buffer).write('trusted.mica.probe', SCRATCH_NAME, 'latin1')
  bytes[SCRATCH_NAME + length] = 0
  // ENODATA: it may look, and there is none. Others get EPERM, or see nothing at all.
  return process.geteuid?.() === 0 && native.getXattrAt(fd, 0, SCRATCH_NAME, SCRATCH_VALUE, 16) === -61
}

/** Scans the tree of a layer. `root`: an fd of its root, O_PATH will do. Throws when any of it can't be read. */
export function scanLayer(root: number): IndexTable {
  attachThreadArena()
  return new Scan(root).table
}

class Scan {
  readonly table = new IndexTable()
  readonly #device: number

  constructor(root: number) {
    const { u32 } = threadArena()
    const { table } = this
    check(native.statAt(root, 0, SCRATCH_STAT), 'statx')
    this.#device = u32[(SCRATCH_STAT >> 2) + STAT_DEV]!
    const own = table.addEntry(0, new Uint8Array(0), 0, 0, TYPE_DIR)
    this.#setAttr(own, SCRATCH_STAT >> 2)
    const xattrs = xattrsOf(root, 0)
    if ((xattrs & X_OVERRIDE) !== 0) table.flags |= INDEX_OVERRIDE_STAT
    if (seesTrusted(root)) table.flags |= INDEX_SAW_TRUSTED
    const dir = table.addDir(own)
    table.entries[own * ENTRY_WORDS + E_CHILD] = dir
    const fd = check(native.openAt(root, 0, O_DIRECTORY), 'open')
    this.#flag(own, xattrs)
    this.#directory(fd, dir, (xattrs & X_WHITEOUTS) !== 0)
  }

  #setAttr(entry: number, w: number): void {
    const { i32 } = threadArena()
    const { entries } = this.table
    const e = entry * ENTRY_WORDS
    entries.set(i32.subarray(w, w + ATTR_WORDS), e + E_ATTR)
    entries.set(i32.subarray(w + STAT_BTIME, w + STAT_BTIME + MORE_WORDS), e + E_MORE)
  }

  #flag(entry: number, xattrs: number): void {
    let flags = 0
    if (xattrs !== 0) flags |= E_HAS_XATTRS
    if ((xattrs & X_OPAQUE) !== 0) flags |= E_OPAQUE
    if ((xattrs & X_REDIRECT) !== 0) flags |= E_ASK
    this.table.entries[entry * ENTRY_WORDS + E_TYPE]! |= flags << 8
  }

  /** Reads a directory, then those in it. Closes `fd`. */
  #directory(fd: number, dir: number, hasXattrWhiteouts: boolean): void {
    const { table } = this
    const first = table.entryCount
    const dotted: Uint8Array[] = []
    const children: [entry: number, hasXattrWhiteouts: boolean][] = []
    try {
      for (;;) {
        const length = native.getdents(fd, SCRATCH_DIRENTS, SCRATCH_DIRENTS_CAPACITY)
        if (check(length, 'getdents') === 0) break
        this.#batch(fd, dir, length, hasXattrWhiteouts, dotted, children)
      }
      for (const name of dotted) this.#hide(dir, name)
      table.dirs[dir * DIR_WORDS + DIR_FIRST] = first
      table.dirs[dir * DIR_WORDS + DIR_COUNT] = table.entryCount - first
      for (const [entry, hasWhiteouts] of children) this.#child(fd, entry, hasWhiteouts)
    } finally {
      native.close(fd)
    }
  }

  #child(fd: number, entry: number, hasXattrWhiteouts: boolean): void {
    const { table } = this
    const { bytes } = threadArena()
    const w = entry * ENTRY_WORDS
    const from = table.entries[w + E_NAME]!
    const length = table.entries[w + E_LENGTH]! & 0xffff
    bytes.set(table.names.subarray(from, from + length), SCRATCH_NAME)
    bytes[SCRATCH_NAME + length] = 0
    const name = Buffer.from(table.names.subarray(from, from + length)).toString()
    const child = check(native.openAt(fd, SCRATCH_NAME, O_DIRECTORY), name)
    const dir = table.addDir(entry)
    table.entries[w + E_CHILD] = dir
    try {
      this.#directory(child, dir, hasXattrWhiteouts)
    } catch (error) {
      if (error instanceof Error) error.message = `${name}/${error.message}`
      throw error
    }
  }

  /** Takes the directory records of one getdents(2). */
  #batch(
    fd: number,
    dir: number,
    length: number,
    hasXattrWhiteouts: boolean,
    dotted: Uint8Array[],
    children: [number, boolean][],
  ): void {
    const { bytes, i32 } = threadArena()
    const names: number[] = []
    for (let d = SCRATCH_DIRENTS; d < SCRATCH_DIRENTS + length; d += bytes[d + 16]! | (bytes[d + 17]! << 8)) {
      const name = d + 19
      const size = bytes.indexOf(0, name) - name
      if (bytes[name] === 0x2e && (size === 1 || (size === 2 && bytes[name + 1] === 0x2e))) continue
      if (size > DOT_WHITEOUT.length && isDot(bytes, name)) dotted.push(bytes.slice(name, name + size))
      else names.push(name)
    }
    for (const [i, name] of names.entries()) {
      i32[(OUT >> 2) + 2 * i] = name
      i32[(OUT >> 2) + 2 * i + 1] = STATS + i * STAT_WORDS * 4
    }
    check(native.statMany(fd, OUT, names.length), 'statx')
    for (const [i, name] of names.entries()) {
      const result = i32[(OUT >> 2) + 2 * i]!
      if (isAbsent(result)) continue
      check(result, 'statx')
      this.#entry(fd, dir, name, (STATS >> 2) + i * STAT_WORDS, hasXattrWhiteouts, children)
    }
  }

  #entry(
    fd: number,
    dir: number,
    name: number,
    w: number,
    hasXattrWhiteouts: boolean,
    children: [number, boolean][],
  ): void {
    const { bytes, u32 } = threadArena()
    const { table } = this
    const mode = u32[w + STAT_MODE]!
    const length = bytes.indexOf(0, name) - name
    if (isWhiteoutNode(mode, u32[w + STAT_RDEV]!)) {
      table.addEntry(dir, bytes, name, length, TYPE_HIDDEN)
      return
    }
    const isElsewhere = u32[w + STAT_DEV] !== this.#device
    const xattrs = isElsewhere ? 0 : xattrsOf(fd, name)
    const isEmptyFile =
      (mode & S_IFMT) === S_IFREG && u32[w + STAT_SIZE] === 0 && u32[w + STAT_SIZE + 1] === 0
    if (hasXattrWhiteouts && isEmptyFile && (xattrs & X_WHITEOUT) !== 0) {
      table.addEntry(dir, bytes, name, length, TYPE_HIDDEN)
      return
    }
    const entry = table.addEntry(dir, bytes, name, length, mode >>> 12)
    this.#setAttr(entry, w)
    const isDir = mode >>> 12 === TYPE_DIR
    if (isElsewhere) table.entries[entry * ENTRY_WORDS + E_TYPE]! |= E_ASK << 8
    else this.#flag(entry, isDir ? xattrs : xattrs & X_SOME)
    if (isDir && !isElsewhere) children.push([entry, (xattrs & X_WHITEOUTS) !== 0])
  }

  /** `.wh.NAME`: applies to the layers below; `.wh..wh..opq` to the directory itself. */
  #hide(dir: number, name: Uint8Array): void {
    const { table } = this
    if (Buffer.from(name).toString('latin1') === DOT_OPAQUE) {
      const own = table.dirs[dir * DIR_WORDS + 2]!
      table.entries[own * ENTRY_WORDS + E_TYPE]! |= E_OPAQUE << 8
      return
    }
    const at = DOT_WHITEOUT.length
    const entry = table.find(dir, name, at, name.length - at)
    if (entry === 0) table.addEntry(dir, name, at, name.length - at, TYPE_HIDDEN)
    else table.entries[entry * ENTRY_WORDS + E_TYPE]! |= E_OPAQUE << 8
  }
}

function isDot(bytes: Uint8Array, name: number): boolean {
  return (
    bytes[name] === 0x2e && bytes[name + 1] === 0x77 && bytes[name + 2] === 0x68 && bytes[name + 3] === 0x2e
  )
}
