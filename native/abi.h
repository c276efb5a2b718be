// The FUSE protocol as Linux 6.18 speaks it (7.45): structs, opcodes, flags, notify codes.
//
// Own header, because the one a distribution installs is often older than passthrough (7.40) and
// FUSE over io_uring (7.42). Names are the kernel's. Every struct is a multiple of 8 bytes, with
// all padding spelled out. test/fuse/abi.test.ts compares it with src/fuse/abi.ts.

#pragma once

#include <cstddef>
#include <cstdint>
#include <sys/ioctl.h>

#if defined(_LINUX_FUSE_H)
#error "linux/fuse.h and native/abi.h exclude each other"
#endif

/** Must equal NATIVE_ABI in src/sys/native.ts: raised when a function's meaning changes. */
#define MICA_NATIVE_ABI 1

constexpr uint32_t FUSE_KERNEL_VERSION = 7;
constexpr uint32_t FUSE_KERNEL_MINOR_VERSION = 45;
constexpr uint64_t FUSE_ROOT_ID = 1;
constexpr uint32_t FUSE_MIN_READ_BUFFER = 8192;
/** Bit of `unique` in a request that is sent again after FUSE_NOTIFY_RESEND. */
constexpr uint64_t FUSE_UNIQUE_RESEND = 1ULL << 63;
/** An id that has no mapping on an id-mapped mount. */
constexpr uint32_t FUSE_INVALID_UIDGID = 0xffffffff;

// -- opcodes ---------------------------------------------------------------------------------

enum fuse_opcode : uint32_t {
  FUSE_LOOKUP = 1,
  FUSE_FORGET = 2,
  FUSE_GETATTR = 3,
  FUSE_SETATTR = 4,
  FUSE_READLINK = 5,
  FUSE_SYMLINK = 6,
  FUSE_MKNOD = 8,
  FUSE_MKDIR = 9,
  FUSE_UNLINK = 10,
  FUSE_RMDIR = 11,
  FUSE_RENAME = 12,
  FUSE_LINK = 13,
  FUSE_OPEN = 14,
  FUSE_READ = 15,
  FUSE_WRITE = 16,
  FUSE_STATFS = 17,
  FUSE_RELEASE = 18,
  FUSE_FSYNC = 20,
  FUSE_SETXATTR = 21,
  FUSE_GETXATTR = 22,
  FUSE_LISTXATTR = 23,
  FUSE_REMOVEXATTR = 24,
  FUSE_FLUSH = 25,
  FUSE_INIT = 26,
  FUSE_OPENDIR = 27,
  FUSE_READDIR = 28,
  FUSE_RELEASEDIR = 29,
  FUSE_FSYNCDIR = 30,
  FUSE_GETLK = 31,
  FUSE_SETLK = 32,
  FUSE_SETLKW = 33,
  FUSE_ACCESS = 34,
  FUSE_CREATE = 35,
  FUSE_INTERRUPT = 36,
  FUSE_BMAP = 37,
  FUSE_DESTROY = 38,
  FUSE_IOCTL = 39,
  FUSE_POLL = 40,
  FUSE_NOTIFY_REPLY = 41,
  FUSE_BATCH_FORGET = 42,
  FUSE_FALLOCATE = 43,
  FUSE_READDIRPLUS = 44,
  FUSE_RENAME2 = 45,
  FUSE_LSEEK = 46,
  FUSE_COPY_FILE_RANGE = 47,
  FUSE_SETUPMAPPING = 48,
  FUSE_REMOVEMAPPING = 49,
  FUSE_SYNCFS = 50,
  FUSE_TMPFILE = 51,
  FUSE_STATX = 52,
  FUSE_COPY_FILE_RANGE_64 = 53,
};

enum fuse_notify_code : uint32_t {
  FUSE_NOTIFY_POLL = 1,
  FUSE_NOTIFY_INVAL_INODE = 2,
  FUSE_NOTIFY_INVAL_ENTRY = 3,
  FUSE_NOTIFY_STORE = 4,
  FUSE_NOTIFY_RETRIEVE = 5,
  FUSE_NOTIFY_DELETE = 6,
  FUSE_NOTIFY_RESEND = 7,
  FUSE_NOTIFY_INC_EPOCH = 8,
  FUSE_NOTIFY_PRUNE = 9,
};

