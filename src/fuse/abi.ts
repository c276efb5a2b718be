// Numbers of the FUSE kernel interface, protocol 7.45 (linux/fuse.h): opcodes, flags, layouts.
//
// Own, because installed kernel headers lag behind kernels. C spelling throughout. A layout is
// a constant object: `bytes` is sizeof, every other key the byte offset of that field. 64-bit
// flags are plain numbers (all below 2^53). A test compares `abiTable` with C's offsetof.

export const FUSE_KERNEL_VERSION = 7
export const FUSE_KERNEL_MINOR_VERSION = 45
/** The oldest minor that is served: Linux 5.4, with MAX_PAGES, CACHE_SYMLINKS, EXPLICIT_INVAL_DATA. */
export const FUSE_MINOR_MINIMUM = 31
export const FUSE_ROOT_ID = 1

/** enum fuse_opcode. */
export const opcodes = {
  FUSE_LOOKUP: 1,
  FUSE_FORGET: 2,
  FUSE_GETATTR: 3,
  FUSE_SETATTR: 4,
  FUSE_READLINK: 5,
  FUSE_SYMLINK: 6,
  FUSE_MKNOD: 8,
  FUSE_MKDIR: 9,
  FUSE_UNLINK: 10,
  FUSE_RMDIR: 11,
  FUSE_RENAME: 12,
  FUSE_LINK: 13,
  FUSE_OPEN: 14,
  FUSE_READ: 15,
  FUSE_WRITE: 16,
  FUSE_STATFS: 17,
  FUSE_RELEASE: 18,
  FUSE_FSYNC: 20,
  FUSE_SETXATTR: 21,
  FUSE_GETXATTR: 22,
  FUSE_LISTXATTR: 23,
  FUSE_REMOVEXATTR: 24,
  FUSE_FLUSH: 25,
  FUSE_INIT: 26,
  FUSE_OPENDIR: 27,
  FUSE_READDIR: 28,
  FUSE_RELEASEDIR: 29,
  FUSE_FSYNCDIR: 30,
  FUSE_GETLK: 31,
  FUSE_SETLK: 32,
  FUSE_SETLKW: 33,
  FUSE_ACCESS: 34,
  FUSE_CREATE: 35,
  FUSE_INTERRUPT: 36,
  FUSE_BMAP: 37,
  FUSE_DESTROY: 38,
  FUSE_IOCTL: 39,
  FUSE_POLL: 40,
  FUSE_NOTIFY_REPLY: 41,
  FUSE_BATCH_FORGET: 42,
  FUSE_FALLOCATE: 43,
  FUSE_READDIRPLUS: 44,
  FUSE_RENAME2: 45,
  FUSE_LSEEK: 46,
  FUSE_COPY_FILE_RANGE: 47,
  FUSE_SETUPMAPPING: 48,
  FUSE_REMOVEMAPPING: 49,
  FUSE_SYNCFS: 50,
  FUSE_TMPFILE: 51,
  FUSE_STATX: 52,
  FUSE_COPY_FILE_RANGE_64: 53,
} as const

