// Requests that are answered from tables alone, without TypeScript. V8 runs that in its interpreter for a
// mount's first thousands of requests, which is all that a short job asks; here they take half a microsecond from
// the first on.
//
// - LOOKUP of what is not known yet in a directory that only lowers have, or of a name that is nowhere: by
//   the lowers' index. So are the entries of a READDIRPLUS filled in, at a call of TypeScript's.
// - OPEN and RELEASE of a small file of a lower whose bytes the kernel got with an OPEN before ("light", see
//   union/open-file.ts).
// - GETXATTR and LISTXATTR of what is in lowers alone and has no extended attributes, which the index knows.
//
// The rule: in doubt, TypeScript answers, which knows every case: what has an upper beside it, files with several
// links, what is known already, a table without room, a part of the index that nobody has proved yet. What
// is done here is what it would have done, on the same tables under the same lock.

#include "at-once.h"
#include "calls.h"
#include "index-view.h"
#include "tables.h"
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <new>

namespace {

const uint32_t NAME_MAX_BYTES = 255;
const int LOCK_FREE = 0, LOCK_HELD = 1, LOCK_SPINS = 200;

/** A table whose room slabs.ts hands out. */
struct Slab {
  int32_t *state;
  uint32_t chunks; // the word of the first chunk
  int32_t *words;
  uint32_t stride;
  uint32_t link;

  bool hasRoom(uint32_t list) const { return state[S_LISTS + list] != 0; }

  /** Slabs.alloc(). Needs: hasRoom(). */
  uint32_t take(uint32_t list) {
    int32_t *c = state + chunks + (static_cast<uint32_t>(state[S_LISTS + list]) - 1) * CHUNK_WORDS;
    int32_t unit = c[C_HEAD];
    if (unit != 0) c[C_HEAD] = words[static_cast<uint32_t>(unit) * stride + link];
    else {
      unit = c[C_FRESH];
      c[C_FRESH] = unit + c[C_SIZE];
    }
    c[C_LIVE]++;
    if (c[C_HEAD] == 0 && c[C_FRESH] + c[C_SIZE] > c[C_LIMIT]) state[S_LISTS + list] = c[C_NEXT];
    return static_cast<uint32_t>(unit);
  }
};

/** What a name means. */
struct Found {
  uint64_t entry; // its first word in the index
  uint32_t layer;
  uint32_t ino[2];
  /** Of a directory: its number in the index, and the word of the list of its layers, so many. */
  uint32_t dir;
  uint64_t list;
  uint32_t layers;
};

/** False for what is no name of a file, is never shown, or may mean more to TypeScript. */
bool isPlainName(const uint8_t *name, uint32_t size) {
  if (size < 2 || size - 1 > NAME_MAX_BYTES || name[size - 1] != 0) return false;
  if (memchr(name, 0, size - 1) || memchr(name, '/', size - 1)) return false;
  return name[0] != '.' || (size > 3 && memcmp(name, ".wh", 3) != 0);
}

} // namespace

/** What one worker has for this. TypeScript keeps the memory alive. */
struct AtOnce {
  int32_t *header;
  int32_t *nodes;
  uint32_t maxNodes;
  int32_t *dentries;
  int32_t *slots;
  const int32_t *links;
  uint32_t linkMask;
  Slab nodeSlab, dentrySlab, nameSlab;

  IndexView index;
  std::unique_ptr<uint32_t[]> devices; // the number of each layer's device
  uint32_t layers;
  double *counters; // by opcode
  AtOnceSettings settings;

  bool lookup(uint64_t nodeid, const uint8_t *name, uint32_t length, bool isAsked, fuse_entry_out *out);
  bool open(uint64_t nodeid, uint32_t flags, fuse_open_out *out);
  bool release(uint64_t nodeid, uint64_t handle);
  bool hasNoXattrs(uint64_t nodeid);

private:
  bool lock();
  void unlock() { __atomic_exchange_n(&header[H_LOCK], LOCK_FREE, __ATOMIC_SEQ_CST); }
  int32_t *node(uint32_t number) { return nodes + static_cast<size_t>(number) * NODE_WORDS; }
  int32_t *dentry(uint32_t number) { return dentries + static_cast<size_t>(number) * DENTRY_WORDS; }
  int32_t *liveNode(uint64_t number);
  uint32_t directoryOf(uint64_t number);
  bool isKnown(uint32_t parent, uint32_t hash, const uint8_t *name, uint32_t length);
  bool describe(Found &found) const;
  bool describeDirectory(Found &found) const;
  bool describeFile(const Found &found) const;
  uint64_t entryOf(const int32_t *n);
  uint32_t bind(uint32_t parent, uint32_t hash, const uint8_t *name, uint32_t length, const Found &found);
  uint32_t listLayers(const Found &found);
  void reply(uint32_t number, const Found &found, fuse_entry_out *out);
};