// -- INIT flags: bits 0..31 travel in `flags`, bits 32..63 in `flags2` ------------------------

constexpr uint64_t FUSE_ASYNC_READ = 1ULL << 0;
constexpr uint64_t FUSE_POSIX_LOCKS = 1ULL << 1;
constexpr uint64_t FUSE_FILE_OPS = 1ULL << 2;
constexpr uint64_t FUSE_ATOMIC_O_TRUNC = 1ULL << 3;
constexpr uint64_t FUSE_EXPORT_SUPPORT = 1ULL << 4;
constexpr uint64_t FUSE_BIG_WRITES = 1ULL << 5;
constexpr uint64_t FUSE_DONT_MASK = 1ULL << 6;
constexpr uint64_t FUSE_SPLICE_WRITE = 1ULL << 7;
constexpr uint64_t FUSE_SPLICE_MOVE = 1ULL << 8;
constexpr uint64_t FUSE_SPLICE_READ = 1ULL << 9;
constexpr uint64_t FUSE_FLOCK_LOCKS = 1ULL << 10;
constexpr uint64_t FUSE_HAS_IOCTL_DIR = 1ULL << 11;
constexpr uint64_t FUSE_AUTO_INVAL_DATA = 1ULL << 12;
constexpr uint64_t FUSE_DO_READDIRPLUS = 1ULL << 13;
constexpr uint64_t FUSE_READDIRPLUS_AUTO = 1ULL << 14;
constexpr uint64_t FUSE_ASYNC_DIO = 1ULL << 15;
constexpr uint64_t FUSE_WRITEBACK_CACHE = 1ULL << 16;
constexpr uint64_t FUSE_NO_OPEN_SUPPORT = 1ULL << 17;
constexpr uint64_t FUSE_PARALLEL_DIROPS = 1ULL << 18;
constexpr uint64_t FUSE_HANDLE_KILLPRIV = 1ULL << 19;
constexpr uint64_t FUSE_POSIX_ACL = 1ULL << 20;
constexpr uint64_t FUSE_ABORT_ERROR = 1ULL << 21;
constexpr uint64_t FUSE_MAX_PAGES = 1ULL << 22;
constexpr uint64_t FUSE_CACHE_SYMLINKS = 1ULL << 23;
constexpr uint64_t FUSE_NO_OPENDIR_SUPPORT = 1ULL << 24;
constexpr uint64_t FUSE_EXPLICIT_INVAL_DATA = 1ULL << 25;
constexpr uint64_t FUSE_MAP_ALIGNMENT = 1ULL << 26;
constexpr uint64_t FUSE_SUBMOUNTS = 1ULL << 27;
constexpr uint64_t FUSE_HANDLE_KILLPRIV_V2 = 1ULL << 28;
constexpr uint64_t FUSE_SETXATTR_EXT = 1ULL << 29;
constexpr uint64_t FUSE_INIT_EXT = 1ULL << 30;
constexpr uint64_t FUSE_INIT_RESERVED = 1ULL << 31;
constexpr uint64_t FUSE_SECURITY_CTX = 1ULL << 32;
constexpr uint64_t FUSE_HAS_INODE_DAX = 1ULL << 33;
constexpr uint64_t FUSE_CREATE_SUPP_GROUP = 1ULL << 34;
constexpr uint64_t FUSE_HAS_EXPIRE_ONLY = 1ULL << 35;
constexpr uint64_t FUSE_DIRECT_IO_ALLOW_MMAP = 1ULL << 36;
constexpr uint64_t FUSE_PASSTHROUGH = 1ULL << 37;
constexpr uint64_t FUSE_NO_EXPORT_SUPPORT = 1ULL << 38;
constexpr uint64_t FUSE_HAS_RESEND = 1ULL << 39;
constexpr uint64_t FUSE_ALLOW_IDMAP = 1ULL << 40;
constexpr uint64_t FUSE_OVER_IO_URING = 1ULL << 41;
constexpr uint64_t FUSE_REQUEST_TIMEOUT = 1ULL << 42;

// -- flags of single operations --------------------------------------------------------------

