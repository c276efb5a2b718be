// The request that a worker is working on: where it lies in the arena, and how to take it apart.
//
// One Request object per worker, refilled for each request; nothing is allocated. Every take…()
// checks what it reads against the request's end and answers a negative errno for what can't be.
// Structs inside a request are 8-byte aligned, so byte offsets shift to word indices.

import { EBADF, EINVAL, ENAMETOOLONG } from '../base/errno.js'
import { type Arena, STAT_FLAGS, STAT_IS_FLEETING } from '../vfs/arena.js'
import { type FileSystem, type Handle, NO_HANDLE, NO_REPLY, type NodeId } from '../vfs/file-system.js'
import { fuse_attr_out, fuse_entry_out, fuse_open_out } from './abi.js'
import type { Agreement, NegotiateOptions } from './negotiate.js'
import { AGREED_IS_NO_OPEN, AGREED_IS_NO_OPENDIR } from './session-shared.js'

/** How long the kernel may keep what it was told, in milliseconds; 0: not at all. */
export type Timeouts = {
  readonly entryTimeoutMs: number
  readonly attrTimeoutMs: number
  /** For names that are not there. 0: such answers are not cached. */
  readonly negativeTimeoutMs: number
}

export type Request = {
  readonly fs: FileSystem
  readonly bytes: Uint8Array
  readonly u32: Uint32Array
  /** Header words of the session's shared memory: see session-shared.ts. */
  readonly agreed: Int32Array
  readonly negotiate: NegotiateOptions
  /** Told once what INIT ended with: an agreement, or the reason of a refusal. */
  readonly onInit: (outcome: Agreement | string) => void
  /** Ends the file system, once. */
  readonly onDestroy: () => void

  readonly entryValid: number
  readonly entryValidNs: number
  readonly attrValid: number
  readonly attrValidNs: number
  readonly negativeValid: number
  readonly negativeValidNs: number
  readonly hasNegativeEntries: boolean

  opcode: number
  /** fuse_in_header.nodeid, checked. */
  node: NodeId
  /** Byte offset of the operation's struct; what follows the struct; the first byte beyond all. */
  at: number
  rest: number
  end: number
  /** Where the reply's body goes, and how long it may be. */
  out: number
  capacity: number
  /** WRITE's data, when the transport put them elsewhere than behind the struct; else 0. */
  data: number
  /** The one or two names (or the link target) behind the struct. */
  name: number
  nameLength: number
  name2: number
  name2Length: number
}

const MS_PER_S = 1000
const NS_PER_MS = 1_000_000
const VALID_MAX_S = 0x7fffffff
const MAX_HANDLE = 0x7fffffff
/** High words from here on make a number beyond 2^53. */
const HIGH_WORD_LIMIT = 0x200000
const NAME_MAX = 255
const SLASH = 0x2f
const DOT = 0x2e

/** Returns the seconds and the nanoseconds of a timeout, as the protocol has it. */
export function validity(ms: number): [seconds: number, nanoseconds: number] {
  return [Math.min(Math.floor(ms / MS_PER_S), VALID_MAX_S), Math.floor((ms % MS_PER_S) * NS_PER_MS)]
}

/** Returns the Request of one worker, with nothing in it. */
export function createRequest(
  arena: Arena,
  fs: FileSystem,
  agreed: Int32Array,
  timeouts: Timeouts,
  calls: Pick<Request, 'negotiate' | 'onInit' | 'onDestroy'>,
): Request {
  const [entryValid, entryValidNs] = validity(timeouts.entryTimeoutMs)
  const [attrValid, attrValidNs] = validity(timeouts.attrTimeoutMs)
  const [negativeValid, negativeValidNs] = validity(timeouts.negativeTimeoutMs)
  return {
    fs,
    bytes: arena.bytes,
    u32: arena.u32,
    agreed,
    negotiate: calls.negotiate,
    onInit: calls.onInit,
    onDestroy: calls.onDestroy,
    entryValid,
    entryValidNs,
    attrValid,
    attrValidNs,
    negativeValid,
    negativeValidNs,
    hasNegativeEntries: timeouts.negativeTimeoutMs > 0,
    opcode: 0,
    node: 0,
    at: 0,
    rest: 0,
    end: 0,
    out: 0,
    capacity: 0,
    data: 0,
    name: 0,
    nameLength: 0,
    name2: 0,
    name2Length: 0,
  }
}

/** Returns the u32 at a byte offset. */
export function word(r: Request, at: number): number {
  return r.u32[at >> 2]!
}

/** Tells that OPEN was refused for good, so that no handle of a regular file means anything. */
export function isNoOpen(r: Request): boolean {
  return r.agreed[AGREED_IS_NO_OPEN] !== 0
}

/** Tells that OPENDIR is refused for good. */
export function isNoOpendir(r: Request): boolean {
  return r.agreed[AGREED_IS_NO_OPENDIR] !== 0
}

/** Returns a u64 as a number, or -EINVAL for 2^53 and beyond. */
export function takeNumber(r: Request, at: number): number {
  const high = r.u32[(at >> 2) + 1]!
  return high < HIGH_WORD_LIMIT ? high * 0x100000000 + r.u32[at >> 2]! : -EINVAL
}

