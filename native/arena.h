// Places in a worker's arena and the layout of a Stat, as src/vfs/arena.ts defines them, and the
// two results that are no lengths, as src/vfs/file-system.ts defines them. abiTable() exports
// them under 'arena.*', so that a test holds the two sides together.

#pragma once

#include <cstddef>
#include <cstdint>

constexpr int64_t PARKED = 0x7fffffff;
constexpr int64_t NO_REPLY = 0x7ffffffe;

constexpr size_t CTL = 0;
constexpr size_t CTL_IN_LENGTH = 0;
constexpr size_t CTL_OUT = 1;
constexpr size_t CTL_OUT_CAPACITY = 2;
constexpr size_t CTL_DATA = 3;
constexpr size_t CTL_JOB = 8;
constexpr size_t CTL_RESULT = 9;

constexpr size_t IN = 4096;
constexpr size_t IN_CAPACITY = (1 << 20) + 16384;
constexpr size_t OUT = IN + IN_CAPACITY + 4096;
constexpr size_t OUT_CAPACITY = (1 << 20) + 4096;
/** What a transport needs of an arena; the scratch places behind it are TypeScript's own. */
constexpr size_t TRANSPORT_BYTES = OUT + OUT_CAPACITY;

/** A Stat: fuse_attr first, then what only we use. Aligned to words only. */
struct __attribute__((packed, aligned(4))) Stat {
  uint64_t ino, size, blocks, atime, mtime, ctime;
  uint32_t atimeNs, mtimeNs, ctimeNs, mode, nlink, uid, gid, rdev, blksize, flags;
  uint32_t dev;
  uint64_t btime;
  uint32_t btimeNs;
  uint32_t attributes;
  uint32_t spare;
};
static_assert(sizeof(Stat) == 112);
