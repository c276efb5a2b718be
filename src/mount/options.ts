// Every mount option, one row each. The parsers of flags and of -o strings, the help, the man page,
// the validation and the TypeScript type are all made from this table: a new option is a new row.
//
// `names` are the spellings that set an option, `off` those that clear a flag. A spelling
// that starts with '-' belongs to the command line, any other one to -o strings.

/** A run of `count` ids: `inside` is the first one on disk, `outside` the one that users see. */
export type IdRange = { readonly inside: number; readonly outside: number; readonly count: number }

export type OptionKind =
  | 'flag'
  | 'string'
  | 'path'
  | 'paths'
  | 'int'
  | 'seconds'
  | 'choice'
  | 'mapping'
  | 'ignored'

export type OptionRow = {
  readonly name: string
  readonly names: readonly string[]
  readonly off?: readonly string[]
  readonly kind: OptionKind
  readonly default: unknown
  readonly group: 'Layers' | 'Ownership' | 'Behaviour' | 'Speed' | 'Running' | 'Accepted'
  /** The value's name in help. */
  readonly value?: string
  readonly choices?: readonly string[]
  /** More words that a flag takes as its value, beyond on/off, yes/no, true/false, 1/0. */
  readonly words?: Readonly<Record<string, boolean>>
  readonly min?: number
  readonly max?: number
  readonly help: string
}

const MAX_ID = 0xfffffffe

