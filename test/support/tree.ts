// A compact description of a layer's tree, which Syscalls 'build' turns into files. Nothing is
// taken from the surroundings: modes, owners and times of all nodes are given or fixed.

/** The mtime of a node that is given none: not a whole second, so that lost nanoseconds show. */
export const defaultMtime = 1_600_000_000_123_456_789n
export const defaultAtime = 1_500_000_000_987_654_321n

type Attributes = {
  mode?: number
  uid?: number
  gid?: number
  mtime?: bigint
  atime?: bigint
  xattrs?: Record<string, string>
}
type Details = {
  target?: string
  rdev?: [number, number]
  parts?: [number, string][]
  repeat?: [string, number]
  size?: number
  from?: string
  entries?: Record<string, TreeNode>
  isTop?: boolean
}
export type TreeNode = Required<Omit<Attributes, 'mtime' | 'atime'>> & {
  kind: string
  mtime: string
  atime: string
} & Details
/** In short form a file is its content. */
export type Short = string | TreeNode
export type Tree = Record<string, Short>

function node(kind: string, mode: number, attributes: Attributes, details: Details = {}): TreeNode {
  return {
    kind,
    mode: attributes.mode ?? mode,
    uid: attributes.uid ?? 0,
    gid: attributes.gid ?? 0,
    mtime: String(attributes.mtime ?? defaultMtime),
    atime: String(attributes.atime ?? defaultAtime),
    xattrs: attributes.xattrs ?? {},
    ...details,
  }
}

export function dir(entries: Tree = {}, attributes: Attributes = {}): TreeNode {
  const nodes = Object.entries(entries).map(([name, short]) => [name, full(short)])
  return node('dir', 0o755, attributes, { entries: Object.fromEntries(nodes) })
}

export const file = (content: string, attributes: Attributes = {}) =>
  node('file', 0o644, attributes, { parts: content === '' ? [] : [[0, content]] })
/** A file of `size` bytes with data at the offsets of `parts` and holes elsewhere. */
export const sparse = (size: number, parts: [number, string][], attributes: Attributes = {}) =>
  node('file', 0o644, attributes, { size, parts })
/** A file that holds `unit` `count` times. */
export const filled = (unit: string, count: number, attributes: Attributes = {}) =>
  node('file', 0o644, attributes, { repeat: [unit, count] })
export const copyOf = (from: string, attributes: Attributes = {}) => node('copy', 0o755, attributes, { from })
export const symlink = (target: string, attributes: Attributes = {}) =>
  node('symlink', 0o777, attributes, { target })
export const fifo = (attributes: Attributes = {}) => node('fifo', 0o644, attributes)
export const socket = (attributes: Attributes = {}) => node('socket', 0o755, attributes)
export const char = (major: number, minor: number, attributes: Attributes = {}) =>
  node('char', 0o666, attributes, { rdev: [major, minor] })
export const block = (major: number, minor: number, attributes: Attributes = {}) =>
  node('block', 0o660, attributes, { rdev: [major, minor] })
/** A tree within a tree: what `link` counts from. */
export const top = (tree: Tree): TreeNode => ({ ...dir(tree), isTop: true })
/** A further name for the file at `target`, relative to the top. */
export const link = (target: string) => node('link', 0, {}, { target })

export const whiteout = () => node('char', 0, {}, { rdev: [0, 0] })
/** A directory that hides all that lies below it. */
export const opaque = (entries: Tree = {}, attributes: Attributes = {}) =>
  dir(entries, { ...attributes, xattrs: { 'trusted.overlay.opaque': 'y', ...attributes.xattrs } })

function full(short: Short): TreeNode {
  return typeof short === 'string' ? file(short) : short
}

/** The value of system.posix_acl_access or _default; each entry is [tag, permissions, id]. */
export function acl(...entries: [tag: number, permissions: number, id?: number][]): string {
  const bytes = Buffer.alloc(4 + entries.length * 8)
  bytes.writeUInt32LE(2, 0)
  entries.forEach(([tag, permissions, id], i) => {
    bytes.writeUInt16LE(tag, 4 + i * 8)
    bytes.writeUInt16LE(permissions, 6 + i * 8)
    bytes.writeUInt32LE(id ?? 0xffffffff, 8 + i * 8)
  })
  return bytesAsText(bytes)
}

/** Bytes as text with surrogate escapes, the form in which data travels to Syscalls. */
export function bytesAsText(bytes: Uint8Array): string {
  return Array.from(bytes, (b) => String.fromCharCode(b < 0x80 ? b : 0xdc00 + b)).join('')
}

export const [USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER] = [1, 2, 4, 8, 16, 32] as const
