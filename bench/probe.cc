// The measuring loops of the benchmarks, so that the client of a mount costs as little as it can.
//
//   probe COMMAND ARGUMENT…      one measured loop; prints one line of JSON on stdout
//
// Names and buffers are made before the clock starts. One reading of the clock per operation: it ends
// one operation and starts the next. An unexpected result ends the program with status 1, as a figure
// for something that did not happen is worse than none. `make-tree`, `make-file` and `warm` measure
// nothing; they build and touch what is measured.
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace {

using Names = std::vector<std::string>;

[[noreturn]] void fail(const std::string& what, int error = errno) {
  fprintf(stderr, "probe: %s: %s\n", what.c_str(), strerror(error));
  exit(1);
}

[[noreturn]] void wrong(const std::string& what) {
  fprintf(stderr, "probe: %s\n", what.c_str());
  exit(1);
}

uint64_t now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return uint64_t(t.tv_sec) * 1000000000u + uint64_t(t.tv_nsec);
}

size_t number(const char* text) {
  char* end;
  const unsigned long long value = strtoull(text, &end, 10);
  if (*text == 0 || *end != 0) wrong(std::string("not a number: ") + text);
  return value;
}

// ns: wall time by operations, whatever the number of threads; the others are of single operations.
void report(uint64_t ns, size_t ops, std::vector<uint32_t> each) {
  printf("{\"ops\":%zu,\"ns\":%.1f", ops, double(ns) / double(ops));
  if (!each.empty()) {
    std::sort(each.begin(), each.end());
    const auto at = [&](double part) { return each[size_t(part * double(each.size() - 1))]; };
    printf(",\"p50\":%u,\"p99\":%u,\"max\":%u", at(0.5), at(0.99), each.back());
  }
  printf("}\n");
}

std::string directoryName(size_t i) {
  char text[32];
  snprintf(text, sizeof text, "d%04zu", i);
  return text;
}

std::string fileName(const char* stem, size_t directory, size_t file) {
  char text[64];
  snprintf(text, sizeof text, "d%04zu/%s-%04zu.conf", directory, stem, file);
  return text;
}

Names fileNames(const char* stem, size_t directories, size_t files) {
  Names names;
  names.reserve(directories * files);
  for (size_t d = 0; d < directories; d++)
    for (size_t f = 0; f < files; f++) names.push_back(fileName(stem, d, f));
  return names;
}

void enter(const char* root) {
  if (chdir(root) != 0) fail(root);
}

// Does `work(i)` for each i below `count`, each thread a run of its own, all starting together.
void measure(size_t count, size_t threads, const std::function<void(size_t)>& work) {
  std::vector<std::vector<uint32_t>> each(threads);
  std::vector<uint64_t> begins(threads), ends(threads);
  std::atomic<size_t> ready{0};
  const auto run = [&](size_t t) {
    const size_t first = count * t / threads, last = count * (t + 1) / threads;
    each[t].assign(last - first, 0);
    ready++;
    while (ready < threads) std::this_thread::yield();
    uint64_t before = begins[t] = now();
    for (size_t i = first; i < last; i++) {
      work(i);
      const uint64_t after = now();
      each[t][i - first] = uint32_t(std::min<uint64_t>(after - before, UINT32_MAX));
      before = after;
    }
    ends[t] = before;
  };
  std::vector<std::thread> others;
  for (size_t t = 1; t < threads; t++) others.emplace_back(run, t);
  run(0);
  for (auto& other : others) other.join();
  std::vector<uint32_t> all;
  for (auto& part : each) all.insert(all.end(), part.begin(), part.end());
  const uint64_t begin = *std::min_element(begins.begin(), begins.end());
  report(*std::max_element(ends.begin(), ends.end()) - begin, count, std::move(all));
}

// --- what is measured -------------------------------------------------------------------------

