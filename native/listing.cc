// The list of a directory that is merged from several, in one go: names are read, the first of each is
// kept, and all are brought into the order of their keys, as records that READDIR can send as they are.
// Names come from directories, or from an index (src/index/format.ts) that has merged the lowers.
//
// For what is plain only. Whatever needs more than a name and a type (names of the AUFS dialect, a
// directory of the upper that a lower has too) ends it with -EAGAIN, and TypeScript does it all
// (src/union/merge-dir.ts); both must give the same records (src/union/snapshot.ts).

#include "abi.h"
#include "calls.h"
#include "sys.h"
#include <algorithm>
#include <dirent.h>
#include <sys/stat.h>
#include <vector>

namespace {

const uint8_t HIDDEN = 0xff;
/** Words of an index's entry. */
const size_t ENTRY_WORDS = 32;
const size_t E_NAME = 2, E_LENGTH = 3, E_TYPE = 4, E_INO = 6;
const uint32_t E_ASK = 1;
/** See KEY_MIN, RANK_BITS and HASHES in src/union/snapshot.ts. */
const uint32_t KEY_MIN = 16;
const uint32_t RANK_BITS = 6;
const uint32_t HASHES = 1 << 24;
const uint32_t DOT = 1;
const uint32_t DOT_DOT = 2;
/** More memory than this is not kept for the next list. */
const size_t KEPT_BYTES = 1 << 20;

struct Name {
  uint64_t ino;
  uint32_t at; // in the bytes
  uint32_t hash;
  uint16_t layer;
  uint8_t length;
  uint8_t type;
};

/** As hashAt() in src/union/dir-list.ts. */
uint32_t hashOf(const uint8_t *name, size_t length) {
  uint32_t h = 0x811c9dc5;
  for (size_t i = 0; i < length; i++) h = (h ^ name[i]) * 0x01000193;
  h ^= h >> 15;
  h *= 0x2c1b3c6d;
  return h ^ (h >> 13);
}

bool isDots(const char *name) {
  return name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0));
}

} // namespace

struct Listing {
  std::vector<Name> names;
  std::vector<uint8_t> bytes; // of all names
  std::vector<uint32_t> slots; // numbers of names + 1, by hash; empty for a single directory
  std::vector<uint64_t> order; // key part << 32 | number
  bool hasUpper = false;
  size_t next = 0;
  uint32_t key = 0;

  void clear();
  int64_t add(const void *name, size_t length, uint64_t ino, uint8_t type, uint32_t layer);
  uint32_t *slotOf(const uint8_t *name, size_t length, uint32_t hash);
  void grow();
  void sort();
  uint32_t keyPart(const Name &name) const;
};

void Listing::clear() {
  if (names.capacity() * sizeof(Name) > KEPT_BYTES || bytes.capacity() > KEPT_BYTES) {
    std::vector<Name>().swap(names);
    std::vector<uint8_t>().swap(bytes);
    std::vector<uint32_t>().swap(slots);
    std::vector<uint64_t>().swap(order);
  }
  names.clear();
  bytes.clear();
  slots.clear();
  order.clear();
  next = 0;
  key = 0;
}

uint32_t *Listing::slotOf(const uint8_t *name, size_t length, uint32_t hash) {
  size_t mask = slots.size() - 1;
  for (size_t slot = hash & mask;; slot = (slot + 1) & mask) {
    if (slots[slot] == 0) return &slots[slot];
    const Name &other = names[slots[slot] - 1];
    if (other.hash == hash && other.length == length && memcmp(&bytes[other.at], name, length) == 0) return &slots[slot];
  }
}

void Listing::grow() {
  size_t size = slots.empty() ? 256 : slots.size();
  while (size < names.size() * 4) size *= 4;
  slots.assign(size, 0);
  size_t mask = size - 1;
  for (size_t i = 0; i < names.size(); i++) {
    size_t slot = names[i].hash & mask;
    while (slots[slot] != 0) slot = (slot + 1) & mask;
    slots[slot] = static_cast<uint32_t>(i + 1);
  }
}

int64_t Listing::add(const void *text, size_t length, uint64_t ino, uint8_t type, uint32_t layer) {
  const auto *name = static_cast<const uint8_t *>(text);
  uint32_t hash = hashOf(name, length);
  if (!slots.empty()) {
    if (names.size() * 2 > slots.size()) grow();
    uint32_t *slot = slotOf(name, length, hash);
    if (*slot != 0) {
      // What it shows then depends on its attributes.
      const Name &known = names[*slot - 1];
      return hasUpper && known.layer == 0 && known.type == DT_DIR ? -EAGAIN : 0;
    }
    *slot = static_cast<uint32_t>(names.size() + 1);
  }
  if (bytes.size() > UINT32_MAX / 2) return -EAGAIN;
  names.push_back({ino, static_cast<uint32_t>(bytes.size()), hash, static_cast<uint16_t>(layer),
                   static_cast<uint8_t>(length), type});
  bytes.insert(bytes.end(), name, name + length);
  return 0;
}

uint32_t Listing::keyPart(const Name &name) const {
  const uint8_t *at = &bytes[name.at];
  if (name.length == 1 && at[0] == '.') return DOT;
  if (name.length == 2 && at[0] == '.' && at[1] == '.') return DOT_DOT;
  return DOT_DOT + 1 + (name.hash >> 8) % (HASHES - DOT_DOT - 1);
}

