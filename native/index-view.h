// An index of the lowers as native code reads it: index/view.ts, which proves its blocks. Only what was proved is
// looked at; numbers are of 32-bit words.

#pragma once

#include "abi.h"
#include "tables.h"
#include <cstddef>

class IndexView {
public:
  IndexView() = default;
  /** `ready`: a byte for each of its blocks, 1 when that was proved. `faults`: the word that counts unreadable pages. */
  IndexView(const uint8_t *bytes, const uint8_t *ready, size_t blocks, uint32_t faults)
      : bytes_(bytes), ready_(ready), blocks_(blocks), faults_(faults) {}

  /** False without an index: then nothing else may be asked. */
  bool isThere() const { return blocks_ > 0; }
  /** Whether all pages could be read so far: those that could not have read as zeros. */
  bool isIntact() const { return word(faults_) == 0; }
  /** Whether who made it saw all extended attributes there are. */
  bool sawTrusted() const { return (word(INDEX_H_FLAGS) & INDEX_SAW_TRUSTED) != 0; }

  /**
   * Looks for a name in directory `dir`. `entry` becomes the first word of what has it, 0 when nothing has. False
   * when that can't be told.
   */
  bool find(uint32_t dir, const uint8_t *name, uint32_t length, uint64_t &entry) const;
  /** Returns the first word of an entry, or 0. */
  uint64_t entryAt(uint32_t number) const;
  /** Returns the first word of a directory, or 0. */
  uint64_t directoryAt(uint32_t dir) const;
  /** Returns the first word of the list of layers of the directory at word `d`, or 0. */
  uint64_t layersOf(uint64_t d, uint32_t count) const;

  uint32_t word(uint64_t number) const { return reinterpret_cast<const uint32_t *>(bytes_)[number]; }
  uint32_t typeOf(uint64_t entry) const { return word(entry + E_TYPE) & 0xff; }
  uint32_t flagsOf(uint64_t entry) const { return word(entry + E_TYPE) >> 8; }
  /** The layer of an entry, as the index counts. */
  uint32_t layerOf(uint64_t entry) const { return word(entry + E_LENGTH) >> 16; }
  const fuse_attr &attrOf(uint64_t entry) const {
    return *reinterpret_cast<const fuse_attr *>(bytes_ + (entry + E_ATTR) * 4);
  }

private:
  bool isReady(uint64_t from, uint64_t bytes) const;

  const uint8_t *bytes_ = nullptr;
  const uint8_t *ready_ = nullptr;
  size_t blocks_ = 0;
  uint32_t faults_ = 0;
};