/** Flags of INIT; bits 32 and up travel in flags2. */
export const initFlags = {
  FUSE_ASYNC_READ: 2 ** 0,
  FUSE_POSIX_LOCKS: 2 ** 1,
  FUSE_FILE_OPS: 2 ** 2,
  FUSE_ATOMIC_O_TRUNC: 2 ** 3,
  FUSE_EXPORT_SUPPORT: 2 ** 4,
  FUSE_BIG_WRITES: 2 ** 5,
  FUSE_DONT_MASK: 2 ** 6,
  FUSE_SPLICE_WRITE: 2 ** 7,
  FUSE_SPLICE_MOVE: 2 ** 8,
  FUSE_SPLICE_READ: 2 ** 9,
  FUSE_FLOCK_LOCKS: 2 ** 10,
  FUSE_HAS_IOCTL_DIR: 2 ** 11,
  FUSE_AUTO_INVAL_DATA: 2 ** 12,
  FUSE_DO_READDIRPLUS: 2 ** 13,
  FUSE_READDIRPLUS_AUTO: 2 ** 14,
  FUSE_ASYNC_DIO: 2 ** 15,
  FUSE_WRITEBACK_CACHE: 2 ** 16,
  FUSE_NO_OPEN_SUPPORT: 2 ** 17,
  FUSE_PARALLEL_DIROPS: 2 ** 18,
  FUSE_HANDLE_KILLPRIV: 2 ** 19,
  FUSE_POSIX_ACL: 2 ** 20,
  FUSE_ABORT_ERROR: 2 ** 21,
  FUSE_MAX_PAGES: 2 ** 22,
  FUSE_CACHE_SYMLINKS: 2 ** 23,
  FUSE_NO_OPENDIR_SUPPORT: 2 ** 24,
  FUSE_EXPLICIT_INVAL_DATA: 2 ** 25,
  FUSE_MAP_ALIGNMENT: 2 ** 26,
  FUSE_SUBMOUNTS: 2 ** 27,
  FUSE_HANDLE_KILLPRIV_V2: 2 ** 28,
  FUSE_SETXATTR_EXT: 2 ** 29,
  FUSE_INIT_EXT: 2 ** 30,
  FUSE_SECURITY_CTX: 2 ** 32,
  FUSE_HAS_INODE_DAX: 2 ** 33,
  FUSE_CREATE_SUPP_GROUP: 2 ** 34,
  FUSE_HAS_EXPIRE_ONLY: 2 ** 35,
  FUSE_DIRECT_IO_ALLOW_MMAP: 2 ** 36,
  FUSE_PASSTHROUGH: 2 ** 37,
  FUSE_NO_EXPORT_SUPPORT: 2 ** 38,
  FUSE_HAS_RESEND: 2 ** 39,
  FUSE_ALLOW_IDMAP: 2 ** 40,
  FUSE_OVER_IO_URING: 2 ** 41,
  FUSE_REQUEST_TIMEOUT: 2 ** 42,
} as const

/** Smaller flag sets and codes. */
export const FATTR_MODE = 1 << 0
export const FATTR_UID = 1 << 1
export const FATTR_GID = 1 << 2
export const FATTR_SIZE = 1 << 3
export const FATTR_ATIME = 1 << 4
export const FATTR_MTIME = 1 << 5
export const FATTR_FH = 1 << 6
export const FATTR_ATIME_NOW = 1 << 7
export const FATTR_MTIME_NOW = 1 << 8
export const FATTR_LOCKOWNER = 1 << 9
export const FATTR_CTIME = 1 << 10
export const FATTR_KILL_SUIDGID = 1 << 11
export const FOPEN_DIRECT_IO = 1 << 0
export const FOPEN_KEEP_CACHE = 1 << 1
export const FOPEN_NONSEEKABLE = 1 << 2
export const FOPEN_CACHE_DIR = 1 << 3
export const FOPEN_STREAM = 1 << 4
export const FOPEN_NOFLUSH = 1 << 5
export const FOPEN_PARALLEL_DIRECT_WRITES = 1 << 6
export const FOPEN_PASSTHROUGH = 1 << 7
export const FUSE_OPEN_KILL_SUIDGID = 1 << 0
export const FUSE_WRITE_CACHE = 1 << 0
export const FUSE_WRITE_LOCKOWNER = 1 << 1
export const FUSE_WRITE_KILL_SUIDGID = 1 << 2
export const FUSE_GETATTR_FH = 1 << 0
export const FUSE_FSYNC_FDATASYNC = 1 << 0
export const FUSE_RELEASE_FLUSH = 1 << 0
export const FUSE_RELEASE_FLOCK_UNLOCK = 1 << 1
export const FUSE_SETXATTR_ACL_KILL_SGID = 1 << 0
export const FUSE_EXPIRE_ONLY = 1 << 0
export const FUSE_NOTIFY_POLL = 1
export const FUSE_NOTIFY_INVAL_INODE = 2
export const FUSE_NOTIFY_INVAL_ENTRY = 3
export const FUSE_NOTIFY_STORE = 4
export const FUSE_NOTIFY_RETRIEVE = 5
export const FUSE_NOTIFY_DELETE = 6
export const FUSE_NOTIFY_RESEND = 7
export const FUSE_NOTIFY_INC_EPOCH = 8
export const FUSE_NOTIFY_PRUNE = 9
export const FUSE_DEV_IOC_CLONE = 0x8004e500
export const FUSE_DEV_IOC_BACKING_OPEN = 0x4010e501
export const FUSE_DEV_IOC_BACKING_CLOSE = 0x4004e502