void Listing::sort() {
  order.reserve(names.size());
  for (size_t i = 0; i < names.size(); i++)
    if (names[i].type != HIDDEN) order.push_back(static_cast<uint64_t>(keyPart(names[i])) << 32 | i);
  std::sort(order.begin(), order.end());
  // Names of one hash, which are few: by their bytes.
  for (size_t i = 1; i < order.size(); i++) {
    for (size_t j = i; j > 0 && order[j] >> 32 == order[j - 1] >> 32; j--) {
      const Name &a = names[order[j - 1] & UINT32_MAX], &b = names[order[j] & UINT32_MAX];
      int compared = memcmp(&bytes[a.at], &bytes[b.at], std::min(a.length, b.length));
      if (compared < 0 || (compared == 0 && a.length <= b.length)) break;
      std::swap(order[j - 1], order[j]);
    }
  }
}

void dropListing() {
  delete tls.listing;
  tls.listing = nullptr;
}

int64_t listBegin(int32_t isMerged, int32_t hasUpper) {
  if (!tls.listing) tls.listing = new (std::nothrow) Listing;
  if (!tls.listing) return -ENOMEM;
  tls.listing->clear();
  tls.listing->hasUpper = hasUpper;
  if (isMerged) tls.listing->grow();
  return 0;
}

int64_t listName(Path name, uint32_t low, uint32_t high) {
  if (!tls.listing || name.isSelf) return -EINVAL;
  return tls.listing->add(name.text, strlen(name.text), static_cast<uint64_t>(high) << 32 | low, DT_DIR, 0);
}

/** The type of an entry that getdents leaves open, or that may be a whiteout; negative: errno. */
static int typeOf(int fd, const char *name) {
  struct stat st;
  int64_t result = retry([&] { return fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW); });
  if (result < 0) return static_cast<int>(result);
  if (S_ISCHR(st.st_mode) && st.st_rdev == 0) return HIDDEN;
  return static_cast<int>((st.st_mode & S_IFMT) >> 12);
}

int64_t listDirectory(int32_t fd, uint32_t layer, At buffer, uint32_t capacity) {
  Listing *listing = tls.listing;
  uint8_t *at = buffer.take(capacity);
  if (!listing || layer > UINT16_MAX) return -EINVAL;
  if (!at) return -EFAULT;
  for (;;) {
    int64_t length = retry([&] { return syscall(SYS_getdents64, fd, at, capacity); });
    if (length <= 0) return length;
    for (uint8_t *each = at; each < at + length;) {
      auto *entry = reinterpret_cast<struct dirent64 *>(each);
      each += entry->d_reclen;
      const char *name = entry->d_name;
      if (isDots(name)) continue;
      if (strncmp(name, ".wh.", 4) == 0 && name[4] != 0) return -EAGAIN;
      int type = entry->d_type;
      if (type == DT_UNKNOWN || type == DT_CHR) {
        type = typeOf(fd, name);
        if (type == -ENOENT) continue;
        if (type < 0) return type;
        if (type == HIDDEN && listing->slots.empty()) continue;
      }
      int64_t result = listing->add(name, strlen(name), entry->d_ino, static_cast<uint8_t>(type), layer);
      if (result < 0) return result;
    }
  }
}

int64_t listEntries(Bytes entries, Bytes names, uint32_t firstName, uint32_t base) {
  Listing *listing = tls.listing;
  if (!listing || reinterpret_cast<uintptr_t>(entries.data) % sizeof(uint32_t) != 0) return -EINVAL;
  const auto *word = reinterpret_cast<const uint32_t *>(entries.data);
  for (size_t left = entries.length / (ENTRY_WORDS * sizeof *word); left > 0; left--, word += ENTRY_WORDS) {
    uint32_t type = word[E_TYPE] & 0xff, length = word[E_LENGTH] & 0xffff, at = word[E_NAME] - firstName;
    uint32_t layer = (word[E_LENGTH] >> 16) + base;
    if ((word[E_TYPE] >> 8 & E_ASK) || length > UINT8_MAX || at > names.length || length > names.length - at) return -EAGAIN;
    if (type == HIDDEN && listing->slots.empty()) continue;
    uint64_t ino = static_cast<uint64_t>(word[E_INO + 1]) << 32 | word[E_INO];
    int64_t result = listing->add(names.data + at, length, ino, static_cast<uint8_t>(type), layer);
    if (result < 0) return result;
  }
  return 0;
}

int64_t listSort() {
  if (!tls.listing) return -EINVAL;
  tls.listing->sort();
  return static_cast<int64_t>(tls.listing->order.size());
}

int64_t listTake(At out, uint32_t capacity) {
  Listing *listing = tls.listing;
  uint8_t *at = out.take(capacity);
  if (!listing || capacity > UINT16_MAX) return -EINVAL;
  if (!at) return -EFAULT;
  uint32_t used = 0, count = 0;
  for (; listing->next < listing->order.size(); listing->next++) {
    const Name &name = listing->names[listing->order[listing->next] & UINT32_MAX];
    uint32_t part = static_cast<uint32_t>(listing->order[listing->next] >> 32);
    uint32_t size = (static_cast<uint32_t>(sizeof(fuse_dirent)) + name.length + 7) & ~7U;
    // From the end come the layers, two bytes each.
    if (used + size + 2 * (count + 1) > capacity) break;
    listing->key = part <= DOT_DOT ? part : std::max(listing->key + 1, (part << RANK_BITS) + KEY_MIN);
    fuse_dirent head{name.ino, listing->key, name.length, name.type};
    memset(at + used + size - 8, 0, 8);
    memcpy(at + used, &head, sizeof head);
    memcpy(at + used + sizeof head, &listing->bytes[name.at], name.length);
    memcpy(at + capacity - 2 * (count + 1), &name.layer, 2);
    used += size;
    count++;
  }
  return static_cast<int64_t>(count) << 16 | used;
}
