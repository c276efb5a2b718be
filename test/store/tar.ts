// Archives for tests, made member by member, wrong ones too.

import { createHash } from 'node:crypto'
import type { Digest } from '../../src/store/digest.js'
import type { TarEntry } from '../../src/store/tar-entry.js'
import { encodeHeader, plainEntry, TAR_END, tarPadding } from '../../src/store/tar-writer.js'

export type Member = Partial<TarEntry> & { readonly name: string; readonly content?: string | Buffer }

/** Returns a member's blocks. Directories have 0755. */
export function member({ content = '', ...fields }: Member): Buffer {
  const data = Buffer.from(content)
  const isDirectory = fields.type === 'directory'
  const entry = {
    ...plainEntry(fields.name, data.length),
    mtime: 1_000_000_000,
    ...(isDirectory && { mode: 0o755 }),
    ...fields,
  }
  return Buffer.concat([encodeHeader(entry), data, tarPadding(data.length)])
}

/** Returns a whole archive. */
export function archive(...members: readonly (Member | Buffer)[]): Buffer {
  return Buffer.concat([...members.map((each) => (Buffer.isBuffer(each) ? each : member(each))), TAR_END])
}

export const dir = (name: string, fields: Partial<TarEntry> = {}): Member => ({
  name,
  type: 'directory',
  ...fields,
})
export const file = (name: string, content = name, fields: Partial<TarEntry> = {}): Member => ({
  name,
  content,
  ...fields,
})
export const symlink = (name: string, linkName: string): Member => ({
  name,
  type: 'symlink',
  linkName,
  mode: 0o777,
})
export const hardLink = (name: string, linkName: string): Member => ({ name, type: 'hardlink', linkName })
export const whiteout = (name: string): Member => ({ name })

export function digest(bytes: Buffer): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}` as Digest
}