constexpr uint32_t FATTR_MODE = 1 << 0;
constexpr uint32_t FATTR_UID = 1 << 1;
constexpr uint32_t FATTR_GID = 1 << 2;
constexpr uint32_t FATTR_SIZE = 1 << 3;
constexpr uint32_t FATTR_ATIME = 1 << 4;
constexpr uint32_t FATTR_MTIME = 1 << 5;
constexpr uint32_t FATTR_FH = 1 << 6;
constexpr uint32_t FATTR_ATIME_NOW = 1 << 7;
constexpr uint32_t FATTR_MTIME_NOW = 1 << 8;
constexpr uint32_t FATTR_LOCKOWNER = 1 << 9;
constexpr uint32_t FATTR_CTIME = 1 << 10;
constexpr uint32_t FATTR_KILL_SUIDGID = 1 << 11;

constexpr uint32_t FOPEN_DIRECT_IO = 1 << 0;
constexpr uint32_t FOPEN_KEEP_CACHE = 1 << 1;
constexpr uint32_t FOPEN_NONSEEKABLE = 1 << 2;
constexpr uint32_t FOPEN_CACHE_DIR = 1 << 3;
constexpr uint32_t FOPEN_STREAM = 1 << 4;
constexpr uint32_t FOPEN_NOFLUSH = 1 << 5;
constexpr uint32_t FOPEN_PARALLEL_DIRECT_WRITES = 1 << 6;
constexpr uint32_t FOPEN_PASSTHROUGH = 1 << 7;

constexpr uint32_t FUSE_RELEASE_FLUSH = 1 << 0;
constexpr uint32_t FUSE_RELEASE_FLOCK_UNLOCK = 1 << 1;
constexpr uint32_t FUSE_GETATTR_FH = 1 << 0;
constexpr uint32_t FUSE_LK_FLOCK = 1 << 0;
constexpr uint32_t FUSE_WRITE_CACHE = 1 << 0;
constexpr uint32_t FUSE_WRITE_LOCKOWNER = 1 << 1;
constexpr uint32_t FUSE_WRITE_KILL_SUIDGID = 1 << 2;
constexpr uint32_t FUSE_READ_LOCKOWNER = 1 << 1;
constexpr uint32_t FUSE_IOCTL_COMPAT = 1 << 0;
constexpr uint32_t FUSE_IOCTL_UNRESTRICTED = 1 << 1;
constexpr uint32_t FUSE_IOCTL_RETRY = 1 << 2;
constexpr uint32_t FUSE_IOCTL_32BIT = 1 << 3;
constexpr uint32_t FUSE_IOCTL_DIR = 1 << 4;
constexpr uint32_t FUSE_IOCTL_COMPAT_X32 = 1 << 5;
constexpr uint32_t FUSE_IOCTL_MAX_IOV = 256;
constexpr uint32_t FUSE_POLL_SCHEDULE_NOTIFY = 1 << 0;
constexpr uint32_t FUSE_FSYNC_FDATASYNC = 1 << 0;
constexpr uint32_t FUSE_ATTR_SUBMOUNT = 1 << 0;
constexpr uint32_t FUSE_ATTR_DAX = 1 << 1;
constexpr uint32_t FUSE_OPEN_KILL_SUIDGID = 1 << 0;
constexpr uint32_t FUSE_SETXATTR_ACL_KILL_SGID = 1 << 0;
constexpr uint32_t FUSE_EXPIRE_ONLY = 1 << 0;
/** Extension types: 0..31 are the number of security contexts, above that a kind. */
constexpr uint32_t FUSE_MAX_NR_SECCTX = 31;
constexpr uint32_t FUSE_EXT_GROUPS = 32;

constexpr size_t FUSE_COMPAT_ENTRY_OUT_SIZE = 120;
constexpr size_t FUSE_COMPAT_ATTR_OUT_SIZE = 96;
constexpr size_t FUSE_COMPAT_MKNOD_IN_SIZE = 8;
constexpr size_t FUSE_COMPAT_WRITE_IN_SIZE = 24;
constexpr size_t FUSE_COMPAT_STATFS_SIZE = 48;
constexpr size_t FUSE_COMPAT_SETXATTR_IN_SIZE = 8;
constexpr size_t FUSE_COMPAT_INIT_OUT_SIZE = 8;
constexpr size_t FUSE_COMPAT_22_INIT_OUT_SIZE = 24;

// -- headers ---------------------------------------------------------------------------------

struct fuse_in_header {
  uint32_t len;
  uint32_t opcode;
  uint64_t unique;
  uint64_t nodeid;
  uint32_t uid;
  uint32_t gid;
  uint32_t pid;
  uint16_t total_extlen; // in units of 8 bytes
  uint16_t padding;
};

