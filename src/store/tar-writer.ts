// Members to tar headers: ustar where it fits, PAX records for what does not (nanoseconds, long or
// non-ASCII names, large numbers, attributes). The same member always gives the same bytes.

import { BLOCK, padding, type TarEntry, type TarType, XATTR_KEY } from './tar-entry.js'

const FLAGS: Readonly<Record<TarType, string>> = {
  file: '0',
  hardlink: '1',
  symlink: '2',
  char: '3',
  block: '4',
  directory: '5',
  fifo: '6',
}
const NAME_MAX = 100
const PREFIX_MAX = 155
const ID_MAX = 0o7777777
const SIZE_MAX = 0o77777777777

/** The two zero blocks at an archive's end. */
export const TAR_END = Buffer.alloc(2 * BLOCK)

/** Returns a member with nothing special about it. */
export function plainEntry(name: string, size: number): TarEntry {
  return {
    name,
    linkName: '',
    type: 'file',
    mode: 0o644,
    uid: 0,
    gid: 0,
    size,
    mtime: 0,
    mtimeNs: 0,
    devMajor: 0,
    devMinor: 0,
    xattrs: null,
    sparse: null,
  }
}

/** Returns the padding after data of this size. */
export function tarPadding(size: number): Buffer {
  return Buffer.alloc(padding(size))
}

function record(key: string, value: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(` ${key}=`, 'latin1'), value, Buffer.from('\n')])
  // The length counts its own digits.
  let length = body.length + 1
  while (String(length).length + body.length !== length) length = String(length).length + body.length
  return Buffer.concat([Buffer.from(String(length)), body])
}

/** Returns the decimal of a time, exactly. */
function decimalTime(seconds: number, ns: number): string {
  if (ns === 0) return String(seconds)
  const isNegative = seconds < 0
  const whole = isNegative ? -seconds - 1 : seconds
  const fraction = (isNegative ? 1e9 - ns : ns).toString().padStart(9, '0').replace(/0+$/, '')
  return `${isNegative ? '-' : ''}${whole}.${fraction}`
}

/** Splits a name in ustar's two fields; undefined when it does not fit. */
function splitName(name: string): [prefix: string, name: string] | undefined {
  if (name.length <= NAME_MAX) return ['', name]
  const from = Math.max(0, name.length - NAME_MAX - 1)
  for (
    let slash = name.indexOf('/', from);
    slash > 0 && slash <= PREFIX_MAX;
    slash = name.indexOf('/', slash + 1)
  ) {
    if (slash < name.length - 1) return [name.slice(0, slash), name.slice(slash + 1)]
  }
  return undefined
}

const isAscii = (text: string): boolean => /^[\x01-\x7f]*$/.test(text)

/** Returns a member's header blocks, PAX header and all. */
export function encodeHeader(entry: TarEntry): Buffer {
  const { name, linkName, uid, gid, size, mtime, mtimeNs, xattrs } = entry
  const records: Buffer[] = []
  const put = (key: string, value: string): void =>
    void records.push(record(key, Buffer.from(value, 'latin1')))
  const split = isAscii(name) ? splitName(name) : undefined
  if (split === undefined) put('path', name)
  const isLinkPlain = isAscii(linkName) && linkName.length <= NAME_MAX
  if (!isLinkPlain) put('linkpath', linkName)
  if (uid > ID_MAX) put('uid', String(uid))
  if (gid > ID_MAX) put('gid', String(gid))
  if (size > SIZE_MAX) put('size', String(size))
  if (mtimeNs !== 0 || mtime < 0 || mtime > SIZE_MAX) put('mtime', decimalTime(mtime, mtimeNs))
  for (const [key, value] of xattrs ?? []) records.push(record(XATTR_KEY + key, value))
  const [prefix, short] = split ?? ['', cut(name)]
  const header = encodeBlock(
    FLAGS[entry.type],
    entry,
    prefix,
    short,
    isLinkPlain ? linkName : cut(linkName),
    size,
  )
  if (records.length === 0) return header
  const data = Buffer.concat(records)
  const paxName = `PaxHeaders.0/${cut(name).slice(0, NAME_MAX - 13)}`
  const pax = { ...plainEntry(paxName, data.length), mode: 0 }
  return Buffer.concat([
    encodeBlock('x', pax, '', paxName, '', data.length),
    data,
    tarPadding(data.length),
    header,
  ])
}

/** The name that readers without PAX see. */
function cut(name: string): string {
  return name.replace(/[^\x01-\x7f]/g, '_').slice(0, NAME_MAX)
}

function encodeBlock(
  flag: string,
  entry: TarEntry,
  prefix: string,
  name: string,
  linkName: string,
  size: number,
): Buffer {
  const block = Buffer.alloc(BLOCK)
  const octal = (value: number, at: number, digits: number): void => {
    const fits = value >= 0 && value < 8 ** digits
    block.write((fits ? value : 0).toString(8).padStart(digits, '0'), at, 'latin1')
  }
  block.write(name, 0, 'latin1')
  octal(entry.mode & 0o7777, 100, 7)
  octal(entry.uid, 108, 7)
  octal(entry.gid, 116, 7)
  octal(size, 124, 11)
  octal(entry.mtime, 136, 11)
  block.write(flag, 156, 'latin1')
  block.write(linkName, 157, 'latin1')
  block.write('ustar\x0000', 257, 'latin1')
  if (flag === '3' || flag === '4') {
    octal(entry.devMajor, 329, 7)
    octal(entry.devMinor, 337, 7)
  }
  block.write(prefix, 345, 'latin1')
  block.fill(0x20, 148, 156)
  let sum = 0
  for (const byte of block) sum += byte
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return block
}
