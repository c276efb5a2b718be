// The calls, and what each must answer.
#include "hammer.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <algorithm>
#include <set>

static double now() {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

void Worker::wrong(const char* call, const std::string& name, const std::string& text) {
  failed = true;
  fprintf(stderr, "process %d, call %ld: %s of %s: %s\n", process, calls, call, name.c_str(), text.c_str());
}

/** `want`: the errno that must come, 0 for success. */
bool Worker::expect(const char* call, const std::string& name, long rc, int want) {
  int err = rc < 0 ? errno : 0;
  calls++;
  if (err != want) wrong(call, name, "should give " + errnoName(want) + ", gives " + errnoName(err));
  return err == 0 && want == 0;
}

Worker::Entry Worker::anyEntry() {
  std::string name = any();
  auto at = names.find(name);
  return {name, at == names.end() ? nullptr : at->second};
}

long Worker::linksOf(const std::shared_ptr<File>& file) const {
  return std::count_if(names.begin(), names.end(), [&](auto& entry) { return entry.second == file; });
}

std::shared_ptr<File> Worker::newFile() {
  auto file = std::make_shared<File>();
  file->seed = random.next();
  file->length = 1 + static_cast<size_t>(random.below(300));
  return file;
}

void Worker::checkFd(const char* call, const std::string& name, int fd, const File& file, long links) {
  struct stat s;
  calls++;
  if (fstat(fd, &s) < 0) return wrong(call, name, "fstat gives " + errnoName(errno));
  if (static_cast<long>(s.st_nlink) != links)
    wrong(call, name, "nlink should be " + std::to_string(links) + ", is " + std::to_string(s.st_nlink));
  if (static_cast<size_t>(s.st_size) != file.length)
    wrong(call, name, "size should be " + std::to_string(file.length) + ", is " + std::to_string(s.st_size));
  if (file.ino && s.st_ino != file.ino) wrong(call, name, "st_ino has changed");
  std::string block(file.length + 16, '\0');
  ssize_t n = pread(fd, block.data(), block.size(), 0);
  if (n < 0) return wrong(call, name, "pread gives " + errnoName(errno));
  block.resize(n);
  if (block != content(file.seed, file.length)) wrong(call, name, "the content is not the one written");
}

void Worker::create() {
  auto [name, old] = anyEntry();
  int fd = openat(dir, name.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0644);
  if (!expect("create", name, fd, old ? EEXIST : 0)) {
    if (fd >= 0) close(fd);
    return;
  }
  auto file = newFile();
  std::string bytes = content(file->seed, file->length);
  if (pwrite(fd, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    wrong("write", name, errnoName(errno));
  struct stat s;
  if (fstat(fd, &s) == 0) file->ino = s.st_ino;
  names[name] = file;
  checkFd("create", name, fd, *file, 1);
  close(fd);
}

void Worker::overwrite() {
  auto [name, file] = anyEntry();
  int fd = openat(dir, name.c_str(), O_RDWR | O_TRUNC | O_CLOEXEC);
  if (!expect("open for writing", name, fd, file ? 0 : ENOENT)) {
    if (fd >= 0) close(fd);
    return;
  }
  auto fresh = newFile();
  file->seed = fresh->seed;
  file->length = fresh->length;
  std::string bytes = content(file->seed, file->length);
  if (pwrite(fd, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    wrong("write", name, errnoName(errno));
  checkFd("overwrite", name, fd, *file, linksOf(file));
  close(fd);
}

void Worker::renameOver() {
  auto [from, file] = anyEntry();
  std::string to = any();
  long rc = renameat(dir, from.c_str(), dir, to.c_str());
  if (!expect("rename", from + " -> " + to, rc, file ? 0 : ENOENT) || from == to) return;
  auto at = names.find(to);
  if (at != names.end() && at->second == file) return;  // two names of one file: both stay
  names[to] = file;
  names.erase(from);
}

void Worker::linkName() {
  auto [from, file] = anyEntry();
  std::string to = any();
  // The kernel looks at the new name first only when the old one is there.
  int want = !file ? ENOENT : names.count(to) ? EEXIST : 0;
  if (expect("link", from + " -> " + to, linkat(dir, from.c_str(), dir, to.c_str(), 0), want)) names[to] = file;
}

void Worker::unlinkName() {
  auto [name, file] = anyEntry();
  if (expect("unlink", name, unlinkat(dir, name.c_str(), 0), file ? 0 : ENOENT)) names.erase(name);
}

void Worker::statName() {
  auto [name, file] = anyEntry();
  struct stat s;
  if (!expect("stat", name, fstatat(dir, name.c_str(), &s, AT_SYMLINK_NOFOLLOW), file ? 0 : ENOENT)) return;
  if (!file->ino) file->ino = s.st_ino;
  if (s.st_ino != file->ino) wrong("stat", name, "st_ino has changed");
  if (static_cast<size_t>(s.st_size) != file->length) wrong("stat", name, "the size is wrong");
  if (static_cast<long>(s.st_nlink) != linksOf(file)) wrong("stat", name, "nlink is " + std::to_string(s.st_nlink));
}

void Worker::openUnlink() {
  auto [name, file] = anyEntry();
  int fd = openat(dir, name.c_str(), O_RDONLY | O_CLOEXEC);
  if (!expect("open", name, fd, file ? 0 : ENOENT)) {
    if (fd >= 0) close(fd);
    return;
  }
  checkFd("open", name, fd, *file, linksOf(file));
  if (expect("unlink of an open file", name, unlinkat(dir, name.c_str(), 0), 0)) {
    names.erase(name);
    checkFd("fstat after unlink", name, fd, *file, linksOf(file));
  }
  close(fd);
}

void Worker::openRename() {
  auto [from, file] = anyEntry();
  std::string to = any();
  int fd = openat(dir, from.c_str(), O_RDONLY | O_CLOEXEC);
  if (!expect("open", from, fd, file ? 0 : ENOENT)) {
    if (fd >= 0) close(fd);
    return;
  }
  long rc = renameat(dir, from.c_str(), dir, to.c_str());
  if (expect("rename of an open file", from + " -> " + to, rc, 0) && from != to && names[to] != file) {
    names[to] = file;
    names.erase(from);
  }
  checkFd("read after rename", to, fd, *file, linksOf(file));
  close(fd);
}

/** Names that nobody changed during the scan are listed exactly once: all of this process's are such. */
void Worker::list() {
  listFolder("");
  listFolder(ownDirectory(process) + "/");
}

void Worker::listFolder(const std::string& folder) {
  int fd = openat(dir, (folder + ".").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (!expect("open of the directory", folder, fd, 0)) return;
  DIR* stream = fdopendir(fd);
  std::multiset<std::string> found;
  errno = 0;
  while (struct dirent* entry = readdir(stream)) found.insert(folder + entry->d_name);
  calls++;
  if (errno) wrong("readdir", folder, errnoName(errno));
  closedir(stream);
  for (int i = 0; i < OWN_NAMES; i++) {
    std::string name = ownName(process, i);
    bool isHere = name.rfind(folder, 0) == 0 && name.find('/', folder.size()) == std::string::npos;
    if (isHere && found.count(name) != names.count(name))
      wrong("readdir", name, "is listed " + std::to_string(found.count(name)) + " times");
  }
}

/** Common names: any of the outcomes that some order of the processes' calls could give. */
void Worker::common() {
  std::string name = commonName(static_cast<int>(random.below(COMMON_NAMES)));
  std::string other = commonName(static_cast<int>(random.below(COMMON_NAMES)));
  long rc = 0;
  int fd = -1, allowed = ENOENT;
  const char* call = "";
  switch (random.below(7)) {
    case 0:
      call = "create of a common name", allowed = EEXIST;
      rc = fd = openat(dir, name.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
      if (fd >= 0 && write(fd, content(7, 100).data(), 100) != 100) wrong(call, name, "write: " + errnoName(errno));
      break;
    case 1: call = "unlink of a common name", rc = unlinkat(dir, name.c_str(), 0); break;
    case 2: call = "rename of a common name", rc = renameat(dir, name.c_str(), dir, other.c_str()); break;
    case 3: {
      struct stat s;
      call = "stat of a common name", rc = fstatat(dir, name.c_str(), &s, 0);
      if (rc == 0 && s.st_size != 0 && s.st_size != 100) wrong(call, name, "size is " + std::to_string(s.st_size));
      break;
    }
    case 4: call = "chmod of a common name", rc = fchmodat(dir, name.c_str(), random.below(2) ? 0600 : 0644, 0); break;
    case 5: call = "open of a common name", rc = fd = openat(dir, name.c_str(), O_RDWR | O_CLOEXEC); break;
    default: {
      call = "read of a common name", rc = fd = openat(dir, name.c_str(), O_RDONLY | O_CLOEXEC);
      char block[128];
      ssize_t n = fd < 0 ? 0 : pread(fd, block, sizeof block, 0);
      if (n < 0) wrong(call, name, "pread: " + errnoName(errno));
      if (n > 0 && std::string(block, n) != content(7, 100)) wrong(call, name, "the content is not the one written");
      break;
    }
  }
  int err = rc < 0 ? errno : 0;
  calls++;
  if (err && err != allowed) wrong(call, name, "gives " + errnoName(err));
  if (fd >= 0) close(fd);
}

bool Worker::run(double seconds) {
  using Do = void (Worker::*)();
  static const Do actions[] = {&Worker::create,     &Worker::create,     &Worker::create,   &Worker::overwrite,
                               &Worker::renameOver, &Worker::renameOver, &Worker::linkName, &Worker::unlinkName,
                               &Worker::statName,   &Worker::statName,   &Worker::openUnlink, &Worker::openRename,
                               &Worker::common,     &Worker::common,     &Worker::common};
  double end = now() + seconds;
  for (long i = 0; !failed && now() < end; i++) {
    (this->*actions[random.below(sizeof actions / sizeof *actions)])();
    if (i % 500 == 499) list();
  }
  return !failed && checkAll();
}

bool Worker::checkAll() {
  for (int i = 0; i < OWN_NAMES; i++) {
    std::string name = ownName(process, i);
    auto at = names.find(name);
    int fd = openat(dir, name.c_str(), O_RDONLY | O_CLOEXEC);
    if (expect("last open", name, fd, at == names.end() ? ENOENT : 0))
      checkFd("last look", name, fd, *at->second, linksOf(at->second));
    if (fd >= 0) close(fd);
  }
  list();
  return !failed;
}