/** base/lock.ts: lock(). Returns false when somebody keeps it: TypeScript can wait, and we can not. */
bool AtOnce::lock() {
  for (int spin = 0; spin < LOCK_SPINS; spin++) {
    if (__atomic_load_n(&header[H_LOCK], __ATOMIC_RELAXED) != LOCK_FREE) continue;
    int32_t expected = LOCK_FREE;
    if (__atomic_compare_exchange_n(&header[H_LOCK], &expected, LOCK_HELD, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
      return true;
  }
  return false;
}

/** Returns the record of a node, null when there is none. */
int32_t *AtOnce::liveNode(uint64_t number) {
  if (number == 0 || number >= maxNodes) return nullptr;
  int32_t *n = node(static_cast<uint32_t>(number));
  return n[N_INFO] != 0 ? n : nullptr;
}

/** Returns the index's directory that a node stands for, 0 when the index alone can't tell what is in it. */
uint32_t AtOnce::directoryOf(uint64_t number) {
  const int32_t *n = liveNode(number);
  if (!n) return 0;
  int32_t info = n[N_INFO];
  if ((info & TYPE_MASK) != T_DIR || (info & (F_UPPER | F_NAMELESS | F_STALE | F_PRISTINE)) != 0) return 0;
  return (n[N_SEQ] & 1) != 0 ? 0 : static_cast<uint32_t>(n[N_STACKED]);
}

/** dentry-table.ts: findDentry(). */
bool AtOnce::isKnown(uint32_t parent, uint32_t hash, const uint8_t *name, uint32_t length) {
  uint32_t mask = static_cast<uint32_t>(header[H_SLOTS]) - 1;
  for (uint32_t slot = hash & mask;; slot = (slot + 1) & mask) {
    uint32_t number = static_cast<uint32_t>(slots[slot]);
    if (number == 0) return false;
    const int32_t *d = dentry(number);
    if (static_cast<uint32_t>(d[D_HASH]) != hash || static_cast<uint32_t>(d[D_PARENT]) != parent) continue;
    if (static_cast<uint32_t>(d[D_LENGTH]) != length) continue;
    if (memcmp(tls.names + static_cast<size_t>(-static_cast<int64_t>(d[D_NAME])) * 8, name, length) == 0) return true;
  }
}

/** Fills in the rest of what the entry is. False when that is not to be told from here. */
bool AtOnce::describe(Found &found) const {
  uint32_t type = index.typeOf(found.entry);
  if (type > TYPE_MASK || (index.flagsOf(found.entry) & E_ASK) != 0) return false;
  found.layer = index.layerOf(found.entry) + settings.indexBase;
  if (found.layer >= layers) return false;
  // attr.ts: showIno().
  memcpy(found.ino, &index.attrOf(found.entry).ino, 8);
  uint32_t device = devices[found.layer];
  if (device != 0) {
    if (found.ino[1] >> 16 != 0) return false;
    found.ino[1] |= device << 16;
  }
  return type == T_DIR ? describeDirectory(found) : describeFile(found);
}

/** indexed.ts: foundDirectory(). */
bool AtOnce::describeDirectory(Found &found) const {
  found.dir = index.word(found.entry + E_CHILD);
  uint64_t d = index.directoryAt(found.dir);
  if (d == 0) return false;
  found.layers = index.word(d + DIR_LAYERS) & 0xffff;
  // A list of so many layers has a block of its own size.
  if (found.layers == 0 || found.layers >= FINE) return false;
  found.list = index.layersOf(d, found.layers);
  return found.list != 0;
}

/** False when the file has, or had, other names: some node may be of it. */
bool AtOnce::describeFile(const Found &found) const {
  if (index.attrOf(found.entry).nlink != 1) return false;
  // inode-table.ts: linkSlot().
  uint32_t h = (found.ino[0] * 0x9e3779b1u) ^ (found.ino[1] * 0x85ebca6bu);
  h ^= h >> 15;
  return links[h & linkMask] == 0;
}

/** dir-stack.ts: writeReals(). Returns the unit of the list. Needs: room. */
uint32_t AtOnce::listLayers(const Found &found) {
  uint32_t unit = nameSlab.take(found.layers);
  int32_t *list = reinterpret_cast<int32_t *>(tls.names + static_cast<size_t>(unit) * 8);
  *list++ = static_cast<int32_t>(found.layers);
  for (uint32_t i = 0; i < found.layers; i++) {
    *list++ = static_cast<int32_t>(index.word(found.list + i) + settings.indexBase);
    *list++ = 0;
  }
  return unit;
}

/** bind.ts: bind() of what is new. Returns its node, 0 when a table has no room at hand. */
uint32_t AtOnce::bind(uint32_t parent, uint32_t hash, const uint8_t *name, uint32_t length, const Found &found) {
  uint32_t nameList = (length + 1 + 7) / 8 - 1;
  if (!nameSlab.hasRoom(nameList) || !dentrySlab.hasRoom(0) || !nodeSlab.hasRoom(0)) return 0;
  // Of one size, they may compete for the last block.
  if (found.layers > 1 && (found.layers == nameList || !nameSlab.hasRoom(found.layers))) return 0;
  if ((header[H_DENTRY_LIVE] + 1) * 2 > header[H_SLOTS]) return 0;

  uint32_t nameUnit = nameSlab.take(nameList);
  uint8_t *stored = tls.names + static_cast<size_t>(nameUnit) * 8;
  memcpy(stored, name, length);
  stored[length] = 0;

  uint32_t number = nodeSlab.take(0), dentryNumber = dentrySlab.take(0);
  int32_t *n = node(number);
  int32_t generation = n[N_GENERATION];
  memset(n, 0, NODE_WORDS * 4);
  n[N_GENERATION] = generation == 0 ? header[H_GENERATION] : (generation + 1) & 0x7fffffff;
  n[N_INFO] = static_cast<int32_t>(index.typeOf(found.entry));
  n[N_LOOKUPS] = 1;
  n[N_DENTRY] = static_cast<int32_t>(dentryNumber);
  n[N_LAYER] = static_cast<int32_t>(found.layer);
  memcpy(n + N_INO, found.ino, 8);
  if (found.layers > 0) n[N_STACKED] = static_cast<int32_t>(found.dir);
  if (found.layers > 1) {
    n[N_LAYER] = -static_cast<int32_t>(listLayers(found));
    n[N_INFO] |= F_STACK;
  } else if (found.layers == 1) n[N_LAYER] = static_cast<int32_t>(index.word(found.list) + settings.indexBase);
  header[H_NODE_LIVE]++;

  int32_t *d = dentry(dentryNumber);
  d[D_PARENT] = static_cast<int32_t>(parent);
  d[D_NAME] = -static_cast<int32_t>(nameUnit);
  d[D_LENGTH] = static_cast<int32_t>(length);
  d[D_HASH] = static_cast<int32_t>(hash);
  d[D_NODE] = static_cast<int32_t>(number);
  d[D_NEXT] = 0;
  node(parent)[N_CHILDREN]++;
  header[H_DENTRY_LIVE]++;
  uint32_t mask = static_cast<uint32_t>(header[H_SLOTS]) - 1, slot = hash & mask;
  while (slots[slot] != 0) slot = (slot + 1) & mask;
  slots[slot] = static_cast<int32_t>(dentryNumber);
  return number;
}

/** eagerness.ts: listBytes(). */
static uint32_t listBytes(uint64_t size) {
  uint64_t bytes = ONE_BLOCK;
  if (size > ONE_BLOCK)
    while (bytes < size * GROWTH && bytes < ROOM_MAX) bytes *= 2;
  return static_cast<uint32_t>(bytes);
}

void AtOnce::reply(uint32_t number, const Found &found, fuse_entry_out *out) {
  out->nodeid = number;
  out->generation = static_cast<uint32_t>(node(number)[N_GENERATION]);
  out->entry_valid = settings.entryValid;
  out->attr_valid = settings.attrValid;
  out->entry_valid_nsec = settings.entryValidNs;
  out->attr_valid_nsec = settings.attrValidNs;
  out->attr = index.attrOf(found.entry);
  memcpy(&out->attr.ino, found.ino, 8);
  if (found.layers == 0) return;
  out->attr.nlink = 1;
  out->attr.blksize = listBytes(static_cast<uint32_t>(out->attr.size));
}

/** Answers a LOOKUP; `isAsked` tells that it is one, and no entry of a listing. Returns whether it did. */
bool AtOnce::lookup(uint64_t nodeid, const uint8_t *name, uint32_t length, bool isAsked, fuse_entry_out *out) {
  uint32_t parent = static_cast<uint32_t>(nodeid);
  uint32_t hash = hashName(HASH_START ^ parent, name, length);
  if (!lock()) return false;
  Found found{};
  uint32_t dir = directoryOf(nodeid), number = 0;
  bool isAnswered = dir != 0 && !isKnown(parent, hash, name, length) && index.find(dir, name, length, found.entry);
  bool isHidden = found.entry != 0 && index.typeOf(found.entry) == TYPE_HIDDEN && (index.flagsOf(found.entry) & E_ASK) == 0;
  bool isMissing = isAnswered && (found.entry == 0 || isHidden);
  if (isMissing) isAnswered = settings.negativeValid != 0 || settings.negativeValidNs != 0;
  else isAnswered = isAnswered && describe(found);
  // Had a page been unreadable, it would have read as zeros.
  isAnswered = isAnswered && index.isIntact();
  if (isAnswered && !isMissing) {
    number = bind(parent, hash, name, length, found);
    isAnswered = number != 0;
  }
  if (number != 0) {
    // eagerness.ts: noteAsked().
    if (isAsked && node(parent)[N_SNAPSHOT] != 0 && header[H_ASKED] < COUNT_MAX) header[H_ASKED]++;
    reply(number, found, out);
  }
  unlock();
  if (isAnswered && isMissing) {
    *out = fuse_entry_out{};
    out->entry_valid = settings.negativeValid;
    out->entry_valid_nsec = settings.negativeValidNs;
  }
  return isAnswered;
}

/** open-file.ts: openAgain(). */
bool AtOnce::open(uint64_t nodeid, uint32_t flags, fuse_open_out *out) {
  if ((flags & (O_ACCMODE | O_TRUNC)) != O_RDONLY || !lock()) return false;
  int32_t *n = liveNode(nodeid);
  bool isLight = n && (n[N_INFO] & (F_LIGHT | F_UPPER | F_STALE)) == F_LIGHT && n[N_IO] <= 0 && n[N_BACKING] != -1;
  if (isLight) n[N_IO]--, n[N_OPENS]++;
  unlock();
  if (isLight) *out = fuse_open_out{LIGHT_HANDLE, FOPEN_NOFLUSH | FOPEN_KEEP_CACHE, 0};
  return isLight;
}

/** open-file.ts: closeLight(), unless the node goes with it. */
bool AtOnce::release(uint64_t nodeid, uint64_t handle) {
  if (handle != LIGHT_HANDLE || !lock()) return false;
  int32_t *n = liveNode(nodeid);
  bool isOpen = n && n[N_OPENS] > 0 && n[N_IO] < 0 && (n[N_OPENS] > 1 || (n[N_INFO] & F_DEAD) == 0);
  if (isOpen) n[N_IO]++, n[N_OPENS]--;
  unlock();
  return isOpen;
}

/** indexed.ts: wordOf(). Returns the first word of what a node is in the index, 0 when that can't be told. */
uint64_t AtOnce::entryOf(const int32_t *n) {
  int32_t info = n[N_INFO];
  if ((info & (F_UPPER | F_NAMELESS | F_STALE)) != 0 || (n[N_SEQ] & 1) != 0) return 0;
  if ((info & TYPE_MASK) == T_DIR) {
    uint64_t d = index.directoryAt(static_cast<uint32_t>(n[N_STACKED]));
    return d == 0 ? 0 : index.entryAt(index.word(d + DIR_ENTRY));
  }
  if (n[N_DENTRY] == 0) return 0;
  const int32_t *d = dentry(static_cast<uint32_t>(n[N_DENTRY]));
  uint32_t dir = static_cast<uint32_t>(node(static_cast<uint32_t>(d[D_PARENT]))[N_STACKED]);
  const uint8_t *name = tls.names + static_cast<size_t>(-static_cast<int64_t>(d[D_NAME])) * 8;
  uint64_t e = 0;
  if (dir == 0 || !index.find(dir, name, static_cast<uint32_t>(d[D_LENGTH]), e) || e == 0) return 0;
  bool isSame = static_cast<int32_t>(index.typeOf(e)) == (info & TYPE_MASK) &&
                index.layerOf(e) + settings.indexBase == static_cast<uint32_t>(n[N_LAYER]);
  return isSame ? e : 0;
}

bool AtOnce::hasNoXattrs(uint64_t nodeid) {
  if (!index.sawTrusted() || !lock()) return false;
  const int32_t *n = liveNode(nodeid);
  uint64_t e = n ? entryOf(n) : 0;
  bool hasNone = e != 0 && (index.flagsOf(e) & (E_ASK | E_HAS_XATTRS)) == 0 && index.isIntact();
  unlock();
  return hasNone;
}

/** Tells whether an attribute that is not there is ENODATA, whatever the file and its file system. */
static bool isKnownXattr(const uint8_t *name, uint32_t size) {
  static const char *const PREFIXES[] = {"security.", "trusted.", "system.posix_acl_"};
  if (size == 0 || size > NAME_MAX_BYTES + 1 || memchr(name, 0, size) != name + size - 1) return false;
  for (const char *prefix : PREFIXES)
    if (size > strlen(prefix) + 1 && memcmp(name, prefix, strlen(prefix)) == 0) return true;
  return false;
}

static uint32_t structBytes(uint32_t opcode) {
  switch (opcode) {
  case FUSE_OPEN: return sizeof(fuse_open_in);
  case FUSE_RELEASE: return sizeof(fuse_release_in);
  case FUSE_GETXATTR:
  case FUSE_LISTXATTR: return sizeof(fuse_getxattr_in);
  default: return 0;
  }
}

RequestArgs argsOf(uint32_t opcode, const uint8_t *body, uint32_t size) {
  uint32_t fixed = structBytes(opcode);
  if (fixed > size) fixed = size;
  return {body, fixed, body + fixed, size - fixed};
}

/** Needs: the struct is as long as structBytes() says. */
static int64_t answer(AtOnce *all, const fuse_in_header &request, const RequestArgs &args, uint8_t *out) {
  bool hasIndex = all->index.isThere(), isBare = args.restSize == 0;
  switch (request.opcode) {
  case FUSE_LOOKUP: {
    auto *entry = reinterpret_cast<fuse_entry_out *>(out);
    if (!hasIndex || !isPlainName(args.rest, args.restSize)) break;
    if (all->lookup(request.nodeid, args.rest, args.restSize - 1, true, entry)) return sizeof *entry;
    break;
  }
  case FUSE_OPEN: {
    auto *opened = reinterpret_cast<fuse_open_out *>(out);
    uint32_t flags = reinterpret_cast<const fuse_open_in *>(args.fixed)->flags;
    if (isBare && all->open(request.nodeid, flags, opened)) return sizeof *opened;
    break;
  }
  case FUSE_RELEASE:
    if (isBare && all->release(request.nodeid, reinterpret_cast<const fuse_release_in *>(args.fixed)->fh)) return 0;
    break;
  case FUSE_GETXATTR:
    if (hasIndex && isKnownXattr(args.rest, args.restSize) && all->hasNoXattrs(request.nodeid)) return -ENODATA;
    break;
  case FUSE_LISTXATTR: {
    uint32_t room = reinterpret_cast<const fuse_getxattr_in *>(args.fixed)->size;
    if (!hasIndex || !isBare || !all->hasNoXattrs(request.nodeid)) break;
    // Without room the question is how much it takes.
    if (room == 0) *reinterpret_cast<fuse_getxattr_out *>(out) = fuse_getxattr_out{};
    return room == 0 ? sizeof(fuse_getxattr_out) : 0;
  }
  }
  return NOT_AT_ONCE;
}

int64_t answerAtOnce(const fuse_in_header &request, const RequestArgs &args, uint8_t *out) {
  AtOnce *all = tls.atOnce;
  if (!all || args.fixedSize != structBytes(request.opcode)) return NOT_AT_ONCE;
  int64_t result = answer(all, request, args, out);
  if (result == NOT_AT_ONCE) return result;
  all->counters[request.opcode]++;
  if (result < 0) all->counters[COUNTED_OPCODES + request.opcode]++;
  return result;
}

void endAtOnce() {
  delete tls.atOnce;
  tls.atOnce = nullptr;
}

namespace {

int32_t *wordsOf(Bytes bytes) { return reinterpret_cast<int32_t *>(const_cast<uint8_t *>(bytes.data)); }

Slab slabOf(Bytes state, uint32_t classes, int32_t *words, uint32_t stride, uint32_t link) {
  return Slab{wordsOf(state), (S_LISTS + classes + 7) & ~7u, words, stride, link};
}

} // namespace

int64_t serveAtOnce(Bytes header, Bytes nodes, Bytes dentries, Bytes slots, Bytes links, Bytes nodeSlabs, Bytes dentrySlabs,
                    Bytes nameSlabs, Bytes index, Bytes ready, Bytes devices, Bytes counters, Out<AtOnceSettings> settings) {
  if (!tls.names || counters.length < 2 * COUNTED_OPCODES * sizeof(double)) return -EINVAL;
  if (ready.length > 0 && index.length < ready.length * BLOCK) return -EINVAL;
  endAtOnce();
  std::unique_ptr<AtOnce> all(new (std::nothrow) AtOnce);
  if (!all) return -ENOMEM;
  all->header = wordsOf(header);
  all->nodes = wordsOf(nodes);
  all->maxNodes = static_cast<uint32_t>(nodes.length / (NODE_WORDS * 4));
  all->dentries = wordsOf(dentries);
  all->slots = wordsOf(slots);
  all->links = wordsOf(links);
  all->linkMask = static_cast<uint32_t>(links.length / 4) - 1;
  all->nodeSlab = slabOf(nodeSlabs, 1, all->nodes, NODE_WORDS, N_FORWARD);
  all->dentrySlab = slabOf(dentrySlabs, 1, all->dentries, DENTRY_WORDS, D_NEXT);
  all->nameSlab = slabOf(nameSlabs, settings->nameClasses, reinterpret_cast<int32_t *>(tls.names), 2, 0);
  all->index = IndexView(index.data, ready.data, ready.length, settings->faults);
  all->layers = static_cast<uint32_t>(devices.length / 4);
  all->devices.reset(new (std::nothrow) uint32_t[all->layers]);
  if (!all->devices) return -ENOMEM;
  memcpy(all->devices.get(), devices.data, all->layers * 4);
  all->counters = reinterpret_cast<double *>(const_cast<uint8_t *>(counters.data));
  all->settings = *settings.at;
  tls.atOnce = all.release();
  return 0;
}

int64_t enterRecords(uint32_t directory, At records, uint32_t length) {
  uint8_t *at = records.take(length);
  if (!at || records.offset % 4 != 0) return -EFAULT;
  const uint8_t *end = at + length;
  int64_t left = 0;
  while (at + sizeof(fuse_direntplus) < end) {
    auto *record = reinterpret_cast<fuse_direntplus *>(at);
    const uint8_t *name = at + sizeof *record;
    uint32_t size = record->dirent.namelen;
    if (size > NAME_MAX_BYTES || name + size > end) return -EINVAL;
    at += (sizeof *record + size + 7) & ~size_t{7};
    bool isDots = name[0] == '.' && (size == 1 || (size == 2 && name[1] == '.'));
    if (isDots || record->entry_out.nodeid != 0) continue;
    if (tls.atOnce && tls.atOnce->index.isThere()) tls.atOnce->lookup(directory, name, size, false, &record->entry_out);
    if (record->entry_out.nodeid != 0) continue;
    record->entry_out = fuse_entry_out{};
    left++;
  }
  return left;
}

int64_t tryAtOnce(Out<fuse_in_header> request, At args, uint32_t size, At out) {
  uint8_t *from = args.take(size), *to = out.take(sizeof(fuse_entry_out));
  if (!from || !to || args.offset % 4 != 0 || out.offset % 4 != 0) return -EFAULT;
  return answerAtOnce(*request.at, argsOf(request->opcode, from, size), to);
}