/** linux/fs.h: the ioctls that are served. */
export const FS_IOC_GETFLAGS = 0x80086601
export const FS_IOC_SETFLAGS = 0x40086602
export const FS_IOC32_GETFLAGS = 0x80046601
export const FS_IOC32_SETFLAGS = 0x40046602
export const FS_IOC_FSGETXATTR = 0x801c581f
export const FS_IOC_FSSETXATTR = 0x401c5820

/** linux/stat.h. */
export const STATX_BASIC_STATS = 0x7ff
export const STATX_BTIME = 0x800

export const fuse_in_header = {
  bytes: 40,
  len: 0,
  opcode: 4,
  unique: 8,
  nodeid: 16,
  uid: 24,
  gid: 28,
  pid: 32,
  total_extlen: 36,
} as const
export const fuse_out_header = { bytes: 16, len: 0, error: 4, unique: 8 } as const

export const fuse_attr = {
  bytes: 88,
  ino: 0,
  size: 8,
  blocks: 16,
  atime: 24,
  mtime: 32,
  ctime: 40,
  atimensec: 48,
  mtimensec: 52,
  ctimensec: 56,
  mode: 60,
  nlink: 64,
  uid: 68,
  gid: 72,
  rdev: 76,
  blksize: 80,
  flags: 84,
} as const

export const fuse_entry_out = {
  bytes: 128,
  nodeid: 0,
  generation: 8,
  entry_valid: 16,
  attr_valid: 24,
  entry_valid_nsec: 32,
  attr_valid_nsec: 36,
  attr: 40,
} as const
export const fuse_attr_out = { bytes: 104, attr_valid: 0, attr_valid_nsec: 8, attr: 16 } as const

export const fuse_init_in = {
  bytes: 64,
  major: 0,
  minor: 4,
  max_readahead: 8,
  flags: 12,
  flags2: 16,
} as const
/** What kernels before FUSE_INIT_EXT send of fuse_init_in. */
export const FUSE_INIT_IN_BASE_BYTES = 16
export const fuse_init_out = {
  bytes: 64,
  major: 0,
  minor: 4,
  max_readahead: 8,
  flags: 12,
  max_background: 16,
  congestion_threshold: 18,
  max_write: 20,
  time_gran: 24,
  max_pages: 28,
  map_alignment: 30,
  flags2: 32,
  max_stack_depth: 36,
  request_timeout: 40,
} as const

