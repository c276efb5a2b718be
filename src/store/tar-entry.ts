// One member of a tar archive. Names are bytes, kept as latin1 strings (one character a byte), so
// that a name that is not UTF-8 stays what it is.

export type TarType = 'file' | 'hardlink' | 'symlink' | 'char' | 'block' | 'directory' | 'fifo'

export type TarEntry = {
  name: string
  linkName: string
  type: TarType
  /** Permission bits with set-uid, set-gid, sticky. */
  mode: number
  uid: number
  gid: number
  /** Bytes of data in the archive. */
  size: number
  /** Seconds since 1970, rounded down, and nanoseconds. */
  mtime: number
  mtimeNs: number
  devMajor: number
  devMinor: number
  /** Values by name; null when there are none. */
  xattrs: ReadonlyMap<string, Buffer> | null
  /** A sparse file: where its data goes, and how long it is with its holes; null for all others. */
  sparse: { readonly parts: readonly SparsePart[]; readonly realSize: number } | null
}

export type SparsePart = { readonly offset: number; readonly length: number }

export const BLOCK = 512

/** Returns how many bytes fill up the last block. */
export function padding(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK
}

export const XATTR_KEY = 'SCHILY.xattr.'
