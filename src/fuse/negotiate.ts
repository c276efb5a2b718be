// What is agreed with the kernel at INIT: one row per flag, with when it is wanted and why.
//
// Only what the kernel offered is ever answered. The outcome is an Agreement: plain data that the
// session, the union and other workers may read. Nothing here keeps state.

import {
  FUSE_KERNEL_MINOR_VERSION,
  FUSE_KERNEL_VERSION,
  FUSE_MINOR_MINIMUM,
  initFlags as flag,
} from './abi.js'

/** How file data travels: see `flagRows` for what each needs. */
export type DataMode = 'passthrough' | 'cache' | 'no-open'

export type NegotiateOptions = {
  readonly data: DataMode
  /** POSIX ACLs are kept and checked by the kernel. */
  readonly hasAcl: boolean
  /** Nothing of the mount is ever written. */
  readonly isReadOnly?: boolean
  readonly transport: 'dev-fuse' | 'io-uring' | 'fuse-native'
  /** 1: real files may not lie on a stacking file system; 2: they may, but then nothing stacks on us. */
  readonly maxStackDepth: 1 | 2
}

/** What the kernel said in fuse_init_in. */
export type Offer = {
  readonly major: number
  readonly minor: number
  readonly maxReadahead: number
  /** 64 bits of flags as one number. */
  readonly flags: number
}

/** What holds for the life of the mount; also the content of fuse_init_out. */
export type Agreement = {
  readonly major: number
  readonly minor: number
  /** Flags answered, 64 bits as one number. */
  readonly flags: number
  readonly maxReadahead: number
  /** Largest WRITE (and READ) in bytes. */
  readonly maxWrite: number
  readonly maxPages: number
  readonly maxBackground: number
  readonly congestionThreshold: number
  /** 0 when there is no passthrough. */
  readonly maxStackDepth: number
  readonly hasPassthrough: boolean
  readonly hasAcl: boolean
  readonly hasReaddirplus: boolean
  /** OPEN is answered ENOSYS, and files are read and written without handles. */
  readonly isNoOpen: boolean
  /** fuse_setxattr_in has its long form. */
  readonly hasSetxattrExt: boolean
  /** Notifications may expire an entry instead of dropping it. */
  readonly hasExpireOnly: boolean
  readonly isOverIoUring: boolean
}

type FlagRow = readonly [flag: number, isWanted: (options: NegotiateOptions) => boolean]
const always = () => true
const never = () => false

/** One row per INIT flag of protocol 7.45. */
export const flagRows: readonly FlagRow[] = [
  // Several read-ahead requests at a time for one file.
  [flag.FUSE_ASYNC_READ, always],
  // Locks of all kinds: every user of the tree comes through this one mount, so the kernel's own
  // lock tables are complete, survive copy-up (they hang on our inode), and cost no request.
  [flag.FUSE_POSIX_LOCKS, never],
  [flag.FUSE_FLOCK_LOCKS, never],
  // Never implemented by any kernel.
  [flag.FUSE_FILE_OPS, never],
  // OPEN carries O_TRUNC: one request instead of two, and copy-up need not copy what is cut off.
  // Not without OPEN: the truncation would be lost silently.
  [flag.FUSE_ATOMIC_O_TRUNC, (o) => o.data !== 'no-open'],
  // LOOKUP of "." and "..": file handles (name_to_handle_at, NFS) outlive the kernel's inode cache.
  [flag.FUSE_EXPORT_SUPPORT, always],
  [flag.FUSE_NO_EXPORT_SUPPORT, never],
  // WRITE beyond one page.
  [flag.FUSE_BIG_WRITES, always],
  // The umask comes with the request: a default ACL of the parent must be able to replace it.
  [flag.FUSE_DONT_MASK, always],
  // Splice was measured slower than copying, and replies of 1 MiB don't fit a pipe.
  [flag.FUSE_SPLICE_WRITE, never],
  [flag.FUSE_SPLICE_MOVE, never],
  [flag.FUSE_SPLICE_READ, never],
  // FS_IOC_GETFLAGS and friends work on directories too (lsattr, chattr).
  [flag.FUSE_HAS_IOCTL_DIR, always],
  // Pages are dropped only when we say so: the layers never change, the upper changes through us.
  [flag.FUSE_EXPLICIT_INVAL_DATA, always],
  [flag.FUSE_AUTO_INVAL_DATA, never],
  // Attributes with names when the reader then stats (ls -l), plain names when not (find). A read-only mount is
  // an image that somebody compares or copies: who stats all names, but only after the whole listing.
  [flag.FUSE_DO_READDIRPLUS, always],
  [flag.FUSE_READDIRPLUS_AUTO, (o) => o.isReadOnly !== true],
  [flag.FUSE_ASYNC_DIO, always],
  // Excludes passthrough, hides ENOSPC from write(2), and makes the kernel the owner of mtime.
  [flag.FUSE_WRITEBACK_CACHE, never],
  // Opening costs no request at all; bought with passthrough and atomic truncation.
  [flag.FUSE_NO_OPEN_SUPPORT, (o) => o.data === 'no-open'],
  // Directories have no handles, and every listing may be cached: that goes without asking.
  [flag.FUSE_NO_OPENDIR_SUPPORT, always],
  // LOOKUP and READDIR of one directory side by side; the tables are locked for it.
  [flag.FUSE_PARALLEL_DIROPS, always],
  // We clear suid and sgid ourselves where a request says so: no SETATTR, no security.capability
  // GETXATTR before each write. The first version clears them for root too, which Linux does not.
  [flag.FUSE_HANDLE_KILLPRIV, never],
  [flag.FUSE_HANDLE_KILLPRIV_V2, always],
  // The kernel caches and checks system.posix_acl_*; it implies default_permissions.
  [flag.FUSE_POSIX_ACL, (o) => o.hasAcl],
  // ECONNABORTED instead of ENODEV after an abort: the same end for us.
  [flag.FUSE_ABORT_ERROR, never],
  // 1 MiB requests instead of 128 KiB.
  [flag.FUSE_MAX_PAGES, always],
  // Link targets never change under one nodeid.
  [flag.FUSE_CACHE_SYMLINKS, always],
  // DAX and submounts are virtiofs's.
  [flag.FUSE_MAP_ALIGNMENT, never],
  [flag.FUSE_HAS_INODE_DAX, never],
  [flag.FUSE_SUBMOUNTS, never],
  // SETXATTR tells when an ACL must clear sgid.
  [flag.FUSE_SETXATTR_EXT, always],
  // The upper half of the flags exists.
  [flag.FUSE_INIT_EXT, always],
  // Labels at creation are SELinux's; the upper's own file system labels what we make there.
  [flag.FUSE_SECURITY_CTX, never],
  // Supplementary group at creation: setgid directories are followed by the upper's file system.
  [flag.FUSE_CREATE_SUPP_GROUP, never],
  // Only announced by the kernel; see `hasExpireOnly`.
  [flag.FUSE_HAS_EXPIRE_ONLY, never],
  // MAP_SHARED of files opened O_DIRECT.
  [flag.FUSE_DIRECT_IO_ALLOW_MMAP, always],
  // The kernel reads and writes the real file itself.
  [flag.FUSE_PASSTHROUGH, (o) => o.data === 'passthrough'],
  // Requests sent again to a restarted server: a session is never taken over.
  [flag.FUSE_HAS_RESEND, never],
  // Id-mapped bind mounts of the mount point. Then every request but those that create comes
  // without a caller's ids, and INIT fails outright without default_permissions.
  [flag.FUSE_ALLOW_IDMAP, never],
  // Once answered, requests come by the rings only.
  [flag.FUSE_OVER_IO_URING, (o) => o.transport === 'io-uring'],
  // A copy-up of a large file may take as long as it takes.
  [flag.FUSE_REQUEST_TIMEOUT, never],
]