struct fuse_out_header {
  uint32_t len;
  int32_t error;
  uint64_t unique;
};

struct fuse_ext_header {
  uint32_t size;
  uint32_t type;
};

struct fuse_secctx_header {
  uint32_t size;
  uint32_t nr_secctx;
};

struct fuse_secctx {
  uint32_t size;
  uint32_t padding;
};

struct fuse_supp_groups {
  uint32_t nr_groups;
  uint32_t groups[];
};

// -- attributes and entries ------------------------------------------------------------------

struct fuse_attr {
  uint64_t ino;
  uint64_t size;
  uint64_t blocks;
  uint64_t atime;
  uint64_t mtime;
  uint64_t ctime;
  uint32_t atimensec;
  uint32_t mtimensec;
  uint32_t ctimensec;
  uint32_t mode;
  uint32_t nlink;
  uint32_t uid;
  uint32_t gid;
  uint32_t rdev;
  uint32_t blksize;
  uint32_t flags;
};

struct fuse_sx_time {
  int64_t tv_sec;
  uint32_t tv_nsec;
  int32_t __reserved;
};

struct fuse_statx {
  uint32_t mask;
  uint32_t blksize;
  uint64_t attributes;
  uint32_t nlink;
  uint32_t uid;
  uint32_t gid;
  uint16_t mode;
  uint16_t __spare0[1];
  uint64_t ino;
  uint64_t size;
  uint64_t blocks;
  uint64_t attributes_mask;
  fuse_sx_time atime;
  fuse_sx_time btime;
  fuse_sx_time ctime;
  fuse_sx_time mtime;
  uint32_t rdev_major;
  uint32_t rdev_minor;
  uint32_t dev_major;
  uint32_t dev_minor;
  uint64_t __spare2[14];
};

struct fuse_kstatfs {
  uint64_t blocks;
  uint64_t bfree;
  uint64_t bavail;
  uint64_t files;
  uint64_t ffree;
  uint32_t bsize;
  uint32_t namelen;
  uint32_t frsize;
  uint32_t padding;
  uint32_t spare[6];
};

struct fuse_entry_out {
  uint64_t nodeid;
  uint64_t generation;
  uint64_t entry_valid;
  uint64_t attr_valid;
  uint32_t entry_valid_nsec;
  uint32_t attr_valid_nsec;
  fuse_attr attr;
};

struct fuse_attr_out {
  uint64_t attr_valid;
  uint32_t attr_valid_nsec;
  uint32_t dummy;
  fuse_attr attr;
};

struct fuse_statx_in {
  uint32_t getattr_flags;
  uint32_t reserved;
  uint64_t fh;
  uint32_t sx_flags;
  uint32_t sx_mask;
};

struct fuse_statx_out {
  uint64_t attr_valid;
  uint32_t attr_valid_nsec;
  uint32_t flags;
  uint64_t spare[2];
  fuse_statx stat;
};

struct fuse_dirent {
  uint64_t ino;
  uint64_t off;
  uint32_t namelen;
  uint32_t type;
  char name[];
};

struct fuse_direntplus {
  fuse_entry_out entry_out;
  fuse_dirent dirent;
};

// -- operations ------------------------------------------------------------------------------

struct fuse_forget_in {
  uint64_t nlookup;
};

struct fuse_forget_one {
  uint64_t nodeid;
  uint64_t nlookup;
};

struct fuse_batch_forget_in {
  uint32_t count;
  uint32_t dummy;
};

struct fuse_getattr_in {
  uint32_t getattr_flags;
  uint32_t dummy;
  uint64_t fh;
};

struct fuse_setattr_in {
  uint32_t valid;
  uint32_t padding;
  uint64_t fh;
  uint64_t size;
  uint64_t lock_owner;
  uint64_t atime;
  uint64_t mtime;
  uint64_t ctime;
  uint32_t atimensec;
  uint32_t mtimensec;
  uint32_t ctimensec;
  uint32_t mode;
  uint32_t unused4;
  uint32_t uid;
  uint32_t gid;
  uint32_t unused5;
};

struct fuse_mknod_in {
  uint32_t mode;
  uint32_t rdev;
  uint32_t umask;
  uint32_t padding;
};

struct fuse_mkdir_in {
  uint32_t mode;
  uint32_t umask;
};

