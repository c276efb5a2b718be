// How an index lies in its file: one layer's tree, or a stack of layers merged. All words are 32 bits,
// little endian, 64-bit values low word first. Nothing is read before its block's checksum was proved.
//
//   header   4 KiB   see H_*; the checksum of the rest of it at H_SUM
//   sums             the checksum (XXH64) of each block of 4 KiB behind this section
//   stamps           which directory a layer is: inode, ctime, birth time of its root
//   dirs             DIR_WORDS each; number 1 is the root, 0 is none
//   lists            the layers that a merged directory is in, top first
//   slots            a hash table of entries by (directory, name); open addressing, 0 is free
//   entries          ENTRY_WORDS each; a directory's are neighbours; number 0 is the root itself
//   names            bytes
//
// Sections begin on a block.

export const MAGIC = 0x5849_434d // "MCIX"
/** Counts up with each change of this format or of what a builder puts there. */
export const VERSION = 1
export const BLOCK = 4096
export const KIND_LAYER = 1
export const KIND_STACK = 2
/** An index that would be larger than this is not made. */
export const BYTES_MAX = 2 ** 31 - BLOCK

// Words of the header.
export const H_MAGIC = 0
export const H_VERSION = 1
export const H_KIND = 2
export const H_BYTES = 3
export const H_FLAGS = 4
export const H_LAYERS = 5
export const H_DIRS = 6
export const H_LIST_WORDS = 7
export const H_SLOTS = 8
export const H_ENTRIES = 9
export const H_NAME_BYTES = 10
/** Byte offsets of the sections. */
export const H_SUMS_AT = 11
export const H_STAMPS_AT = 12
export const H_DIRS_AT = 13
export const H_LISTS_AT = 14
export const H_SLOTS_AT = 15
export const H_ENTRIES_AT = 16
export const H_NAMES_AT = 17
/** Checksum of the section of sums, two words; the header's own, of all words before it. */
export const H_SUMS_SUM = 60
export const H_SUM = 62

/** Flag of the header: some layer's root says that owners and modes are in attributes. */
export const INDEX_OVERRIDE_STAT = 1
/** Flag of the header: whoever made it saw all attributes, `trusted.` ones too. */
export const INDEX_SAW_TRUSTED = 2

export const STAMP_WORDS = 6

// Words of a directory.
export const DIR_WORDS = 8
export const DIR_FIRST = 0
export const DIR_COUNT = 1
/** Its own entry. */
export const DIR_ENTRY = 2
export const DIR_LIST = 3 // first word of its layers in `lists`
export const DIR_LAYERS = 4

// Words of an entry. The attributes are a Stat (vfs/arena.ts) of the real file, less its device.
export const ENTRY_WORDS = 32
export const E_DIR = 0
export const E_HASH = 1
export const E_NAME = 2
export const E_LENGTH = 3 // | layer << 16
export const E_TYPE = 4 // | flags << 8
export const E_CHILD = 5
export const E_ATTR = 6 // the struct fuse_attr, ATTR_WORDS
export const E_MORE = 28 // from STAT_BTIME on, MORE_WORDS
export const MORE_WORDS = 4

/** The type of a whiteout. Others are S_IFMT >> 12. */
export const TYPE_HIDDEN = 0xff
export const TYPE_DIR = 4

/** Flags of an entry: the layers themselves must be asked. */
export const E_ASK = 1
/** A directory that nothing below is merged with. */
export const E_OPAQUE = 2
/** It has extended attributes. */
export const E_HAS_XATTRS = 4

/** Hash of a name in a directory: FNV-1a over the bytes with a final mix, as hot paths need one without calls. */
export function hashIn(dir: number, bytes: Uint8Array, at: number, length: number): number {
  let h = 0x811c9dc5 ^ Math.imul(dir, 0x9e3779b1)
  for (let i = 0; i < length; i++) h = Math.imul(h ^ bytes[at + i]!, 0x01000193)
  h ^= h >>> 15
  h = Math.imul(h, 0x2c1b3c6d)
  return h ^ (h >>> 13)
}
