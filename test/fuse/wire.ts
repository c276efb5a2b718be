// Requests encoded by hand, and a file system that only remembers what it was asked.
//
// Independent of src/fuse/abi.ts on purpose: structs are spelled as the C header has them, so that
// a wrong offset there shows here.

import type { Agreement, NegotiateOptions } from '../../src/fuse/negotiate.js'
import type { Timeouts } from '../../src/fuse/request.js'
import { Session } from '../../src/fuse/session.js'
import { createSessionShared } from '../../src/fuse/session-shared.js'
import {
  type Arena,
  CTL_IN_LENGTH,
  CTL_OUT,
  CTL_OUT_CAPACITY,
  createArena,
  IN,
  OUT,
  OUT_CAPACITY,
} from '../../src/vfs/arena.js'
import type { FileSystem } from '../../src/vfs/file-system.js'

/** A little-endian u32. */
export function u32(...values: number[]): Buffer {
  const buffer = Buffer.alloc(4 * values.length)
  values.forEach((value, i) => {
    buffer.writeUInt32LE(value >>> 0, 4 * i)
  })
  return buffer
}

/** Little-endian u64s. */
export function u64(...values: (number | bigint)[]): Buffer {
  const buffer = Buffer.alloc(8 * values.length)
  values.forEach((value, i) => {
    buffer.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)), 8 * i)
  })
  return buffer
}

/** NUL-terminated strings, one after the other. */
export function text(...values: string[]): Buffer {
  return Buffer.concat(values.map((value) => Buffer.from(`${value}\0`, 'latin1')))
}

const methods = [
  ...[
    'lookup',
    'forget',
    'getattr',
    'setattr',
    'readlink',
    'mknod',
    'mkdir',
    'symlink',
    'link',
    'unlink',
    'rmdir',
  ],
  ...[
    'rename',
    'open',
    'create',
    'tmpfile',
    'read',
    'write',
    'flush',
    'fsync',
    'release',
    'fallocate',
    'lseek',
  ],
  ...['copyFileRange', 'ioctl', 'readdir', 'readdirplus', 'fsyncdir', 'getxattr'],
  ...['listxattr', 'setxattr', 'removexattr', 'statfs', 'statx', 'syncfs', 'destroy', 'completed'],
] as const

export type Method = (typeof methods)[number]
export type Answer = number | ((...args: number[]) => number)
export type RecordingFs = FileSystem & {
  calls: [Method, ...unknown[]][]
  answers: Partial<Record<Method, Answer>>
}

/** Returns a file system that notes each call and answers from `answers`, else 0. */
export function recordingFs(): RecordingFs {
  const fs: Record<string, unknown> = {
    caller: { uid: -1, gid: -1, pid: -1, umask: -1 },
    opened: { handle: 0, flags: 0, backingId: 0 },
    calls: [],
    answers: {},
  }
  const self = fs as unknown as RecordingFs
  for (const method of methods) {
    fs[method] = (...args: unknown[]) => {
      self.calls.push([method, ...args])
      const answer = self.answers[method] ?? 0
      return typeof answer === 'function' ? answer(...(args as number[])) : answer
    }
  }
  return self
}

export type Head = {
  node?: number | bigint
  uid?: number
  gid?: number
  pid?: number
  length?: number
  unique?: number
}

export type Wire = {
  arena: Arena
  fs: RecordingFs
  session: Session
  shared: SharedArrayBuffer
  log: string[]
  inits: (Agreement | string)[]
  /** Puts a request into the arena; returns its length. */
  put(opcode: number, body?: Buffer, head?: Head): number
  /** put() and dispatch. */
  send(opcode: number, body?: Buffer, head?: Head): number
  /** The first `length` bytes of the reply. */
  reply(length: number): Buffer
}

export const passthrough: NegotiateOptions = {
  data: 'passthrough',
  hasAcl: true,
  transport: 'dev-fuse',
  maxStackDepth: 1,
}

/** Returns a session over a fresh arena and a RecordingFs. */
export function createWire(
  negotiate: NegotiateOptions = passthrough,
  timeouts: Partial<Timeouts> = {},
): Wire {
  const arena = createArena()
  const bytes = Buffer.from(arena.bytes.buffer)
  const fs = recordingFs()
  const shared = createSessionShared(1)
  const log: string[] = []
  const inits: (Agreement | string)[] = []
  const session = new Session({
    entryTimeoutMs: 3_600_500,
    attrTimeoutMs: 60_250,
    negativeTimeoutMs: 7_125,
    ...timeouts,
    arena,
    fs,
    shared,
    worker: 0,
    negotiate,
    onInit: (outcome) => inits.push(outcome),
    log: (line) => log.push(line),
  })
  arena.u32[CTL_OUT] = OUT
  arena.u32[CTL_OUT_CAPACITY] = OUT_CAPACITY
  const wire: Wire = {
    arena,
    fs,
    session,
    shared,
    log,
    inits,
    put(opcode, body = Buffer.alloc(0), head = {}) {
      const whole = 40 + body.length
      const length = head.length ?? whole
      const header = Buffer.concat([
        u32(length, opcode),
        u64(head.unique ?? 77, head.node ?? 5),
        u32(head.uid ?? 1000, head.gid ?? 100, head.pid ?? 4321, 0),
      ])
      header.copy(bytes, IN)
      body.copy(bytes, IN + 40)
      arena.u32[CTL_IN_LENGTH] = length
      return length
    },
    send(opcode, body, head) {
      return session.dispatch(wire.put(opcode, body, head))
    },
    reply(length) {
      return Buffer.from(bytes.subarray(OUT, OUT + length))
    },
  }
  return wire
}

/** Flags that Linux 6.18 (7.45) offers without io_uring, and those of 7.38 and 7.31. */
export const kernelFlags = {
  '7.31': 0x03ffffff & ~(1 << 2),
  '7.38': (0x7bffffff & ~(1 << 2)) + 2 ** 32 + 2 ** 35,
  '7.45':
    (0x73ffffff & ~(1 << 2)) +
    (2 ** 32 + 2 ** 34 + 2 ** 35 + 2 ** 36 + 2 ** 37 + 2 ** 38 + 2 ** 39 + 2 ** 40 + 2 ** 42),
} as const

/** The body of an INIT request; the short form has four words. */
export function initBody(major: number, minor: number, flags: number, isLong: boolean): Buffer {
  const low = flags % 2 ** 32
  if (!isLong) return u32(major, minor, 131072, low)
  return Buffer.concat([u32(major, minor, 131072, low, Math.floor(flags / 2 ** 32)), Buffer.alloc(44)])
}
