// The model executor: random operations on a union mount and on a plain directory (the oracle),
// one process, the same system calls on both sides, compared after each.
//
// A run is a script: lines that build the layers, then lines of operations. What is generated is
// written down in the same form, so that every run can be replayed and shrunk.
#pragma once
#include <fcntl.h>
#include <sys/stat.h>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

using Args = std::vector<std::string>;
using Bytes = std::string;

constexpr int SLOTS = 6;
constexpr long FRESH = 1500000000;  // mtimes below are set explicitly, above they are "now"

/** One side of the comparison: a root directory and the files held open in it. */
struct Side {
  std::string dir;
  bool oracle = false;
  int root = -1;
  int slots[SLOTS] = {-1, -1, -1, -1, -1, -1};
  void openRoot();
  void closeAll();
};

/** What one operation gave: both sides must agree on all of it. */
struct Result {
  long rc = 0;
  int err = 0;
  Bytes data;
  std::vector<struct statx> stats;  // compared as inodes: see compareInode
};

struct Random {
  uint64_t state;
  explicit Random(uint64_t seed) : state(seed * 0x9e3779b97f4a7c15ull + 0x1234567) {}
  uint64_t next();
  long below(long n) { return static_cast<long>(next() % static_cast<uint64_t>(n)); }
  bool chance(long percent) { return below(100) < percent; }
  template <class T> const T& pick(const std::vector<T>& from) { return from[below(from.size())]; }
};

/** A difference between the sides: `kind` is one word that survives shrinking. */
struct Difference {
  std::string kind;
  std::string text;
  explicit operator bool() const { return !kind.empty(); }
};

// ---- text.cc: escaping, numbers, file content
std::string escape(const Bytes& raw);
Bytes unescape(const std::string& text);
Args split(const std::string& line);
Bytes pattern(long seed, size_t length);
std::string errnoName(int err);
std::string format(const char* form, ...) __attribute__((format(printf, 1, 2)));

// ---- tree.cc: snapshots of a whole tree
struct Node {
  std::string path;
  struct statx stat;
  uint64_t entryIno = 0;
  unsigned entryType = 0;
  Bytes content;  // of a regular file; target of a symlink
  std::map<Bytes, Bytes> xattrs;
  std::string problem;
};
using Tree = std::vector<Node>;

/** Every object under `root`, sorted by path; the root itself is ".". */
Tree snapshot(int root);
/** A text that changes when anything in the tree does (atime aside). */
std::string signature(const std::string& dir);
std::map<Bytes, Bytes> readXattrs(const std::string& procPath);
int statAt(int dir, const std::string& path, int flags, struct statx* out);
bool isInternal(const Bytes& xattr);

/** What is remembered of inodes over a run: oracle's inode -> the union's st_ino, hidden links. */
struct Identity {
  using Key = std::pair<uint64_t, uint64_t>;  // oracle's st_ino and birth time
  std::map<Key, uint64_t> ino;
  std::map<Key, unsigned> hiddenLinks;
  uint64_t device = 0;
  std::set<std::string> ignored;  // kinds of difference that don't count
  static Key keyOf(const struct statx& s);
};
Difference compareInode(const std::string& what, const struct statx& o, const struct statx& u, Identity& id);
Difference compareTrees(const Tree& oracle, const Tree& unionTree, Identity& id);

// ---- layers.cc: lower layers, and the merged tree as the oracle's first state
std::vector<std::string> generateLayers(Random& random, int count, bool hardLinks);
/** Builds l0, l1, … in `base` from layer lines ("0 dir a 755 …"). */
void buildLayers(const std::string& base, int count, const std::vector<std::string>& lines);
/** `tidy` removes the whiteouts that hide nothing, which the kernel's overlayfs would list. */
void mergeLayers(const std::string& base, int count, Side& oracle, Identity& id, bool tidy);

// ---- ops.cc: what each verb does on one side
struct Verb {
  const char* name;
  Result (*run)(Side&, const Args&);
  unsigned pathArgs;  // bit i: argument i is a path worth a stat afterwards
};
const Verb* findVerb(const std::string& name);
/** The oracle's arguments, made wrong on purpose when `mutation` names this verb. */
Args mutate(const std::string& mutation, const std::string& verb, const Args& args);
void setUser(int uid);

// ---- generate.cc: the next operation, chosen by what the oracle holds
struct Known {
  std::vector<std::string> all, files, directories, leaves;
  std::vector<int> openFiles, openDirectories;  // slots
  void learn(const Tree& tree);
  void learnSlots(const Side& oracle);
  void add(const std::string& path, mode_t mode);
};
std::string generateOp(Random& random, const Known& known);

// ---- mount.cc: the union under test
struct Mount {
  std::string driver;            // "kernel" or the path of bin/mica
  std::string base;              // holds l0…, upper, work, mnt
  int layers = 1;
  std::vector<std::string> options;
  std::string point() const { return base + "/mnt"; }
  std::string mount() const;     // "" or what went wrong
  /** By mica's command, which waits for the daemon; or by umount(2), which does not. */
  std::string unmount(bool byCommand) const;
  /** Makes the kernel forget what it has cached of names: the next lookups are cold. */
  void dropDentries() const;
  std::string mountKernel(const std::string& point, const std::string& work) const;
};
