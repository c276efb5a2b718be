// Chooses the next operation: mostly on names that the oracle has, sometimes on any name.
#include <algorithm>
#include "model.h"

static const std::vector<std::string> NAMES = {"a", "b", "c", "d", "e", "f", "g"};
static const std::vector<long> LENGTHS = {1, 10, 100, 4095, 4096, 5000, 20000, 70000, 200000};
static const std::vector<long> OFFSETS = {0, 0, 1, 100, 4096, 5000, 150000, 1000000};
static const std::vector<std::string> MODES = {"644", "600", "666", "755", "4755", "2755", "6777", "0", "444", "1644"};
static const std::vector<std::string> DIR_MODES = {"755", "777", "700", "1777", "2775", "555", "2777"};
static const std::vector<std::string> XATTRS = {"user.n0", "user.n1", "user.n2", "user.dir", "trusted.own",
                                                "user.%ff%fe"};
static const std::vector<std::string> OWNERS = {"0 0", "1000 1000", "1001 2000", "1000 2000", "0 1000"};

void Known::learn(const Tree& tree) {
  all.clear(), files.clear(), directories.clear(), leaves.clear();
  for (const Node& node : tree) add(node.path, node.stat.stx_mode);
}

void Known::learnSlots(const Side& oracle) {
  openFiles.clear(), openDirectories.clear();
  for (int i = 0; i < SLOTS; i++) {
    struct stat s;
    if (oracle.slots[i] < 0 || fstat(oracle.slots[i], &s) < 0) continue;
    (S_ISDIR(s.st_mode) ? openDirectories : openFiles).push_back(i);
  }
}

void Known::add(const std::string& path, mode_t mode) {
  if (path != ".") all.push_back(path);
  if (S_ISDIR(mode)) directories.push_back(path);
  else leaves.push_back(path);
  if (S_ISREG(mode)) files.push_back(path);
}

struct Chooser {
  Random& r;
  const Known& known;

  std::string fresh() {
    std::string path = anyName();
    for (int i = 0; i < 3 && std::count(known.all.begin(), known.all.end(), path); i++) path = anyName();
    return path;
  }
  std::string anyName() {
    std::string dir = r.pick(known.directories);
    std::string name = r.pick(NAMES);
    if (r.chance(2)) name = std::string(255, 'L');
    if (r.chance(2)) name = "n\xff\xfe \n";
    int depth = std::count(dir.begin(), dir.end(), '/');
    return dir == "." || depth > 4 ? name : dir + "/" + name;
  }
  std::string some(const std::vector<std::string>& from) {
    return from.empty() || r.chance(12) ? fresh() : r.pick(from);
  }
  std::string file() { return escape(some(r.chance(90) ? known.files : known.all)); }
  std::string any() { return escape(r.chance(1) ? "." : some(known.all)); }
  std::string directory() { return escape(some(r.chance(90) ? known.directories : known.all)); }
  std::string target() { return escape(r.chance(65) ? fresh() : some(known.all)); }
  std::string time() { return format("%ld.%09ld", 1100000000 + r.below(99999999), r.below(1000000000)); }
  std::string data() { return format("%ld %ld", r.below(10000), r.pick(LENGTHS)); }
  std::string offset() { return format("%ld", r.pick(OFFSETS)); }
  std::string slot() { return format("%ld", r.below(SLOTS)); }
  std::string slotOf(const std::vector<int>& open) {
    return open.empty() || r.chance(3) ? slot() : format("%d", r.pick(open));
  }
  std::string fileSlot() { return slotOf(known.openFiles); }
  std::string dirSlot() { return slotOf(known.openDirectories); }
  std::string leaf() { return escape(some(r.chance(90) ? known.leaves : known.all)); }
  std::string xattr() { return unescape(r.pick(XATTRS)); }
  std::string falloc() {
    static const std::vector<long> kinds = {0, 1, 3, 3, 16, 17};
    return format("%ld %ld %ld", r.pick(kinds), r.pick(OFFSETS), r.pick(LENGTHS));
  }
  std::string openHow() {
    static const std::vector<std::string> how = {"r", "r", "r", "w", "b", "b", "ba", "wt", "bc", "bcx", "wct", "rd"};
    return r.pick(how);
  }
};

using Make = std::string (*)(Chooser&);
struct Choice {
  int weight;
  Make make;
};