/** The table. Order is the order of the help. */
export const OPTION_ROWS = [
  {
    name: 'lower',
    names: ['--lower', 'lowerdir'],
    kind: 'paths',
    default: [],
    group: 'Layers',
    value: 'DIR',
    help: 'A read-only layer. Repeat it for each layer, the top one first.',
  },
  {
    name: 'upper',
    names: ['--upper', 'upperdir'],
    kind: 'path',
    default: null,
    group: 'Layers',
    value: 'DIR',
    help: 'The writable layer on top of all lowers. Without it the mount is read-only.',
  },
  {
    name: 'work',
    names: ['--work', 'workdir'],
    kind: 'path',
    default: null,
    group: 'Layers',
    value: 'DIR',
    help: 'Scratch directory on the same file system as the upper. Needed with --upper.',
  },
  {
    name: 'readOnly',
    names: ['--read-only', '-r', 'ro'],
    off: ['rw'],
    kind: 'flag',
    default: false,
    group: 'Layers',
    help: 'Refuse every change, even with an upper.',
  },
  {
    name: 'volatile',
    names: ['--volatile', 'volatile'],
    kind: 'flag',
    default: false,
    group: 'Layers',
    help: 'Never sync: faster, and the upper is worth nothing after a crash, so it is then refused.',
  },
  {
    name: 'uidMapping',
    names: ['--uidmapping', 'uidmapping'],
    kind: 'mapping',
    default: [],
    group: 'Ownership',
    value: 'DISK:SHOWN:COUNT',
    help: 'Show the user ids DISK… as SHOWN…; more triplets may follow after colons.',
  },
  {
    name: 'gidMapping',
    names: ['--gidmapping', 'gidmapping'],
    kind: 'mapping',
    default: [],
    group: 'Ownership',
    value: 'DISK:SHOWN:COUNT',
    help: 'The same for group ids.',
  },
  {
    name: 'squashToRoot',
    names: ['--squash-to-root', 'squash_to_root'],
    kind: 'flag',
    default: false,
    group: 'Ownership',
    help: 'Show every file as owned by root.',
  },
  {
    name: 'squashToUid',
    names: ['--squash-to-uid', 'squash_to_uid'],
    kind: 'int',
    default: null,
    min: 0,
    max: MAX_ID,
    group: 'Ownership',
    value: 'UID',
    help: 'Show every file as owned by this user.',
  },
  {
    name: 'squashToGid',
    names: ['--squash-to-gid', 'squash_to_gid'],
    kind: 'int',
    default: null,
    min: 0,
    max: MAX_ID,
    group: 'Ownership',
    value: 'GID',
    help: 'Show every file as belonging to this group.',
  },
  {
    name: 'xattrPermissions',
    names: ['--xattr-permissions', 'xattr_permissions'],
    kind: 'int',
    default: 0,
    min: 0,
    max: 2,
    group: 'Ownership',
    value: 'N',
    help: 'Keep owner and mode in an extended attribute: 1 security.*, 2 user.*; 0 on the file itself.',
  },
  {
    name: 'acl',
    names: ['--acl', 'acl'],
    off: ['--no-acl', 'noacl'],
    kind: 'flag',
    default: true,
    group: 'Behaviour',
    help: 'POSIX access control lists.',
  },
  {
    name: 'redirectDir',
    names: ['--redirect-dir', 'redirect_dir'],
    off: ['--no-redirect-dir'],
    kind: 'flag',
    words: { follow: false, nofollow: false },
    default: true,
    group: 'Behaviour',
    help: 'Rename a directory of a lower at once, by a mark in the upper.',
  },
  {
    name: 'xino',
    names: ['--xino', 'xino'],
    kind: 'choice',
    choices: ['auto', 'on', 'off'],
    default: 'auto',
    group: 'Behaviour',
    value: 'MODE',
    help: 'Put the layer into the high bits of inode numbers where lowers lie on several devices.',
  },
  {
    name: 'timeout',
    names: ['--timeout', 'timeout'],
    kind: 'seconds',
    default: 86400,
    min: 0,
    max: 1e9,
    group: 'Behaviour',
    value: 'SECONDS',
    help: 'How long the kernel may keep names and attributes. Low values are for layers changed from outside.',
  },
  {
    name: 'fsync',
    names: ['--fsync', 'fsync'],
    off: ['--no-fsync'],
    kind: 'flag',
    default: true,
    group: 'Behaviour',
    help: 'Obey fsync. Off is as fast as --volatile, and unsafe without a mark.',
  },
  {
    name: 'allowOther',
    names: ['--allow-other', 'allow_other'],
    off: ['--no-allow-other'],
    kind: 'flag',
    default: true,
    group: 'Behaviour',
    help: 'Let every user in, as file permissions allow. Without privileges this needs user_allow_other in /etc/fuse.conf.',
  },
  {
    name: 'suid',
    names: ['--suid', 'suid'],
    off: ['--no-suid', 'nosuid'],
    kind: 'flag',
    default: true,
    group: 'Behaviour',
    help: 'Honour set-user-id bits.',
  },
  {
    name: 'dev',
    names: ['--dev', 'dev'],
    off: ['--no-dev', 'nodev'],
    kind: 'flag',
    default: true,
    group: 'Behaviour',
    help: 'Honour device nodes.',
  },
  {
    name: 'exec',
    names: ['--exec', 'exec'],
    off: ['--no-exec', 'noexec'],
    kind: 'flag',
    default: true,
    group: 'Behaviour',
    help: 'Let programs run.',
  },
  {
    name: 'data',
    names: ['--data', 'data'],
    kind: 'choice',
    choices: ['passthrough', 'cache', 'no-open'],
    default: 'passthrough',
    group: 'Speed',
    value: 'MODE',
    help: 'passthrough: the kernel reads and writes the real file; cache: through its page cache; no-open: also without asking at open.',
  },
  {
    name: 'transport',
    names: ['--transport', 'transport'],
    kind: 'choice',
    choices: ['auto', 'dev-fuse', 'io-uring', 'fuse-native'],
    default: 'auto',
    group: 'Speed',
    value: 'NAME',
    help: 'How requests reach this program: by rings on each CPU, the device, or libfuse. auto: rings for root, where they are switched on (mica setup), else the device.',
  },
  {
    name: 'workers',
    names: ['--workers', 'workers'],
    kind: 'int',
    default: 0,
    min: 0,
    max: 256,
    group: 'Speed',
    value: 'N',
    help: 'How many threads answer requests; 0: one for each CPU up to 16 with io-uring, else one.',
  },
  {
    name: 'indexDir',
    names: ['--index', 'index_dir'],
    kind: 'path',
    default: null,
    group: 'Speed',
    value: 'DIR',
    help: 'Keep an index of the lowers in this directory, and answer from it: as fast with 500 layers as with one. Only for lowers that never change.',
  },
  {
    name: 'maxNodes',
    names: ['--max-nodes', 'max_nodes'],
    kind: 'int',
    default: 4 * 1024 * 1024,
    min: 1024,
    max: 2 ** 30,
    group: 'Speed',
    value: 'N',
    help: 'Room for this many files in the kernel\u2019s memory at once. Memory is taken only as it is used.',
  },
  {
    name: 'foreground',
    names: ['--foreground', '-f'],
    kind: 'flag',
    default: false,
    group: 'Running',
    help: 'Stay in the terminal until unmounted; Ctrl-C unmounts.',
  },
  {
    name: 'debug',
    names: ['--debug', '-d', 'debug'],
    kind: 'flag',
    default: false,
    group: 'Running',
    help: 'Like --foreground, and every request goes to stderr.',
  },
  ...[
    ['threaded', 'the number of threads is --workers'],
    ['static_nlink', 'link counts are always right'],
    ['private', 'a mount never changes the propagation of others'],
    ['context', 'no SELinux labels are made up'],
    ['fscontext', 'no SELinux labels are made up'],
    ['defcontext', 'no SELinux labels are made up'],
    ['rootcontext', 'no SELinux labels are made up'],
    ['index', 'hard links are always kept'],
    ['nfs_export', 'file handles are the kernel\u2019s matter'],
    ['metacopy', 'what is on disk decides'],
    ['userxattr', 'both kinds of marks are always read'],
    ['uuid', 'FUSE mounts have none'],
    ['fast_ino', 'inode numbers are always stable'],
    ['fast_ino_check', 'inode numbers are always stable'],
    ['default_permissions', 'always on'],
    ['max_idle_threads', 'the number of threads is --workers'],
    ['clone_fd', 'the transport\u2019s choice'],
    ['fsname', 'always mica'],
    ['subtype', 'always mica'],
    ['defaults', 'nothing to do'],
    ['atime', 'times of lowers never move'],
    ['noatime', 'times of lowers never move'],
    ['relatime', 'times of lowers never move'],
    ['diratime', 'times of lowers never move'],
    ['nodiratime', 'times of lowers never move'],
    ['async', 'nothing to do'],
    ['auto', 'for mount(8)'],
    ['noauto', 'for mount(8)'],
    ['nofail', 'for mount(8)'],
    ['_netdev', 'for mount(8)'],
    ['user', 'for mount(8)'],
    ['users', 'for mount(8)'],
  ].map(
    ([name, why]) =>
      ({
        name: name!,
        names: [name!],
        kind: 'ignored',
        default: null,
        group: 'Accepted',
        help: why!,
      }) as const,
  ),
] as const satisfies readonly OptionRow[]

type Row = Exclude<(typeof OPTION_ROWS)[number], { kind: 'ignored' }>
type ByKind<R> = R extends { kind: 'flag' }
  ? boolean
  : R extends { kind: 'paths' }
    ? readonly string[]
    : R extends { kind: 'mapping' }
      ? readonly IdRange[]
      : R extends { kind: 'int' | 'seconds' }
        ? number
        : R extends { kind: 'choice'; choices: readonly (infer C)[] }
          ? C
          : string
type OrNull<R> = R extends { default: null } ? null : never

/** All mount options with their values. */
export type MountOptions = { -readonly [R in Row as R['name']]: ByKind<R> | OrNull<R> }

/** Returns a fresh set of options, all at their defaults. */
export function defaultOptions(): MountOptions {
  const options: Record<string, unknown> = {}
  for (const row of OPTION_ROWS) if (row.kind !== 'ignored') options[row.name] = row.default
  return options as MountOptions
}