struct fuse_rename_in {
  uint64_t newdir;
};

struct fuse_rename2_in {
  uint64_t newdir;
  uint32_t flags;
  uint32_t padding;
};

struct fuse_link_in {
  uint64_t oldnodeid;
};

struct fuse_open_in {
  uint32_t flags;
  uint32_t open_flags;
};

struct fuse_create_in {
  uint32_t flags;
  uint32_t mode;
  uint32_t umask;
  uint32_t open_flags;
};

struct fuse_open_out {
  uint64_t fh;
  uint32_t open_flags;
  int32_t backing_id;
};

struct fuse_release_in {
  uint64_t fh;
  uint32_t flags;
  uint32_t release_flags;
  uint64_t lock_owner;
};

struct fuse_flush_in {
  uint64_t fh;
  uint32_t unused;
  uint32_t padding;
  uint64_t lock_owner;
};

struct fuse_read_in {
  uint64_t fh;
  uint64_t offset;
  uint32_t size;
  uint32_t read_flags;
  uint64_t lock_owner;
  uint32_t flags;
  uint32_t padding;
};

struct fuse_write_in {
  uint64_t fh;
  uint64_t offset;
  uint32_t size;
  uint32_t write_flags;
  uint64_t lock_owner;
  uint32_t flags;
  uint32_t padding;
};

struct fuse_write_out {
  uint32_t size;
  uint32_t padding;
};

struct fuse_statfs_out {
  fuse_kstatfs st;
};

struct fuse_fsync_in {
  uint64_t fh;
  uint32_t fsync_flags;
  uint32_t padding;
};

struct fuse_setxattr_in {
  uint32_t size;
  uint32_t flags;
  uint32_t setxattr_flags;
  uint32_t padding;
};

struct fuse_getxattr_in {
  uint32_t size;
  uint32_t padding;
};

struct fuse_getxattr_out {
  uint32_t size;
  uint32_t padding;
};

struct fuse_file_lock {
  uint64_t start;
  uint64_t end;
  uint32_t type;
  uint32_t pid;
};

struct fuse_lk_in {
  uint64_t fh;
  uint64_t owner;
  fuse_file_lock lk;
  uint32_t lk_flags;
  uint32_t padding;
};

struct fuse_lk_out {
  fuse_file_lock lk;
};

struct fuse_access_in {
  uint32_t mask;
  uint32_t padding;
};

struct fuse_init_in {
  uint32_t major;
  uint32_t minor;
  uint32_t max_readahead;
  uint32_t flags;
  uint32_t flags2;
  uint32_t unused[11];
};

struct fuse_init_out {
  uint32_t major;
  uint32_t minor;
  uint32_t max_readahead;
  uint32_t flags;
  uint16_t max_background;
  uint16_t congestion_threshold;
  uint32_t max_write;
  uint32_t time_gran;
  uint16_t max_pages;
  uint16_t map_alignment;
  uint32_t flags2;
  uint32_t max_stack_depth;
  uint16_t request_timeout;
  uint16_t unused[11];
};

struct fuse_interrupt_in {
  uint64_t unique;
};

struct fuse_bmap_in {
  uint64_t block;
  uint32_t blocksize;
  uint32_t padding;
};

struct fuse_bmap_out {
  uint64_t block;
};

struct fuse_ioctl_in {
  uint64_t fh;
  uint32_t flags;
  uint32_t cmd;
  uint64_t arg;
  uint32_t in_size;
  uint32_t out_size;
};

struct fuse_ioctl_iovec {
  uint64_t base;
  uint64_t len;
};

struct fuse_ioctl_out {
  int32_t result;
  uint32_t flags;
  uint32_t in_iovs;
  uint32_t out_iovs;
};

struct fuse_poll_in {
  uint64_t fh;
  uint64_t kh;
  uint32_t flags;
  uint32_t events;
};

struct fuse_poll_out {
  uint32_t revents;
  uint32_t padding;
};

struct fuse_fallocate_in {
  uint64_t fh;
  uint64_t offset;
  uint64_t length;
  uint32_t mode;
  uint32_t padding;
};

struct fuse_lseek_in {
  uint64_t fh;
  uint64_t offset;
  uint32_t whence;
  uint32_t padding;
};

struct fuse_lseek_out {
  uint64_t offset;
};