const PAGE_BYTES = 4096
const MAX_PAGES = 256
/** Pages per request of a kernel that does not offer MAX_PAGES. */
const DEFAULT_PAGES = 32
const MAX_BACKGROUND = 64
const CONGESTION_THRESHOLD = 48

/** Tells whether a 64-bit flag set (as a number) holds one flag. */
export function hasFlag(flags: number, one: number): boolean {
  return Math.floor(flags / one) % 2 === 1
}

/**
 * Returns what to agree on, or the reason of a refusal in words. A kernel of a later major
 * version gets our version in the answer and asks again with that (linux/fuse.h).
 */
export function negotiate(offer: Offer, options: NegotiateOptions): Agreement | string {
  if (
    offer.major < FUSE_KERNEL_VERSION ||
    (offer.major === FUSE_KERNEL_VERSION && offer.minor < FUSE_MINOR_MINIMUM)
  ) {
    return `the kernel speaks FUSE ${offer.major}.${offer.minor}, ${FUSE_KERNEL_VERSION}.${FUSE_MINOR_MINIMUM} or later is needed`
  }
  const isLaterMajor = offer.major > FUSE_KERNEL_VERSION
  let flags = 0
  if (!isLaterMajor) {
    for (const [one, isWanted] of flagRows) {
      if (hasFlag(offer.flags, one) && isWanted(options)) flags += one
    }
  }
  const maxPages = hasFlag(flags, flag.FUSE_MAX_PAGES) ? MAX_PAGES : DEFAULT_PAGES
  const hasPassthrough = hasFlag(flags, flag.FUSE_PASSTHROUGH)
  return {
    major: FUSE_KERNEL_VERSION,
    minor: isLaterMajor ? FUSE_KERNEL_MINOR_VERSION : Math.min(offer.minor, FUSE_KERNEL_MINOR_VERSION),
    flags,
    maxReadahead: offer.maxReadahead,
    maxWrite: maxPages * PAGE_BYTES,
    maxPages,
    maxBackground: MAX_BACKGROUND,
    congestionThreshold: CONGESTION_THRESHOLD,
    maxStackDepth: hasPassthrough ? options.maxStackDepth : 0,
    hasPassthrough,
    hasAcl: hasFlag(flags, flag.FUSE_POSIX_ACL),
    hasReaddirplus: hasFlag(flags, flag.FUSE_DO_READDIRPLUS),
    isNoOpen: hasFlag(flags, flag.FUSE_NO_OPEN_SUPPORT),
    hasSetxattrExt: hasFlag(flags, flag.FUSE_SETXATTR_EXT),
    hasExpireOnly: hasFlag(offer.flags, flag.FUSE_HAS_EXPIRE_ONLY),
    isOverIoUring: hasFlag(flags, flag.FUSE_OVER_IO_URING),
  }
}