// ROOT DIRECTORIES FILES THREADS: stat of every file.
void statAll(char** a) {
  enter(a[0]);
  const Names names = fileNames("entry", number(a[1]), number(a[2]));
  measure(names.size(), number(a[3]), [&](size_t i) {
    struct stat st;
    if (fstatat(AT_FDCWD, names[i].c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) fail(names[i]);
  });
}

// ROOT DIRECTORIES FILES THREADS: stat of as many names that are nowhere.
void missing(char** a) {
  enter(a[0]);
  const Names names = fileNames("absent", number(a[1]), number(a[2]));
  measure(names.size(), number(a[3]), [&](size_t i) {
    struct stat st;
    if (fstatat(AT_FDCWD, names[i].c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0) wrong(names[i] + " is there");
    if (errno != ENOENT) fail(names[i]);
  });
}

// As fts(3) does it: a directory's names first, then their attributes.
size_t walkFrom(int parent, const char* name) {
  const int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) fail(name);
  DIR* dir = fdopendir(fd);
  if (dir == nullptr) fail(name);
  std::vector<std::string> names;
  while (const dirent* entry = readdir(dir)) {
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) names.push_back(entry->d_name);
  }
  size_t count = names.size();
  for (const std::string& each : names) {
    struct stat st;
    if (fstatat(fd, each.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) fail(each);
    if (S_ISDIR(st.st_mode)) count += walkFrom(fd, each.c_str());
  }
  closedir(dir);
  return count;
}

// ROOT COUNT: find with attributes, as find(1), du(1) and ls -lR do it.
void walk(char** a) {
  const uint64_t begin = now();
  const size_t count = walkFrom(AT_FDCWD, a[0]);
  const uint64_t end = now();
  if (count != number(a[1])) wrong(std::to_string(count) + " entries found, not " + a[1]);
  report(end - begin, count, {});
}

// DIRECTORY COUNT: names alone.
void readDirectory(char** a) {
  const uint64_t begin = now();
  DIR* dir = opendir(a[0]);
  if (dir == nullptr) fail(a[0]);
  size_t count = 0;
  while (readdir(dir) != nullptr) count++;
  closedir(dir);
  const uint64_t end = now();
  if (count != number(a[1]) + 2) wrong(std::to_string(count) + " names found, not " + a[1] + " and two dots");
  report(end - begin, count, {});
}

// ROOT DIRECTORIES FILES BYTES THREADS: open, read, close.
void openRead(char** a) {
  enter(a[0]);
  const Names names = fileNames("entry", number(a[1]), number(a[2]));
  const size_t bytes = number(a[3]);
  measure(names.size(), number(a[4]), [&](size_t i) {
    static thread_local char buffer[65536];
    const int fd = open(names[i].c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) fail(names[i]);
    const ssize_t got = read(fd, buffer, sizeof buffer);
    if (got < 0) fail(names[i]);
    if (size_t(got) != bytes) wrong(names[i] + ": wrong length");
    close(fd);
  });
}

size_t sizeOf(int fd) {
  struct stat st;
  if (fstat(fd, &st) != 0) fail("fstat");
  return size_t(st.st_size);
}

// FILE BLOCK: from the beginning to the end.
void readWhole(char** a) {
  const size_t block = number(a[1]);
  const int fd = open(a[0], O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail(a[0]);
  const size_t blocks = sizeOf(fd) / block;
  std::vector<char> buffer(block, 1);
  measure(blocks, 1, [&](size_t) {
    if (read(fd, buffer.data(), block) != ssize_t(block)) fail(a[0]);
  });
}

// FILE COUNT: 4 KiB each, at places that are the same in every run.
void readRandom(char** a) {
  const int fd = open(a[0], O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail(a[0]);
  const size_t pages = sizeOf(fd) / 4096, count = number(a[1]);
  std::vector<off_t> places(count);
  uint64_t seed = 88172645463325252u;
  for (auto& place : places) {
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    place = off_t(seed % pages) * 4096;
  }
  char buffer[4096];
  measure(count, 1, [&](size_t i) {
    if (pread(fd, buffer, sizeof buffer, places[i]) != sizeof buffer) fail(a[0]);
  });
}

// FILE: one byte of each page of a mapping.
void readMapped(char** a) {
  const int fd = open(a[0], O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail(a[0]);
  const size_t bytes = sizeOf(fd);
  const uint64_t begin = now();
  void* map = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
  if (map == MAP_FAILED) fail(a[0]);
  const volatile char* p = static_cast<char*>(map);
  unsigned sum = 0;
  for (size_t i = 0; i < bytes; i += 4096) sum += static_cast<unsigned char>(p[i]);
  munmap(map, bytes);
  const uint64_t end = now();
  if (sum == 0) wrong("the file is all zeros");
  report(end - begin, bytes / 4096, {});
}

// FILE BLOCK BYTES: a new file, written and closed; taken away after the clock has stopped.
void writeNew(char** a) {
  const size_t block = number(a[1]), blocks = number(a[2]) / block;
  const std::vector<char> buffer(block, 7);
  const uint64_t begin = now();
  const int fd = open(a[0], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) fail(a[0]);
  for (size_t i = 0; i < blocks; i++)
    if (write(fd, buffer.data(), block) != ssize_t(block)) fail(a[0]);
  if (close(fd) != 0) fail(a[0]);
  const uint64_t end = now();
  struct stat st;
  if (stat(a[0], &st) != 0 || size_t(st.st_size) != block * blocks) wrong("not all was written");
  if (unlink(a[0]) != 0) fail(a[0]);
  report(end - begin, blocks, {});
}

// ROOT DIRECTORIES FILES THREADS: new empty files in directories that are there.
void create(char** a) {
  enter(a[0]);
  const Names names = fileNames("new", number(a[1]), number(a[2]));
  measure(names.size(), number(a[3]), [&](size_t i) {
    const int fd = open(names[i].c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0) fail(names[i]);
    close(fd);
  });
}

// ROOT DIRECTORIES FILES THREADS: what create made.
void unlinkAll(char** a) {
  enter(a[0]);
  const Names names = fileNames("new", number(a[1]), number(a[2]));
  measure(names.size(), number(a[3]), [&](size_t i) {
    if (unlink(names[i].c_str()) != 0) fail(names[i]);
  });
}

// Opens for writing, writes a byte and closes: some copy a lower file up at the open, some at the write.
void change(const char* name) {
  const int fd = open(name, O_RDWR | O_CLOEXEC);
  if (fd < 0) fail(name);
  if (pwrite(fd, "x", 1, 0) != 1) fail(name);
  if (close(fd) != 0) fail(name);
}

// ROOT DIRECTORIES FILES: copy-up of every file.
void copyUp(char** a) {
  enter(a[0]);
  const Names names = fileNames("entry", number(a[1]), number(a[2]));
  measure(names.size(), 1, [&](size_t i) { change(names[i].c_str()); });
}

// FILE: the same for one.
void copyUpOne(char** a) {
  measure(1, 1, [&](size_t) { change(a[0]); });
}

// ROOT DIRECTORIES FILES: another mode for each file.
void changeMode(char** a) {
  enter(a[0]);
  const Names names = fileNames("entry", number(a[1]), number(a[2]));
  measure(names.size(), 1, [&](size_t i) {
    if (chmod(names[i].c_str(), 0600) != 0) fail(names[i]);
  });
}

size_t removeBelow(int parent, const char* name) {
  const int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) fail(name);
  DIR* dir = fdopendir(fd);
  if (dir == nullptr) fail(name);
  size_t count = 0;
  while (const dirent* entry = readdir(dir)) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (entry->d_type == DT_DIR) {
      count += removeBelow(fd, entry->d_name);
    } else {
      if (unlinkat(fd, entry->d_name, 0) != 0) fail(entry->d_name);
      count++;
    }
  }
  closedir(dir);
  if (unlinkat(parent, name, AT_REMOVEDIR) != 0) fail(name);
  return count + 1;
}

// DIRECTORY COUNT: rm -r.
void removeTree(char** a) {
  const uint64_t begin = now();
  const size_t count = removeBelow(AT_FDCWD, a[0]);
  const uint64_t end = now();
  if (count != number(a[1])) wrong(std::to_string(count) + " entries removed, not " + a[1]);
  if (access(a[0], F_OK) == 0) wrong("still there");
  report(end - begin, count, {});
}

// FROM TO CHECK: one rename; CHECK is a path below TO that must then be there.
void renameOne(char** a) {
  const uint64_t begin = now();
  const int result = rename(a[0], a[1]);
  const uint64_t end = now();
  if (result != 0) fail("rename");
  struct stat st;
  if (lstat(a[2], &st) != 0) fail(a[2]);
  report(end - begin, 1, {});
}

// DIRECTORY COUNT CHECK PROGRAM ARGUMENT…: runs a program COUNT times, output thrown away. CHECK: a path
// that must answer stat in the measured time, or "-". What the program says on stderr is passed on.
void spawn(char** a) {
  enter(a[0]);
  const bool isChecked = strcmp(a[2], "-") != 0;
  measure(number(a[1]), 1, [&](size_t) {
    const pid_t child = fork();
    if (child < 0) fail("fork");
    if (child == 0) {
      const int null = open("/dev/null", O_RDWR);
      dup2(null, 0);
      dup2(null, 1);
      execvp(a[3], a + 3);
      fail(a[3]);
    }
    int status;
    while (waitpid(child, &status, 0) < 0)
      if (errno != EINTR) fail("waitpid");
    if (status != 0) wrong(std::string(a[3]) + ": status " + std::to_string(status));
    struct stat st;
    if (isChecked && stat(a[2], &st) != 0) fail(a[2]);
  });
}

// --- what is built and touched ----------------------------------------------------------------

void fill(int fd, size_t bytes, unsigned seed) {
  std::vector<unsigned char> block(std::min<size_t>(bytes, 1 << 20));
  for (auto& byte : block) byte = static_cast<unsigned char>((seed = seed * 1103515245u + 12345u) >> 16) | 1;
  for (size_t done = 0; done < bytes;) {
    const ssize_t n = write(fd, block.data(), std::min(block.size(), bytes - done));
    if (n < 0) fail("write");
    done += size_t(n);
  }
}

// ROOT DIRECTORIES FILES BYTES COUNT INDEX: all directories, and every COUNTth file from INDEX on.
void makeTree(char** a) {
  const size_t directories = number(a[1]), files = number(a[2]), bytes = number(a[3]);
  const size_t count = number(a[4]), index = number(a[5]);
  if (mkdir(a[0], 0755) != 0 && errno != EEXIST) fail(a[0]);
  enter(a[0]);
  for (size_t d = 0; d < directories; d++) {
    if (mkdir(directoryName(d).c_str(), 0755) != 0) fail(directoryName(d));
    for (size_t f = 0; f < files; f++) {
      if ((d * files + f) % count != index) continue;
      const std::string name = fileName("entry", d, f);
      const int fd = open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
      if (fd < 0) fail(name);
      if (bytes > 0) fill(fd, bytes, unsigned(d * files + f));
      close(fd);
    }
  }
}

// FILE BYTES
void makeFile(char** a) {
  const int fd = open(a[0], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) fail(a[0]);
  fill(fd, number(a[1]), 1);
  if (fsync(fd) != 0) fail(a[0]);
  close(fd);
}

void warmBelow(int parent, const char* name, std::vector<char>& buffer) {
  const int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) fail(name);
  DIR* dir = fdopendir(fd);
  if (dir == nullptr) fail(name);
  while (const dirent* entry = readdir(dir)) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    struct stat st;
    if (fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) fail(entry->d_name);
    if (S_ISDIR(st.st_mode)) warmBelow(fd, entry->d_name, buffer);
    if (!S_ISREG(st.st_mode) || st.st_size == 0) continue;
    const int file = openat(fd, entry->d_name, O_RDONLY | O_CLOEXEC);
    if (file < 0) fail(entry->d_name);
    while (read(file, buffer.data(), buffer.size()) > 0) continue;
    close(file);
  }
  closedir(dir);
}