struct fuse_copy_file_range_in {
  uint64_t fh_in;
  uint64_t off_in;
  uint64_t nodeid_out;
  uint64_t fh_out;
  uint64_t off_out;
  uint64_t len;
  uint64_t flags;
};

struct fuse_copy_file_range_out {
  uint64_t bytes_copied;
};

struct fuse_syncfs_in {
  uint64_t padding;
};

// -- notifications ---------------------------------------------------------------------------

struct fuse_notify_poll_wakeup_out {
  uint64_t kh;
};

struct fuse_notify_inval_inode_out {
  uint64_t ino;
  int64_t off;
  int64_t len;
};

struct fuse_notify_inval_entry_out {
  uint64_t parent;
  uint32_t namelen;
  uint32_t flags;
};

struct fuse_notify_delete_out {
  uint64_t parent;
  uint64_t child;
  uint32_t namelen;
  uint32_t padding;
};

struct fuse_notify_store_out {
  uint64_t nodeid;
  uint64_t offset;
  uint32_t size;
  uint32_t padding;
};

struct fuse_notify_retrieve_out {
  uint64_t notify_unique;
  uint64_t nodeid;
  uint64_t offset;
  uint32_t size;
  uint32_t padding;
};

struct fuse_notify_retrieve_in {
  uint64_t dummy1;
  uint64_t offset;
  uint32_t size;
  uint32_t dummy2;
  uint64_t dummy3;
  uint64_t dummy4;
};

/** Followed by `count` nodeids (u64). */
struct fuse_notify_prune_out {
  uint32_t count;
  uint32_t padding;
  uint64_t spare;
};

// -- the device ------------------------------------------------------------------------------

struct fuse_backing_map {
  int32_t fd;
  uint32_t flags;
  uint64_t padding;
};

#define FUSE_DEV_IOC_MAGIC 229
#define FUSE_DEV_IOC_CLONE _IOR(FUSE_DEV_IOC_MAGIC, 0, uint32_t)
#define FUSE_DEV_IOC_BACKING_OPEN _IOW(FUSE_DEV_IOC_MAGIC, 1, struct fuse_backing_map)
#define FUSE_DEV_IOC_BACKING_CLOSE _IOW(FUSE_DEV_IOC_MAGIC, 2, uint32_t)
#define FUSE_DEV_IOC_SYNC_INIT _IO(FUSE_DEV_IOC_MAGIC, 3)

// -- FUSE over io_uring ----------------------------------------------------------------------

constexpr size_t FUSE_URING_IN_OUT_HEADER_SZ = 128;
constexpr size_t FUSE_URING_OP_IN_OUT_SZ = 128;

struct fuse_uring_ent_in_out {
  uint64_t flags;
  uint64_t commit_id;
  uint32_t payload_sz;
  uint32_t padding;
  uint64_t reserved;
};

/** What a ring entry's first buffer holds; the payload is the second buffer. */
struct fuse_uring_req_header {
  char in_out[FUSE_URING_IN_OUT_HEADER_SZ]; // fuse_in_header, then fuse_out_header
  char op_in[FUSE_URING_OP_IN_OUT_SZ];      // the operation's first struct
  fuse_uring_ent_in_out ring_ent_in_out;
};

enum fuse_uring_cmd : uint32_t {
  FUSE_IO_URING_CMD_INVALID = 0,
  FUSE_IO_URING_CMD_REGISTER = 1,
  FUSE_IO_URING_CMD_COMMIT_AND_FETCH = 2,
};

/** In the 80 bytes of a 128-byte SQE's command area. */
struct fuse_uring_cmd_req {
  uint64_t flags;
  uint64_t commit_id;
  uint16_t qid;
  uint8_t padding[6];
};

static_assert(sizeof(fuse_in_header) == 40);
static_assert(sizeof(fuse_out_header) == 16);
static_assert(sizeof(fuse_attr) == 88);
static_assert(sizeof(fuse_entry_out) == 128);
static_assert(sizeof(fuse_kstatfs) == 80);
static_assert(sizeof(fuse_init_in) == 64);
static_assert(sizeof(fuse_init_out) == 64);
static_assert(sizeof(fuse_statx) == 256);
static_assert(sizeof(fuse_statx_out) == 288);
static_assert(sizeof(fuse_uring_req_header) == 288);
static_assert(sizeof(fuse_uring_cmd_req) == 24);