export const fuse_forget_in = { bytes: 8, nlookup: 0 } as const
export const fuse_batch_forget_in = { bytes: 8, count: 0 } as const
export const fuse_forget_one = { bytes: 16, nodeid: 0, nlookup: 8 } as const
export const fuse_getattr_in = { bytes: 16, getattr_flags: 0, fh: 8 } as const
export const fuse_setattr_in = {
  bytes: 88,
  valid: 0,
  fh: 8,
  size: 16,
  lock_owner: 24,
  atime: 32,
  mtime: 40,
  ctime: 48,
  atimensec: 56,
  mtimensec: 60,
  ctimensec: 64,
  mode: 68,
  uid: 76,
  gid: 80,
} as const
export const fuse_mknod_in = { bytes: 16, mode: 0, rdev: 4, umask: 8 } as const
export const fuse_mkdir_in = { bytes: 8, mode: 0, umask: 4 } as const
export const fuse_rename_in = { bytes: 8, newdir: 0 } as const
export const fuse_rename2_in = { bytes: 16, newdir: 0, flags: 8 } as const
export const fuse_link_in = { bytes: 8, oldnodeid: 0 } as const
export const fuse_open_in = { bytes: 8, flags: 0, open_flags: 4 } as const
export const fuse_create_in = { bytes: 16, flags: 0, mode: 4, umask: 8, open_flags: 12 } as const
export const fuse_open_out = { bytes: 16, fh: 0, open_flags: 8, backing_id: 12 } as const
export const fuse_release_in = { bytes: 24, fh: 0, flags: 8, release_flags: 12, lock_owner: 16 } as const
export const fuse_flush_in = { bytes: 24, fh: 0, lock_owner: 16 } as const
export const fuse_read_in = {
  bytes: 40,
  fh: 0,
  offset: 8,
  size: 16,
  read_flags: 20,
  lock_owner: 24,
  flags: 32,
} as const
export const fuse_write_in = {
  bytes: 40,
  fh: 0,
  offset: 8,
  size: 16,
  write_flags: 20,
  lock_owner: 24,
  flags: 32,
} as const
export const fuse_write_out = { bytes: 8, size: 0 } as const
export const fuse_kstatfs = {
  bytes: 80,
  blocks: 0,
  bfree: 8,
  bavail: 16,
  files: 24,
  ffree: 32,
  bsize: 40,
  namelen: 44,
  frsize: 48,
} as const
export const fuse_fsync_in = { bytes: 16, fh: 0, fsync_flags: 8 } as const
export const fuse_setxattr_in = { bytes: 16, size: 0, flags: 4, setxattr_flags: 8 } as const
/** The form without FUSE_SETXATTR_EXT. */
export const FUSE_COMPAT_SETXATTR_IN_SIZE = 8
export const fuse_getxattr_in = { bytes: 8, size: 0 } as const
export const fuse_getxattr_out = { bytes: 8, size: 0 } as const
export const fuse_access_in = { bytes: 8, mask: 0 } as const
export const fuse_interrupt_in = { bytes: 8, unique: 0 } as const
export const fuse_ioctl_in = {
  bytes: 32,
  fh: 0,
  flags: 8,
  cmd: 12,
  arg: 16,
  in_size: 24,
  out_size: 28,
} as const
export const fuse_ioctl_out = { bytes: 16, result: 0, flags: 4, in_iovs: 8, out_iovs: 12 } as const
export const fuse_fallocate_in = { bytes: 32, fh: 0, offset: 8, length: 16, mode: 24 } as const
export const fuse_dirent = { bytes: 24, ino: 0, off: 8, namelen: 16, type: 20, name: 24 } as const
export const fuse_direntplus = { bytes: 152, entry_out: 0, dirent: 128 } as const
export const fuse_lseek_in = { bytes: 24, fh: 0, offset: 8, whence: 16 } as const
export const fuse_lseek_out = { bytes: 8, offset: 0 } as const
export const fuse_copy_file_range_in = {
  bytes: 56,
  fh_in: 0,
  off_in: 8,
  nodeid_out: 16,
  fh_out: 24,
  off_out: 32,
  len: 40,
  flags: 48,
} as const
export const fuse_copy_file_range_out = { bytes: 8, bytes_copied: 0 } as const
export const fuse_syncfs_in = { bytes: 8 } as const
export const fuse_statx_in = { bytes: 24, getattr_flags: 0, fh: 8, sx_flags: 16, sx_mask: 20 } as const
export const fuse_statx_out = { bytes: 288, attr_valid: 0, attr_valid_nsec: 8, flags: 12, stat: 32 } as const
export const fuse_statx = {
  bytes: 256,
  mask: 0,
  blksize: 4,
  attributes: 8,
  nlink: 16,
  uid: 20,
  gid: 24,
  mode: 28,
  ino: 32,
  size: 40,
  blocks: 48,
  attributes_mask: 56,
  atime: 64,
  btime: 80,
  ctime: 96,
  mtime: 112,
  rdev_major: 128,
  rdev_minor: 132,
  dev_major: 136,
  dev_minor: 140,
} as const
export const fuse_notify_inval_inode_out = { bytes: 24, ino: 0, off: 8, len: 16 } as const
export const fuse_notify_inval_entry_out = { bytes: 16, parent: 0, namelen: 8, flags: 12 } as const
export const fuse_notify_delete_out = { bytes: 24, parent: 0, child: 8, namelen: 16 } as const
export const fuse_backing_map = { bytes: 16, fd: 0, flags: 4, padding: 8 } as const