#define MAKE(expression) [](Chooser& c) -> std::string { return expression; }
static const Choice CHOICES[] = {
    {90, MAKE("creat " + (c.r.chance(75) ? c.target() : c.file()) + (c.r.chance(30) ? " x " : c.r.chance(30) ? " t " : " n ") +
              c.r.pick(MODES) + " " + c.data())},
    {70, MAKE("write " + c.file() + " " + c.offset() + " " + c.data())},
    {30, MAKE("append " + c.file() + " " + c.data())},
    {40, MAKE("trunc " + c.file() + " " + c.offset())},
    {20, MAKE("otrunc " + c.file())},
    {20, MAKE("read " + c.any())},
    {60, MAKE("mkdir " + c.target() + " " + c.r.pick(DIR_MODES))},
    {40, MAKE("rmdir " + c.directory())},
    {60, MAKE("unlink " + c.leaf())},
    {14, MAKE("rmtree " + c.directory())},
    {30, MAKE("symlink " + c.target() + " " + c.r.pick(NAMES))},
    {55, MAKE("link " + c.file() + " " + c.target() + (c.r.chance(20) ? " 1" : " 0"))},
    {75, MAKE("rename " + c.any() + " " + c.target() + " 0")},
    {40, MAKE("rename " + c.directory() + " " + c.target() + " 0")},
    {15, MAKE("rename " + c.any() + " " + c.target() + " 1")},
    {25, MAKE("rename " + c.any() + " " + c.any() + " 2")},
    {10, MAKE("mknod " + c.target() + (c.r.chance(50) ? " 10644 0 0" : c.r.chance(50) ? " 20600 1 5" : " 140600 0 0"))},
    {45, MAKE("chmod " + c.any() + " " + c.r.pick(c.r.chance(50) ? MODES : DIR_MODES))},
    {30, MAKE("chown " + c.any() + " " + c.r.pick(OWNERS))},
    {35, MAKE("utimes " + c.any() + " " + c.time() + (c.r.chance(50) ? " 1" : " 0"))},
    {40, MAKE("setxattr " + c.any() + " " + escape(c.xattr()) + format(" v%ld ", c.r.below(99)) +
              (c.r.chance(20) ? "1" : c.r.chance(20) ? "2" : "0"))},
    {3, MAKE("setxattr " + c.file() + " security.capability %01%00%00%02%00%04%00%00%00%00%00%00%00%00%00%00%00%00%00%00 0")},
    {25, MAKE("rmxattr " + c.any() + " " + escape(c.xattr()))},
    {10, MAKE("acl " + c.any() + " access " + format("%ld", c.r.below(64)))},
    {10, MAKE("acl " + c.directory() + " default " + format("%ld", c.r.below(64)))},
    {20, MAKE("falloc " + c.file() + " " + c.falloc())},
    {20, MAKE("cfr " + c.file() + " " + c.file() + " " + c.offset() + " " + c.offset() + format(" %ld", c.r.pick(LENGTHS)))},
    {20, MAKE("mmapw " + c.file() + " " + c.offset() + " " + c.data())},
    {15, MAKE("tmpfile " + c.directory() + " " + c.r.pick(MODES) + " " + c.data() + " " + (c.r.chance(60) ? c.target() : "%"))},
    {15, MAKE("list " + c.directory())},
    {15, MAKE("stat " + c.any())},
    {5, MAKE("readlink " + c.leaf())},
    {10, MAKE("access " + c.any() + format(" %ld", c.r.below(8)))},
    {4, MAKE(std::string("umask ") + (c.r.chance(50) ? "22" : c.r.chance(50) ? "0" : "77"))},
    {70, MAKE("open " + c.slot() + " " + c.file() + " " + c.openHow() + " " + c.r.pick(MODES))},
    {15, MAKE("open " + c.slot() + " " + c.directory() + " rd 0")},
    {20, MAKE(std::string("close ") + (c.r.chance(60) ? c.fileSlot() : c.dirSlot()))},
    {30, MAKE("fwrite " + c.fileSlot() + " " + c.offset() + " " + c.data())},
    {40, MAKE("fread " + c.fileSlot() + " " + c.offset() + format(" %ld", c.r.pick(LENGTHS)))},
    {30, MAKE(std::string("fstat ") + (c.r.chance(75) ? c.fileSlot() : c.dirSlot()))},
    {15, MAKE("ftrunc " + c.fileSlot() + " " + c.offset())},
    {10, MAKE(std::string("fchmod ") + (c.r.chance(75) ? c.fileSlot() : c.dirSlot()) + " " + c.r.pick(MODES))},
    {6, MAKE("fchown " + c.fileSlot() + " " + c.r.pick(OWNERS))},
    {8, MAKE("futimes " + c.fileSlot() + " " + c.time())},
    {10, MAKE("ffalloc " + c.fileSlot() + " " + c.falloc())},
    {5, MAKE("fsync " + c.fileSlot())},
    {10, MAKE("fsetxattr " + c.fileSlot() + " " + escape(c.xattr()) + format(" w%ld", c.r.below(99)))},
    {5, MAKE("frmxattr " + c.fileSlot() + " " + escape(c.xattr()))},
    {12, MAKE("fmmapw " + c.fileSlot() + " " + c.offset() + " " + c.data())},
    {10, MAKE("fcfr " + c.fileSlot() + " " + c.fileSlot() + " " + c.offset() + " " + c.offset() + format(" %ld", c.r.pick(LENGTHS)))},
    {15, MAKE("flist " + c.dirSlot())},
    {10, MAKE("flink " + c.fileSlot() + " " + c.target())},
    {12, MAKE("at-creat " + c.dirSlot() + " " + c.r.pick(NAMES) + " 644")},
    {6, MAKE("at-mkdir " + c.dirSlot() + " " + c.r.pick(NAMES) + " 755")},
    {8, MAKE("at-unlink " + c.dirSlot() + " " + c.r.pick(NAMES))},
    {8, MAKE("at-stat " + c.dirSlot() + " " + c.r.pick(NAMES))},
};

std::string generateOp(Random& random, const Known& known) {
  Chooser chooser{random, known};
  int total = 0;
  for (const Choice& choice : CHOICES) total += choice.weight;
  // A tree that has grown large is cut back, so that each comparison stays cheap.
  if (known.all.size() > 110 && random.chance(8)) return "0 rmtree " + chooser.directory();
  long at = random.below(total);
  for (const Choice& choice : CHOICES) {
    if ((at -= choice.weight) >= 0) continue;
    const char* user = random.chance(88) ? "0 " : "1000 ";
    return user + choice.make(chooser);
  }
  return "0 list .";
}
