// Several processes in one directory of a union (and one directory each), each checking its own names against an exact
// model after every call, and all of them racing for a few common names.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

constexpr int OWN_NAMES = 64;
constexpr int COMMON_NAMES = 6;

/** A file as it must be: its content follows from the seed; names that share it are hard links. */
struct File {
  uint64_t seed = 0;
  size_t length = 0;
  uint64_t ino = 0;
};
using Names = std::map<std::string, std::shared_ptr<File>>;

struct Random {
  uint64_t state;
  explicit Random(uint64_t seed) : state(seed * 0x9e3779b97f4a7c15ull + 0x7654321) {}
  uint64_t next();
  long below(long n) { return static_cast<long>(next() % static_cast<uint64_t>(n)); }
};

std::string content(uint64_t seed, size_t length);
std::string ownName(int process, int index);
std::string ownDirectory(int process);
std::string commonName(int index);
/** What the lower holds at first: every other name of each process, and every other common one. */
Names initialNames(int process);
std::string errnoName(int err);

bool prepareLookups(int dir);
/** Returns 0 when all answers were right. `mount`: the mount point, for making the kernel forget. */
int runLookups(int dir, int processes, double seconds, uint64_t seed, const char* mount);

/** One process's work; ends after `seconds` or with the first wrong answer, told on stderr. */
struct Worker {
  Worker(int dir, int process, uint64_t seed) : dir(dir), process(process), random(seed), names(initialNames(process)) {}
  bool run(double seconds);
  bool checkAll();

  int dir;
  int process;
  Random random;
  Names names;
  long calls = 0;
  bool failed = false;

 private:
  using Entry = std::pair<std::string, std::shared_ptr<File>>;
  std::string any() { return ownName(process, static_cast<int>(random.below(OWN_NAMES))); }
  Entry anyEntry();
  void wrong(const char* call, const std::string& name, const std::string& text);
  bool expect(const char* call, const std::string& name, long rc, int want);
  void checkFd(const char* call, const std::string& name, int fd, const File& file, long links);
  long linksOf(const std::shared_ptr<File>& file) const;
  std::shared_ptr<File> newFile();

  void create();
  void overwrite();
  void renameOver();
  void linkName();
  void unlinkName();
  void statName();
  void openUnlink();
  void openRename();
  void list();
  void listFolder(const std::string& folder);
  void common();
};