// DIRECTORY…: brings names, attributes and contents into the kernel's caches.
void warm(char** a) {
  std::vector<char> buffer(1 << 20);
  for (; *a != nullptr; a++) warmBelow(AT_FDCWD, *a, buffer);
}

struct Command {
  const char* name;
  int arguments;  // at least as many
  void (*run)(char**);
};

constexpr Command commands[] = {
    {"stat", 4, statAll},          {"missing", 4, missing},         {"walk", 2, walk},
    {"readdir", 2, readDirectory}, {"open-read", 5, openRead},      {"read", 2, readWhole},
    {"read-random", 2, readRandom}, {"read-mapped", 1, readMapped}, {"write", 3, writeNew},
    {"create", 4, create},         {"unlink", 4, unlinkAll},        {"copy-up", 3, copyUp},
    {"copy-up-one", 1, copyUpOne}, {"chmod", 3, changeMode},        {"remove", 2, removeTree},
    {"rename", 3, renameOne},      {"spawn", 4, spawn},             {"make-tree", 6, makeTree},
    {"make-file", 2, makeFile},    {"warm", 1, warm},
};

}  // namespace

int main(int argc, char** argv) {
  for (const Command& command : commands) {
    if (argc < 2 || strcmp(argv[1], command.name) != 0) continue;
    if (argc - 2 < command.arguments) wrong(std::string(argv[1]) + ": too few arguments");
    command.run(argv + 2);
    return 0;
  }
  wrong("unknown command");
}
