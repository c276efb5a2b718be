#include "index-view.h"
#include <cstring>

/** Tells whether these bytes lie in the index and were proved. */
bool IndexView::isReady(uint64_t from, uint64_t bytes) const {
  uint64_t last = (from + bytes - 1) / BLOCK;
  if (last >= blocks_) return false;
  for (uint64_t block = from / BLOCK; block <= last; block++)
    if (!ready_[block]) return false;
  return true;
}

uint64_t IndexView::entryAt(uint32_t number) const {
  uint64_t e = word(INDEX_H_ENTRIES_AT) / 4 + static_cast<uint64_t>(number) * ENTRY_WORDS;
  return number < word(INDEX_H_ENTRIES) && isReady(e * 4, ENTRY_WORDS * 4) ? e : 0;
}

uint64_t IndexView::directoryAt(uint32_t dir) const {
  uint64_t d = word(INDEX_H_DIRS_AT) / 4 + static_cast<uint64_t>(dir) * DIR_WORDS;
  return dir > 0 && dir < word(INDEX_H_DIRS) && isReady(d * 4, DIR_WORDS * 4) ? d : 0;
}

uint64_t IndexView::layersOf(uint64_t d, uint32_t count) const {
  uint64_t first = word(d + DIR_LIST), list = word(INDEX_H_LISTS_AT) / 4 + first;
  return first + count <= word(INDEX_H_LIST_WORDS) && isReady(list * 4, count * 4) ? list : 0;
}

bool IndexView::find(uint32_t dir, const uint8_t *name, uint32_t length, uint64_t &entry) const {
  uint32_t hash = hashName(HASH_START ^ (dir * 0x9e3779b1u), name, length);
  uint32_t mask = word(INDEX_H_SLOTS) - 1;
  uint64_t slotsAt = word(INDEX_H_SLOTS_AT) / 4;
  entry = 0;
  for (uint32_t slot = hash & mask, tries = 0; tries <= mask; slot = (slot + 1) & mask, tries++) {
    if (!isReady((slotsAt + slot) * 4, 4)) return false;
    uint32_t number = word(slotsAt + slot);
    if (number == 0) return true;
    uint64_t e = entryAt(number);
    if (e == 0) return false;
    if (word(e + E_HASH) != hash || word(e + E_DIR) != dir || (word(e + E_LENGTH) & 0xffff) != length) continue;
    uint64_t at = word(e + E_NAME);
    uint64_t from = word(INDEX_H_NAMES_AT) + at;
    if (at + length > word(INDEX_H_NAME_BYTES) || !isReady(from, length)) return false;
    if (memcmp(bytes_ + from, name, length) != 0) continue;
    entry = e;
    return true;
  }
  return false;
}
