// What the transport fuse-native cannot do, by the titles of the cases that show it: they run, and must
// fail. Each has its reason in how the package or libfuse 2 hands over operations.

const times = 'times come and go in milliseconds, and the package passes the atime for both'
const caller = 'the package does not tell who asks: what is made belongs to the server'
const renameFlags = 'libfuse 2 knows no flags of rename'
const hidden = 'libfuse renames an open file that is removed to .fuse_hidden…'
const nameless = 'a removed directory has no path by which libfuse could ask'
const utf8 = 'names reach the package as UTF-8 strings'
const acl = 'libfuse 2 does not agree on POSIX ACLs, nor on passing the umask'
const operation = 'no such operation in libfuse 2 or in the package'
const truncation = 'O_TRUNC comes as a truncation after the open, which has copied the file by then'

const kernelView = [
  ...['the kernel shows the same tree', 'what the kernel wrote shows the same tree', 'both can take turns'],
].flatMap((title) =>
  ['changes of every kind', 'moves of directories', 'moves and changes together'].map(
    (changes) => `${title} after ${changes}`,
  ),
)

const cases: readonly (readonly [reason: string, titles: readonly string[]])[] = [
  [
    times,
    [
      'chmod of a lower file keeps atime and mtime to the ns and moves ctime',
      "a child's copy-up leaves the mtime of its parent",
      'a copy-up by utimensat keeps setuid, setgid and sticky bits and the capability',
      'a symlink keeps target, owner and mtime; its copy-up follows nothing',
      'fifo, socket and device nodes copy up by chmod and chown with the same rdev',
      'attributes of a merged directory are those of its topmost layer',
      'mtime and ctime of a directory move when a lower name is deleted or a new one made',
      'an unlinked open file can still be read, written, cut, changed and synced',
      ...kernelView,
    ],
  ],
  [
    caller,
    [
      'the permissions of the merged directory decide who may delete and create',
      'what is created over a whiteout belongs to the caller',
      'the fsuid and fsgid of a caller decide, not its uid',
      'xattrs follow the rights of their namespaces',
    ],
  ],
  [
    renameFlags,
    [
      'RENAME_EXCHANGE swaps upper and lower, file and directory, and hidden names stay hidden',
      'RENAME_NOREPLACE succeeds on a free name and is EEXIST on a lower one',
      'a directory made opaque by exchange stays so',
      '.. of exchanged directories is the new parent, listed before or not',
      'rename without replacing onto a whiteout succeeds and replaces it',
    ],
  ],
  [
    hidden,
    [
      'after SIGKILL of the server the next mount shows what was there, and no temporary file',
      'a read-only fd of an unlinked lower file reads on, and fchmod makes no name',
      'a file that is open by a name that has gone is one with its last name',
      'a file that is open by a name that has gone is copied up with its other names',
    ],
  ],
  [
    nameless,
    [
      'a removed lower directory that is still open can be changed',
      'an empty lower directory that a rename overwrites stays with who has it open',
    ],
  ],
  [utf8, ['names and xattr names that are not UTF-8 survive listing, copy-up and removal']],
  [
    acl,
    [
      'a default ACL of the parent replaces the umask and is inherited',
      'an ACL set on a lower file copies it up and is read back; chmod changes its mask',
    ],
  ],
  [
    operation,
    [
      'an O_TMPFILE can be given a name through /proc/self/fd, an unlinked file can not',
      'O_TMPFILE gets mode, umask and owner of its maker, and O_EXCL forbids a name',
      'fallocate grows, keeps the size, punches and zeroes in the upper',
      'SEEK_DATA and SEEK_HOLE see the holes of a file of the lower',
      'SEEK_DATA and SEEK_HOLE see the holes of a file of the upper',
      'FS_IOC_GETFLAGS of a lower file copies nothing up, FS_IOC_SETFLAGS does',
    ],
  ],
  [truncation, ['open with O_TRUNC copies no data and keeps st_ino']],
]

/** Why a case that fails now and then says nothing, by its title. */
export const fuseNativeSkips: ReadonlyMap<string, string> = new Map([
  [
    'unlink of an upper copy never shows the lower file for an instant',
    'libfuse forgets a file that is removed while it is being opened: the read is ENOENT',
  ],
])

/** Why a case must fail over fuse-native, by its title. */
export const fuseNativeGaps: ReadonlyMap<string, string> = new Map(
  cases.flatMap(([reason, titles]) => titles.map((title) => [title, reason])),
)
