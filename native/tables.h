// The tables of a mount and the format of an index, as src/union and src/index lay them out; numbers of
// 32-bit words unless said. abiTable() exports them under 'union.*' and 'index.*', so that a test holds
// the two sides together.

#pragma once

#include <cstdint>

// -- src/union/state.ts: the header -----------------------------------------------------------
constexpr uint32_t H_LOCK = 0;
constexpr uint32_t H_GENERATION = 33;
constexpr uint32_t H_NODE_LIVE = 34;
constexpr uint32_t H_DENTRY_LIVE = 37;
constexpr uint32_t H_SLOTS = 38;
constexpr uint32_t H_ASKED = 43;
/** eagerness.ts. */
constexpr int32_t COUNT_MAX = 1 << 14;
constexpr uint64_t ONE_BLOCK = 4096;
constexpr uint64_t ROOM_MAX = 1 << 20;
constexpr uint64_t GROWTH = 4;

// -- src/union/inode-table.ts -----------------------------------------------------------------
constexpr uint32_t NODE_WORDS = 16;
constexpr uint32_t N_GENERATION = 0;
constexpr uint32_t N_INFO = 1;
constexpr uint32_t N_LOOKUPS = 2;
constexpr uint32_t N_DENTRY = 3;
constexpr uint32_t N_LAYER = 4;
constexpr uint32_t N_INO = 5;
constexpr uint32_t N_SEQ = 7;
constexpr uint32_t N_OPENS = 8;
constexpr uint32_t N_BACKING = 9;
constexpr uint32_t N_IO = 10;
constexpr uint32_t N_CHILDREN = 12;
constexpr uint32_t N_FORWARD = 13;
/** Of directories; see dir-stack.ts and block-chain.ts. */
constexpr uint32_t N_STACKED = 14;
constexpr uint32_t N_SNAPSHOT = 15;
constexpr int32_t TYPE_MASK = 0xf;
constexpr int32_t F_UPPER = 1 << 4;
constexpr int32_t F_NAMELESS = 1 << 5;
constexpr int32_t F_STALE = 1 << 6;
constexpr int32_t F_STACK = 1 << 9;
constexpr int32_t F_DEAD = 1 << 12;
constexpr int32_t F_PRISTINE = 1 << 14;
constexpr int32_t F_LIGHT = 1 << 17;
constexpr int32_t T_DIR = 4;

// -- src/union/dentry-table.ts ----------------------------------------------------------------
constexpr uint32_t DENTRY_WORDS = 8;
constexpr uint32_t D_PARENT = 0;
constexpr uint32_t D_NAME = 1;
constexpr uint32_t D_LENGTH = 2;
constexpr uint32_t D_HASH = 3;
constexpr uint32_t D_NODE = 4;
constexpr uint32_t D_NEXT = 5;

// -- src/union/slabs.ts -----------------------------------------------------------------------
constexpr uint32_t S_LISTS = 8;
constexpr uint32_t CHUNK_WORDS = 8;
constexpr uint32_t C_HEAD = 0;
constexpr uint32_t C_FRESH = 1;
constexpr uint32_t C_LIMIT = 2;
constexpr uint32_t C_LIVE = 3;
constexpr uint32_t C_NEXT = 4;
constexpr uint32_t C_SIZE = 6;
/** name-arena.ts: blocks up to so many units have a list for each number of them. */
constexpr uint32_t FINE = 128;

/** vfs/file-system.ts: the handle of all small files of lowers; see open-file.ts. */
constexpr uint64_t LIGHT_HANDLE = 0x7fffffff;

/** fuse/session-shared.ts: counters of requests by opcode, and as many of errors behind them. */
constexpr uint32_t COUNTED_OPCODES = 64;

// -- src/index/format.ts ----------------------------------------------------------------------
constexpr uint32_t BLOCK = 4096;
constexpr uint32_t INDEX_H_FLAGS = 4;
constexpr uint32_t INDEX_H_DIRS = 6;
constexpr uint32_t INDEX_H_LIST_WORDS = 7;
constexpr uint32_t INDEX_H_SLOTS = 8;
constexpr uint32_t INDEX_H_ENTRIES = 9;
constexpr uint32_t INDEX_H_NAME_BYTES = 10;
constexpr uint32_t INDEX_H_DIRS_AT = 13;
constexpr uint32_t INDEX_H_LISTS_AT = 14;
constexpr uint32_t INDEX_H_SLOTS_AT = 15;
constexpr uint32_t INDEX_H_ENTRIES_AT = 16;
constexpr uint32_t INDEX_H_NAMES_AT = 17;
constexpr uint32_t DIR_WORDS = 8;
constexpr uint32_t DIR_ENTRY = 2;
constexpr uint32_t DIR_LIST = 3;
constexpr uint32_t DIR_LAYERS = 4;
constexpr uint32_t ENTRY_WORDS = 32;
constexpr uint32_t E_DIR = 0;
constexpr uint32_t E_HASH = 1;
constexpr uint32_t E_NAME = 2;
constexpr uint32_t E_LENGTH = 3;
constexpr uint32_t E_TYPE = 4;
constexpr uint32_t E_CHILD = 5;
constexpr uint32_t E_ATTR = 6;
constexpr uint32_t E_ASK = 1;
constexpr uint32_t E_HAS_XATTRS = 4;
constexpr uint32_t INDEX_SAW_TRUSTED = 2;
constexpr uint32_t TYPE_HIDDEN = 0xff;

/** Where hashes of names begin, before what tells one directory's from another's. */
constexpr uint32_t HASH_START = 0x811c9dc5;

/** The hash of a name: dentry-table.ts hashName(), format.ts hashIn(). */
inline uint32_t hashName(uint32_t start, const uint8_t *name, uint32_t length) {
  uint32_t h = start;
  for (uint32_t i = 0; i < length; i++) h = (h ^ name[i]) * 0x01000193u;
  h ^= h >> 15;
  h *= 0x2c1b3c6du;
  return h ^ (h >> 13);
}
