// Header blocks and PAX records to members. POSIX pax, "ustar Interchange Format"; GNU tar's manual,
// "Basic Tar Format" and "Storing Sparse Files". Strict where a lie could hurt, as Go's archive/tar is.

import { StoreError } from './errors.js'
import { BLOCK, type SparsePart, type TarEntry, type TarType, XATTR_KEY } from './tar-entry.js'

/** PAX records by key; keys are latin1 strings. */
export type PaxRecords = Map<string, Buffer>

/** A decoded header block. `flag` is its type character. */
export type Header = { readonly flag: string; readonly entry: TarEntry; readonly isGnu: boolean }

const CHECKSUM = 148
const FLAG = 156
const MAGIC = 257
const PREFIX = 345
/** GNU tar's old sparse form: four pieces in the header, a flag for more blocks, the real size. */
const GNU_SPARSE = 386
const GNU_SPARSE_PIECES = 4
const GNU_IS_EXTENDED = 482
const GNU_REAL_SIZE = 483
const EXTENDED_PIECES = 21
const EXTENDED_IS_EXTENDED = 504
const ID_MAX = 0xfffffffe

const TYPES: Readonly<Record<string, TarType>> = {
  '0': 'file',
  '\0': 'file',
  '7': 'file',
  S: 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'char',
  '4': 'block',
  '5': 'directory',
  '6': 'fifo',
}

export function invalidTar(reason: string): StoreError {
  return new StoreError('INVALID', `damaged tar archive: ${reason}`)
}

export function isZeroBlock(block: Buffer): boolean {
  for (let at = 0; at < BLOCK; at += 4) if (block.readInt32LE(at) !== 0) return false
  return true
}

function text(block: Buffer, at: number, length: number): string {
  const end = block.indexOf(0, at)
  return block.toString('latin1', at, end < 0 || end > at + length ? at + length : end)
}

/** A number field: octal digits, or base 256 with the first bit set. */
function number(block: Buffer, at: number, length: number): number {
  const first = block[at]!
  if ((first & 0x80) !== 0) {
    // The field is one two's complement number; its sign is bit 6 of the first byte.
    let value = (first & 0x40) !== 0 ? first | ~0x7f : first & 0x7f
    for (let i = 1; i < length; i++) value = value * 256 + block[at + i]!
    if (!Number.isSafeInteger(value)) throw invalidTar('a number is too large')
    return value
  }
  const digits = text(block, at, length).replace(/^[ \0]+|[ \0]+$/g, '')
  if (digits === '') return 0
  if (!/^[0-7]+$/.test(digits)) throw invalidTar('a header field is no number')
  return Number.parseInt(digits, 8)
}

/** Returns the header in a block. Throws INVALID when its checksum is wrong. */
export function decodeHeader(block: Buffer): Header {
  let unsigned = 8 * 32
  let signed = 8 * 32
  for (let at = 0; at < BLOCK; at++) {
    if (at >= CHECKSUM && at < CHECKSUM + 8) continue
    unsigned += block[at]!
    signed += block.readInt8(at)
  }
  const sum = checksumField(block)
  if (sum !== unsigned && sum !== signed)
    throw new StoreError('INVALID', 'not a tar archive, or a damaged one')
  const magic = block.toString('latin1', MAGIC, MAGIC + 8)
  const isUstar = magic.startsWith('ustar\0')
  const isGnu = magic === 'ustar  \0'
  const prefix = isUstar ? text(block, PREFIX, 155) : ''
  const flag = String.fromCharCode(block[FLAG]!)
  const short = text(block, 0, 100)
  const isDevice = flag === '3' || flag === '4'
  const entry: TarEntry = {
    name: prefix === '' ? short : `${prefix}/${short}`,
    linkName: text(block, 157, 100),
    type: TYPES[flag] ?? 'file',
    mode: number(block, 100, 8) & 0o7777,
    uid: number(block, 108, 8),
    gid: number(block, 116, 8),
    size: number(block, 124, 12),
    mtime: number(block, 136, 12),
    mtimeNs: 0,
    devMajor: isDevice && (isUstar || isGnu) ? number(block, 329, 8) : 0,
    devMinor: isDevice && (isUstar || isGnu) ? number(block, 337, 8) : 0,
    xattrs: null,
    sparse: null,
  }
  if (entry.size < 0) throw invalidTar('a size is negative')
  return { flag, entry, isGnu }
}

function checksumField(block: Buffer): number {
  try {
    return number(block, CHECKSUM, 8)
  } catch {
    return -1
  }
}

/** Tells whether a type flag is one that stands for a member of a file system. */
export function isMemberFlag(flag: string): boolean {
  return flag in TYPES
}

