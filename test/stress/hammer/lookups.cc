// Cold lookups by several processes while the kernel is made to forget all it knew again and again:
// inodes are made and freed at the highest rate there is, by all workers at once.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "hammer.h"

static const int FOLDERS = 8;
static const int FILES = 400;

static std::string folderName(int folder) {
  return "many" + std::to_string(folder);
}

static std::string fileName(int folder, int file) {
  return folderName(folder) + "/" + std::string(static_cast<size_t>(1 + file * 7 % 57), 'n') + std::to_string(file);
}

/** The size tells the file: an answer that belongs to another one shows. */
static off_t sizeOf(int folder, int file) {
  return 1 + folder * FILES + file;
}

bool prepareLookups(int dir) {
  for (int folder = 0; folder < FOLDERS; folder++) {
    if (mkdirat(dir, folderName(folder).c_str(), 0755)) return false;
    for (int file = 0; file < FILES; file++) {
      int fd = openat(dir, fileName(folder, file).c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644);
      if (fd < 0 || ftruncate(fd, sizeOf(folder, file))) return false;
      close(fd);
    }
  }
  return true;
}

static bool look(int dir, Random* random) {
  int folder = static_cast<int>(random->below(FOLDERS)), file = static_cast<int>(random->below(FILES));
  std::string name = fileName(folder, file);
  struct stat s;
  if (fstatat(dir, name.c_str(), &s, AT_SYMLINK_NOFOLLOW) < 0) {
    fprintf(stderr, "stat of %s gives %s\n", name.c_str(), errnoName(errno).c_str());
    return false;
  }
  if (s.st_size == sizeOf(folder, file)) return true;
  fprintf(stderr, "stat of %s: size should be %ld, is %ld\n", name.c_str(), static_cast<long>(sizeOf(folder, file)),
          static_cast<long>(s.st_size));
  return false;
}

/** New files in a folder of the process's own, looked at under their own name at once. */
static bool make(int dir, int process, long number) {
  std::string name = ownDirectory(process) + "/new" + std::to_string(number);
  int fd = openat(dir, name.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0644);
  struct stat s;
  bool ok = fd >= 0 && write(fd, name.data(), name.size()) == static_cast<ssize_t>(name.size());
  ok = ok && fstatat(dir, name.c_str(), &s, 0) == 0 && s.st_size == static_cast<off_t>(name.size());
  ok = ok && unlinkat(dir, name.c_str(), 0) == 0 && fstat(fd, &s) == 0 && s.st_nlink == 0;
  if (!ok) fprintf(stderr, "create, write, stat or unlink of %s: %s\n", name.c_str(), errnoName(errno).c_str());
  if (fd >= 0) close(fd);
  return ok;
}

static double now() {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

/** Reconfiguring a file system empties its dentry cache: a FORGET for each unused inode follows. */
static void forgetAll(const char* mount, double end) {
  struct statvfs s;
  statvfs(mount, &s);
  unsigned long flags = MS_REMOUNT | (s.f_flag & ST_NODEV ? MS_NODEV : 0) | (s.f_flag & ST_NOSUID ? MS_NOSUID : 0) |
                        (s.f_flag & ST_RELATIME ? MS_RELATIME : 0);
  while (now() < end) {
    ::mount(nullptr, mount, nullptr, flags, nullptr);
    usleep(5000);
  }
}

int runLookups(int dir, int processes, double seconds, uint64_t seed, const char* mount) {
  double end = now() + seconds;
  for (int p = 0; p < processes; p++) {
    if (fork() != 0) continue;
    Random random(seed * 100 + static_cast<uint64_t>(p));
    long calls = 0;
    bool ok = true;
    for (; ok && now() < end; calls++) ok = calls % 8 ? look(dir, &random) : make(dir, p, calls);
    printf("process %d: %ld calls\n", p, calls);
    fflush(stdout);
    _exit(ok ? 0 : 1);
  }
  forgetAll(mount, end);
  int failed = 0, status;
  while (wait(&status) > 0) failed |= status != 0;
  return failed;
}
