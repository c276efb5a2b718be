// Linux errno values (x86-64 and arm64 agree on all of these) and their names.
// Hot paths return `-EXXX`; nothing here throws.

export const EPERM = 1
export const ENOENT = 2
export const ESRCH = 3
export const EINTR = 4
export const EIO = 5
export const ENXIO = 6
export const E2BIG = 7
export const ENOEXEC = 8
export const EBADF = 9
export const EAGAIN = 11
export const ENOMEM = 12
export const EACCES = 13
export const EFAULT = 14
export const EBUSY = 16
export const EEXIST = 17
export const EXDEV = 18
export const ENODEV = 19
export const ENOTDIR = 20
export const EISDIR = 21
export const EINVAL = 22
export const ENFILE = 23
export const EMFILE = 24
export const ENOTTY = 25
export const ETXTBSY = 26
export const EFBIG = 27
export const ENOSPC = 28
export const EPIPE = 32
export const ESPIPE = 29
export const EROFS = 30
export const EMLINK = 31
export const ERANGE = 34
export const ENAMETOOLONG = 36
export const ENOSYS = 38
export const ENOTEMPTY = 39
export const ELOOP = 40
export const ENODATA = 61
export const EPROTO = 71
export const EOVERFLOW = 75
export const EOPNOTSUPP = 95
export const ENOTCONN = 107
export const ESHUTDOWN = 108
export const ESTALE = 116
export const EDQUOT = 122

const names = new Map<number, [code: string, reason: string]>([
  [EPERM, ['EPERM', 'operation not permitted']],
  [ENOENT, ['ENOENT', 'no such file or directory']],
  [ESRCH, ['ESRCH', 'no such process']],
  [EINTR, ['EINTR', 'interrupted']],
  [EIO, ['EIO', 'input/output error']],
  [ENXIO, ['ENXIO', 'no such device or address']],
  [E2BIG, ['E2BIG', 'argument list too long']],
  [ENOEXEC, ['ENOEXEC', 'exec format error']],
  [EBADF, ['EBADF', 'bad file descriptor']],
  [EAGAIN, ['EAGAIN', 'try again']],
  [ENOMEM, ['ENOMEM', 'out of memory']],
  [EACCES, ['EACCES', 'permission denied']],
  [EFAULT, ['EFAULT', 'bad address']],
  [EBUSY, ['EBUSY', 'device or resource busy']],
  [EEXIST, ['EEXIST', 'file exists']],
  [EXDEV, ['EXDEV', 'cross-device link']],
  [ENODEV, ['ENODEV', 'no such device']],
  [ENOTDIR, ['ENOTDIR', 'not a directory']],
  [EISDIR, ['EISDIR', 'is a directory']],
  [EINVAL, ['EINVAL', 'invalid argument']],
  [ENFILE, ['ENFILE', 'too many open files in the system']],
  [EMFILE, ['EMFILE', 'too many open files']],
  [ENOTTY, ['ENOTTY', 'not a terminal']],
  [ETXTBSY, ['ETXTBSY', 'text file busy']],
  [EFBIG, ['EFBIG', 'file too large']],
  [ENOSPC, ['ENOSPC', 'no space left on device']],
  [EPIPE, ['EPIPE', 'nobody reads it any more']],
  [ESPIPE, ['ESPIPE', 'illegal seek']],
  [EROFS, ['EROFS', 'read-only file system']],
  [EMLINK, ['EMLINK', 'too many links']],
  [ERANGE, ['ERANGE', 'result too large']],
  [ENAMETOOLONG, ['ENAMETOOLONG', 'file name too long']],
  [ENOSYS, ['ENOSYS', 'function not implemented']],
  [ENOTEMPTY, ['ENOTEMPTY', 'directory not empty']],
  [ELOOP, ['ELOOP', 'too many symbolic links']],
  [ENODATA, ['ENODATA', 'no data available']],
  [EPROTO, ['EPROTO', 'protocol error']],
  [EOVERFLOW, ['EOVERFLOW', 'value too large']],
  [EOPNOTSUPP, ['EOPNOTSUPP', 'operation not supported']],
  [ENOTCONN, ['ENOTCONN', 'transport endpoint is not connected']],
  [ESHUTDOWN, ['ESHUTDOWN', 'transport endpoint was shut down']],
  [ESTALE, ['ESTALE', 'stale file handle']],
  [EDQUOT, ['EDQUOT', 'disk quota exceeded']],
])

/** Returns the symbolic name of an errno of either sign, e.g. `ENOENT` for 2 and -2. */
export function errnoName(errno: number): string {
  return names.get(Math.abs(errno))?.[0] ?? `errno ${Math.abs(errno)}`
}

/** Returns the words for an errno of either sign, in lower case, as strerror(3) says it. */
export function errnoReason(errno: number): string {
  return names.get(Math.abs(errno))?.[1] ?? `errno ${Math.abs(errno)}`
}

/**
 * Tells whether a result says "there is no such name here", as opposed to "could not look".
 * ENOTDIR counts: a lower whose file covers a directory name has no such child.
 */
export function isAbsent(result: number): boolean {
  return result === -ENOENT || result === -ENAMETOOLONG || result === -ENOTDIR
}
