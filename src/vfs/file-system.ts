// The contract between the FUSE side and the union: one method for each thing a kernel asks.
//
// Numbers only. A result >= 0 is success (for calls that fill the reply: its length in bytes),
// a negative one is -errno, PARKED means that the answer comes later. Places in memory are byte
// offsets into the worker's Arena; structs there have the layout of linux/fuse.h.
//
// Names: `name` is the offset of a NUL-terminated name in the arena, `length` its bytes without
// the NUL. The caller has checked that it is one component of 1 to 255 bytes, without '/', and
// neither '.' nor '..' (those two reach lookup() only, for NFS export).

/** The request was taken over: no reply may be sent for it now. */
export const PARKED = 0x7fffffff
/** The operation has no reply at all (FORGET). */
export const NO_REPLY = 0x7ffffffe

/** Who asks; filled by the session before each call. Ids are the kernel's, before any mapping. */
export type Caller = { uid: number; gid: number; pid: number; umask: number }

/** nodeid: an index into the inode table. 1 is the root. Live ones are below 2^31. */
export type NodeId = number
/** fh: the process-wide real fd of an open file. */
export type Handle = number

/**
 * Entry: struct fuse_entry_out (128 bytes): nodeid u64, generation u64, entry_valid u64,
 * attr_valid u64, entry_valid_nsec u32, attr_valid_nsec u32, fuse_attr. The union writes nodeid,
 * generation and attr; the session writes the four timeouts.
 */
export const ENTRY_BYTES = 128
export const ENTRY_ATTR = 40

/**
 * What open(), create() and tmpfile() answer; the session encodes it when they
 * return >= 0. flags: FOPEN_*. backingId: 0 unless FOPEN_PASSTHROUGH is among them.
 */
export type OpenResult = { handle: Handle; flags: number; backingId: number }

/**
 * The request carries no handle. Reaches getattr(), setattr() and statx() when no file was given,
 * and every call on a regular file when the kernel opens without asking (data mode no-open).
 */
export const NO_HANDLE = -1
/**
 * The handle of open files that have none of their own in the file system: what is asked of one is done to
 * the node in the request. The largest number that a handle can have.
 */
export const LIGHT_HANDLE = 0x7fffffff

export interface FileSystem {
  readonly caller: Caller
  readonly opened: OpenResult

  /** Writes an Entry at `out`. -ENOENT for a name that is not there (the session caches it). */
  lookup(parent: NodeId, name: number, length: number, out: number): number
  /** The kernel gives back `count` of its references. */
  forget(node: NodeId, count: number): void
  /** Writes a fuse_attr at `out`. */
  getattr(node: NodeId, handle: Handle, out: number): number
  /** `input`: struct fuse_setattr_in. Writes the new fuse_attr at `out`. */
  setattr(node: NodeId, input: number, out: number): number
  /** Writes the target at `out`, returns its length. */
  readlink(node: NodeId, out: number, capacity: number): number
  /** `rdev` as new_encode_dev packs it. Writes an Entry at `out`. */
  mknod(parent: NodeId, name: number, length: number, mode: number, rdev: number, out: number): number
  mkdir(parent: NodeId, name: number, length: number, mode: number, out: number): number
  symlink(parent: NodeId, name: number, length: number, target: number, out: number): number
  link(node: NodeId, parent: NodeId, name: number, length: number, out: number): number
  unlink(parent: NodeId, name: number, length: number): number
  rmdir(parent: NodeId, name: number, length: number): number
  rename(
    parent: NodeId,
    name: number,
    length: number,
    newParent: NodeId,
    newName: number,
    newLength: number,
    flags: number,
  ): number

  /** `flags`: open(2)'s; `openFlags`: FUSE_OPEN_*. Fills `opened`. */
  open(node: NodeId, flags: number, openFlags: number): number
  /** Makes and opens. Writes an Entry at `out`, fills `opened`. */
  create(
    parent: NodeId,
    name: number,
    length: number,
    flags: number,
    mode: number,
    openFlags: number,
    out: number,
  ): number
  /** O_TMPFILE in `parent`. Writes an Entry at `out`, fills `opened`. */
  tmpfile(parent: NodeId, flags: number, mode: number, openFlags: number, out: number): number
  /** Offsets and sizes are numbers up to 2^53; the session refuses what is beyond. */
  read(node: NodeId, handle: Handle, offset: number, size: number, out: number): number
  /** Returns the number of bytes written; the session encodes fuse_write_out. */
  write(node: NodeId, handle: Handle, offset: number, size: number, data: number, writeFlags: number): number
  flush(node: NodeId, handle: Handle): number
  fsync(node: NodeId, handle: Handle, isDataOnly: boolean): number
  release(node: NodeId, handle: Handle): number
  fallocate(node: NodeId, handle: Handle, offset: number, length: number, mode: number): number
  /** Writes the new offset as u64 at `out`, returns 8. */
  lseek(node: NodeId, handle: Handle, offset: number, whence: number, out: number): number
  /** Writes the number of bytes copied as u64 at `out`, returns 8. */
  copyFileRange(
    nodeIn: NodeId,
    handleIn: Handle,
    offsetIn: number,
    nodeOut: NodeId,
    handleOut: Handle,
    offsetOut: number,
    length: number,
    out: number,
  ): number
  /** FS_IOC_GETFLAGS and friends; writes up to `capacity` bytes of output at `out`. */
  ioctl(
    node: NodeId,
    handle: Handle,
    command: number,
    input: number,
    inputSize: number,
    out: number,
    capacity: number,
  ): number

  // Directories have no handles: a cookie means the same to all who read one.
  /**
   * Fills whole struct fuse_dirent records at `out` from the entry after the cookie `offset` on; 0: from the
   * start, with all that has changed up to then.
   */
  readdir(node: NodeId, offset: number, out: number, capacity: number): number
  /** The same with struct fuse_direntplus: an Entry (nodeid 0: not looked up) before each. */
  readdirplus(node: NodeId, offset: number, out: number, capacity: number): number
  fsyncdir(node: NodeId, isDataOnly: boolean): number

  /** Names are NUL-terminated at `name`. `capacity` 0 asks for the size. */
  getxattr(node: NodeId, name: number, out: number, capacity: number): number
  listxattr(node: NodeId, out: number, capacity: number): number
  setxattr(node: NodeId, name: number, value: number, size: number, flags: number, extra: number): number
  removexattr(node: NodeId, name: number): number

  /** Writes struct fuse_kstatfs (80 bytes) at `out`. */
  statfs(node: NodeId, out: number): number
  /** struct fuse_statx (288 bytes with its head) is the session's; this gives Stat at `out`. */
  statx(node: NodeId, handle: Handle, out: number): number
  syncfs(): number
  /** The kernel let go of the mount. */
  destroy(): void
  /** Work that was parked has come to an end; see sys/native.ts `nextCompletion`. */
  completed(job: number, result: number): void
}
