// The memory of one worker that requests, replies and system calls share.
//
// One ArrayBuffer per worker; native code holds its address, TypeScript its views, and both
// speak of places in it as byte offsets. Nothing is allocated per request.
//
//   CTL      64 words   what the transport tells about the current request
//   IN       1 MiB+16 K the request: fuse_in_header, the operation's struct, names, data
//   OUT      1 MiB+4 K  the reply's body (native keeps 16 bytes for fuse_out_header before it)
//   SCRATCH  320 KiB    results of system calls on the way to a reply: see `SCRATCH_*`
//   RINGS    as asked   payloads of an io_uring's entries: WRITE's data and replies, in place

export const CTL = 0
/** Word indices in CTL, written by the transport for each request. */
export const CTL_IN_LENGTH = 0 // bytes of the request at IN, header included
export const CTL_OUT = 1 // byte offset where the reply's body is to be written
export const CTL_OUT_CAPACITY = 2 // bytes that the body may take
export const CTL_DATA = 3 // byte offset of WRITE's data (elsewhere than IN on some transports)

export const IN = 4096
export const IN_CAPACITY = (1 << 20) + 16384
export const OUT = IN + IN_CAPACITY + 4096
export const OUT_CAPACITY = (1 << 20) + 4096

export const SCRATCH = OUT + OUT_CAPACITY + 4096
export const SCRATCH_STAT = SCRATCH // one Stat
export const SCRATCH_STAT2 = SCRATCH + 128 // another Stat
export const SCRATCH_NAME = SCRATCH + 512 // names: 32 places of 512 bytes
export const SCRATCH_PATH = SCRATCH_NAME + 16384 // one NUL-terminated path, up to 8 KiB
export const SCRATCH_VALUE = SCRATCH_PATH + 8192 // one xattr value or list, up to 64 KiB
export const SCRATCH_LIST = SCRATCH_VALUE + 65536 + 256 // another list, up to 64 KiB
export const SCRATCH_DIRENTS = SCRATCH_LIST + 65536 + 256 // raw getdents64 records
export const SCRATCH_DIRENTS_CAPACITY = 131072
export const SCRATCH_NOTIFY = SCRATCH_DIRENTS + SCRATCH_DIRENTS_CAPACITY + 4096 // body of one notification
export const ARENA_BYTES = SCRATCH_NOTIFY + 512
/** Behind everything else, with whole pages between. */
export const RINGS = (ARENA_BYTES + 8191) & ~4095

/**
 * A Stat: what statAt() writes. The first 88 bytes are laid out exactly as `struct fuse_attr`,
 * so a reply needs no copy; word offsets, 64-bit values as two words, low first.
 */
export const STAT_INO = 0
export const STAT_SIZE = 2
export const STAT_BLOCKS = 4
export const STAT_ATIME = 6
export const STAT_MTIME = 8
export const STAT_CTIME = 10
export const STAT_ATIME_NS = 12
export const STAT_MTIME_NS = 13
export const STAT_CTIME_NS = 14
export const STAT_MODE = 15
export const STAT_NLINK = 16
export const STAT_UID = 17
export const STAT_GID = 18
export const STAT_RDEV = 19 // as new_encode_dev() packs it
export const STAT_BLKSIZE = 20
export const STAT_FLAGS = 21
/** In STAT_FLAGS of an answer: the kernel must not keep these attributes. */
export const STAT_IS_FLEETING = 1 << 30
/** Words beyond fuse_attr; a caller that has only 88 bytes of room must not keep what follows. */
export const STAT_DEV = 22 // as new_encode_dev() packs it
export const STAT_BTIME = 23
export const STAT_BTIME_NS = 25
export const STAT_ATTRIBUTES = 26 // STATX_ATTR_* low word
export const STAT_WORDS = 28
export const ATTR_WORDS = 22

/** The views of one worker's arena. */
export type Arena = {
  readonly bytes: Uint8Array
  readonly u32: Uint32Array
  readonly i32: Int32Array
}

/** Returns a new arena, with `ringBytes` at RINGS. Memory is taken when it is touched. */
export function createArena(ringBytes = 0): Arena {
  const buffer = new ArrayBuffer(ringBytes === 0 ? ARENA_BYTES : RINGS + ringBytes)
  return {
    bytes: new Uint8Array(buffer),
    u32: new Uint32Array(buffer),
    i32: new Int32Array(buffer),
  }
}