/** Returns a nodeid, or -EINVAL for what can't be one. */
export function takeNode(r: Request, at: number): number {
  const low = r.u32[at >> 2]!
  return r.u32[(at >> 2) + 1] === 0 && low > 0 && low <= MAX_HANDLE ? low : -EINVAL
}

/** Returns a handle, or -EBADF, which is below NO_HANDLE. */
export function takeHandle(r: Request, at: number): Handle {
  const low = r.u32[at >> 2]!
  return r.u32[(at >> 2) + 1] === 0 && low <= MAX_HANDLE ? low : -EBADF
}

/**
 * As takeHandle() for regular files: NO_HANDLE when files are opened without asking. The kernel
 * sends 0 then, which is somebody's real fd.
 */
export function takeFileHandle(r: Request, at: number): Handle {
  return isNoOpen(r) ? NO_HANDLE : takeHandle(r, at)
}

/** Returns the length of the NUL-terminated string at `from`, or -EINVAL when it has no end. */
export function takeString(r: Request, from: number): number {
  const { bytes, end } = r
  let at = from
  while (at < end && bytes[at] !== 0) at++
  return at < end ? at - from : -EINVAL
}

/**
 * Returns the length of the name at `from`: one component of 1 to 255 bytes. "." and ".." pass
 * only with `mayBeDots`. -ENAMETOOLONG, or -EINVAL for anything else that is no name.
 */
export function takeName(r: Request, from: number, mayBeDots: boolean): number {
  const { bytes, end } = r
  let at = from
  for (; at < end; at++) {
    const byte = bytes[at]!
    if (byte === 0) break
    if (byte === SLASH) return -EINVAL
  }
  const length = at - from
  if (at >= end || length === 0) return -EINVAL
  if (length > NAME_MAX) return -ENAMETOOLONG
  if (length <= 2 && bytes[from] === DOT && bytes[at - 1] === DOT && !mayBeDots) return -EINVAL
  return length
}

/** Tells a result that ends the request as it is: an error, or no answer from here. */
export function isFinal(result: number): boolean {
  return result < 0 || result >= NO_REPLY
}

/** Writes a u64 below 2^53. */
export function putNumber(r: Request, at: number, value: number): void {
  r.u32[at >> 2] = value % 0x100000000
  r.u32[(at >> 2) + 1] = Math.floor(value / 0x100000000)
}

/** Takes the mark of attributes that the kernel must not keep off the fuse_attr at word `w`; tells whether it was there. */
function takeFleeting(u32: Uint32Array, w: number): boolean {
  const flags = u32[w + STAT_FLAGS]!
  if ((flags & STAT_IS_FLEETING) === 0) return false
  u32[w + STAT_FLAGS] = flags & ~STAT_IS_FLEETING
  return true
}

/** Writes the four timeouts of the Entry at `at`. */
export function putEntryTimeouts(r: Request, at: number): void {
  const { u32 } = r
  const w = (at + fuse_entry_out.entry_valid) >> 2
  u32[w] = r.entryValid
  u32[w + 1] = 0
  const isKept = !takeFleeting(u32, (at + fuse_entry_out.attr) >> 2)
  u32[w + 2] = isKept ? r.attrValid : 0
  u32[w + 3] = 0
  u32[w + 4] = r.entryValidNs
  u32[w + 5] = isKept ? r.attrValidNs : 0
}

/** Ends a call that wrote an Entry at the reply. Returns the reply's length, or what was final. */
export function replyEntry(r: Request, result: number): number {
  if (isFinal(result)) return result
  putEntryTimeouts(r, r.out)
  return fuse_entry_out.bytes
}

/** Answers "no such name, and the kernel may remember it": an Entry with nodeid 0. */
export function replyNegativeEntry(r: Request): number {
  const w = r.out >> 2
  r.u32.fill(0, w, w + (fuse_entry_out.bytes >> 2))
  r.u32[w + (fuse_entry_out.entry_valid >> 2)] = r.negativeValid
  r.u32[w + (fuse_entry_out.entry_valid_nsec >> 2)] = r.negativeValidNs
  return fuse_entry_out.bytes
}

/** Ends a call that wrote a fuse_attr behind the head of a fuse_attr_out. */
export function replyAttr(r: Request, result: number): number {
  if (isFinal(result)) return result
  putAttrTimeout(r, (r.out + fuse_attr_out.attr) >> 2)
  return fuse_attr_out.bytes
}

/** Writes how long the attributes at word `attr` may be kept, at the head of the reply. */
export function putAttrTimeout(r: Request, attr: number): void {
  const w = r.out >> 2
  const isKept = !takeFleeting(r.u32, attr)
  r.u32[w] = isKept ? r.attrValid : 0
  r.u32[w + 1] = 0
  r.u32[w + 2] = isKept ? r.attrValidNs : 0
  r.u32[w + 3] = 0
}

/** Writes fuse_open_out from `fs.opened` at `at`. Returns its length. */
export function putOpened(r: Request, at: number): number {
  const { opened } = r.fs
  const w = at >> 2
  r.u32[w] = opened.handle
  r.u32[w + 1] = 0
  r.u32[w + (fuse_open_out.open_flags >> 2)] = opened.flags
  r.u32[w + (fuse_open_out.backing_id >> 2)] = opened.backingId
  return fuse_open_out.bytes
}

/** Ends a call whose reply has no body. */
export function replyEmpty(result: number): number {
  return isFinal(result) ? result : 0
}