/** Returns the records of a PAX header's data. */
export function decodePax(data: Buffer): PaxRecords {
  const records: PaxRecords = new Map()
  for (let at = 0; at < data.length; ) {
    const space = data.indexOf(0x20, at)
    const digits = space < 0 ? '' : data.toString('latin1', at, space)
    const length = /^[0-9]{1,10}$/.test(digits) ? Number(digits) : 0
    const end = at + length
    if (length < digits.length + 3 || end > data.length || data[end - 1] !== 0x0a) {
      throw invalidTar('a PAX record is malformed')
    }
    const equals = data.indexOf(0x3d, space)
    if (equals < 0 || equals >= end) throw invalidTar('a PAX record has no =')
    const key = data.toString('latin1', space + 1, equals)
    const value = data.subarray(equals + 1, end - 1)
    const isText = !key.startsWith(XATTR_KEY)
    if (key === '' || (isText && value.includes(0))) throw invalidTar('a PAX record holds a NUL')
    records.set(key, Buffer.from(value))
    at = end
  }
  return records
}

function paxNumber(value: string, what: string): number {
  const result = /^[0-9]{1,16}$/.test(value) ? Number(value) : Number.NaN
  if (!Number.isSafeInteger(result)) throw invalidTar(`the PAX ${what} is no number`)
  return result
}

/** Returns seconds rounded down and nanoseconds of a decimal like -1.5. */
export function paxTime(value: string): [seconds: number, ns: number] {
  const [, minus, whole, fraction = ''] = /^(-?)([0-9]{1,15})(?:\.([0-9]*))?$/.exec(value) ?? []
  if (whole === undefined) throw invalidTar('a PAX time is no number')
  const seconds = Number(whole)
  // Digits beyond nanoseconds are cut off.
  const ns = Number(fraction.slice(0, 9).padEnd(9, '0'))
  if (minus === '') return [seconds, ns]
  return ns === 0 ? [-seconds, 0] : [-seconds - 1, 1e9 - ns]
}

/** Puts what PAX records say over what the header said. An empty value leaves the header's. */
export function applyPax(entry: TarEntry, records: PaxRecords): void {
  const xattrs = new Map<string, Buffer>()
  for (const [key, bytes] of records) {
    if (key.startsWith(XATTR_KEY)) {
      if (key.length > XATTR_KEY.length) xattrs.set(key.slice(XATTR_KEY.length), bytes)
      continue
    }
    if (bytes.length === 0) continue
    const value = bytes.toString('latin1')
    if (key === 'path') entry.name = value
    else if (key === 'linkpath') entry.linkName = value
    else if (key === 'size') entry.size = paxNumber(value, key)
    else if (key === 'uid') entry.uid = paxNumber(value, key)
    else if (key === 'gid') entry.gid = paxNumber(value, key)
    else if (key === 'mtime') [entry.mtime, entry.mtimeNs] = paxTime(value)
  }
  if (xattrs.size > 0) entry.xattrs = xattrs
}

/** Throws INVALID for owners that no file can have. */
export function checkIds({ name, uid, gid }: TarEntry): void {
  if (uid < 0 || gid < 0 || uid > ID_MAX || gid > ID_MAX)
    throw invalidTar(`${JSON.stringify(name)} has no valid owner`)
}

/** Returns the pieces in a GNU sparse header, and whether a block with more of them follows. */
export function gnuSparse(block: Buffer): { parts: SparsePart[]; realSize: number; hasMore: boolean } {
  return {
    parts: sparsePieces(block, GNU_SPARSE, GNU_SPARSE_PIECES),
    realSize: number(block, GNU_REAL_SIZE, 12),
    hasMore: block[GNU_IS_EXTENDED] !== 0,
  }
}

export function gnuSparseMore(block: Buffer): { parts: SparsePart[]; hasMore: boolean } {
  return { parts: sparsePieces(block, 0, EXTENDED_PIECES), hasMore: block[EXTENDED_IS_EXTENDED] !== 0 }
}

function sparsePieces(block: Buffer, at: number, count: number): SparsePart[] {
  const parts: SparsePart[] = []
  for (let i = 0; i < count; i++, at += 24) {
    if (block[at] === 0) break
    parts.push({ offset: number(block, at, 12), length: number(block, at + 12, 12) })
  }
  return parts
}

/** Returns the map of PAX sparse formats 0.0 and 0.1, undefined when the records have none. */
export function paxSparse(records: PaxRecords): number[] | undefined {
  const map = records.get('GNU.sparse.map')
  if (map === undefined) return undefined
  return map.length === 0
    ? []
    : map
        .toString('latin1')
        .split(',')
        .map((each) => paxNumber(each, 'sparse map'))
}

/** Returns offset and length pairs as pieces. Throws when they overlap or lie outside of the file. */
export function checkSparse(
  parts: readonly SparsePart[],
  realSize: number,
  dataSize: number,
): { parts: SparsePart[]; realSize: number } {
  let end = 0
  let data = 0
  for (const { offset, length } of parts) {
    if (offset < end || length < 0 || offset + length > realSize)
      throw invalidTar('a sparse map is out of order')
    end = offset + length
    data += length
  }
  if (data !== dataSize) throw invalidTar('a sparse map does not fit its data')
  return { parts: [...parts], realSize }
}

export function pairs(numbers: readonly number[]): SparsePart[] {
  if (numbers.length % 2 !== 0) throw invalidTar('a sparse map is odd')
  const parts: SparsePart[] = []
  for (let at = 0; at < numbers.length; at += 2)
    parts.push({ offset: numbers[at]!, length: numbers[at + 1]! })
  return parts
}