const structs: Record<string, Record<string, number>> = {
  fuse_in_header,
  fuse_out_header,
  fuse_attr,
  fuse_entry_out,
  fuse_attr_out,
  fuse_init_in,
  fuse_init_out,
  fuse_forget_in,
  fuse_batch_forget_in,
  fuse_forget_one,
  fuse_getattr_in,
  fuse_setattr_in,
  fuse_mknod_in,
  fuse_mkdir_in,
  fuse_rename_in,
  fuse_rename2_in,
  fuse_link_in,
  fuse_open_in,
  fuse_create_in,
  fuse_open_out,
  fuse_release_in,
  fuse_flush_in,
  fuse_read_in,
  fuse_write_in,
  fuse_write_out,
  fuse_kstatfs,
  fuse_fsync_in,
  fuse_setxattr_in,
  fuse_getxattr_in,
  fuse_getxattr_out,
  fuse_access_in,
  fuse_interrupt_in,
  fuse_ioctl_in,
  fuse_ioctl_out,
  fuse_fallocate_in,
  fuse_dirent,
  fuse_direntplus,
  fuse_lseek_in,
  fuse_lseek_out,
  fuse_copy_file_range_in,
  fuse_copy_file_range_out,
  fuse_syncfs_in,
  fuse_statx_in,
  fuse_statx_out,
  fuse_statx,
  fuse_notify_inval_inode_out,
  fuse_notify_inval_entry_out,
  fuse_notify_delete_out,
  fuse_backing_map,
}

function flatten(): Record<string, number> {
  const table: Record<string, number> = {
    ...opcodes,
    ...initFlags,
    FUSE_KERNEL_VERSION,
    FUSE_KERNEL_MINOR_VERSION,
    FATTR_MODE,
    FATTR_UID,
    FATTR_GID,
    FATTR_SIZE,
    FATTR_ATIME,
    FATTR_MTIME,
    FATTR_FH,
    FATTR_ATIME_NOW,
    FATTR_MTIME_NOW,
    FATTR_LOCKOWNER,
    FATTR_CTIME,
    FATTR_KILL_SUIDGID,
    FOPEN_DIRECT_IO,
    FOPEN_KEEP_CACHE,
    FOPEN_NONSEEKABLE,
    FOPEN_CACHE_DIR,
    FOPEN_STREAM,
    FOPEN_NOFLUSH,
    FOPEN_PARALLEL_DIRECT_WRITES,
    FOPEN_PASSTHROUGH,
    FUSE_OPEN_KILL_SUIDGID,
    FUSE_WRITE_CACHE,
    FUSE_WRITE_LOCKOWNER,
    FUSE_WRITE_KILL_SUIDGID,
    FUSE_GETATTR_FH,
    FUSE_FSYNC_FDATASYNC,
    FUSE_RELEASE_FLUSH,
    FUSE_RELEASE_FLOCK_UNLOCK,
    FUSE_SETXATTR_ACL_KILL_SGID,
    FUSE_EXPIRE_ONLY,
    FUSE_NOTIFY_POLL,
    FUSE_NOTIFY_INVAL_INODE,
    FUSE_NOTIFY_INVAL_ENTRY,
    FUSE_NOTIFY_STORE,
    FUSE_NOTIFY_RETRIEVE,
    FUSE_NOTIFY_DELETE,
    FUSE_NOTIFY_RESEND,
    FUSE_NOTIFY_INC_EPOCH,
    FUSE_NOTIFY_PRUNE,
    FUSE_DEV_IOC_CLONE,
    FUSE_DEV_IOC_BACKING_OPEN,
    FUSE_DEV_IOC_BACKING_CLOSE,
    FS_IOC_GETFLAGS,
    FS_IOC_SETFLAGS,
    FS_IOC32_GETFLAGS,
    FS_IOC32_SETFLAGS,
    FS_IOC_FSGETXATTR,
    FS_IOC_FSSETXATTR,
  }
  for (const [name, layout] of Object.entries(structs)) {
    for (const [field, offset] of Object.entries(layout)) {
      table[field === 'bytes' ? `sizeof ${name}` : `${name}.${field}`] = offset
    }
  }
  return table
}

/** Every number of this file by name: `FUSE_LOOKUP`, `fuse_in_header.len`, `sizeof fuse_in_header`. */
export const abiTable: Record<string, number> = flatten()
