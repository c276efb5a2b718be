// What each verb does on one side. The working directory is the side's root, the file system
// user is the operation's; every verb gives its errno and whatever it read.
#include <dirent.h>
#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <algorithm>
#include <functional>
#include "model.h"

void Side::openRoot() {
  root = open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

void Side::closeAll() {
  for (int& slot : slots) {
    if (slot >= 0) close(slot);
    slot = -1;
  }
  if (root >= 0) close(root);
  root = -1;
}

void setUser(int uid) {
  setfsgid(uid);
  setfsuid(uid);
}

static long number(const std::string& text) { return atol(text.c_str()); }
static mode_t modeOf(const std::string& text) { return static_cast<mode_t>(strtoul(text.c_str(), nullptr, 8)); }

static Result result(long rc) {
  Result out;
  out.rc = rc < 0 ? -1 : rc;
  out.err = rc < 0 ? errno : 0;
  return out;
}

/** Opens, does, closes; the result is the first failure's. */
static Result withFile(const char* path, int flags, mode_t mode, const std::function<Result(int)>& body) {
  int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK, mode);
  if (fd < 0) return result(-1);
  Result out = body(fd);
  int rc = close(fd);
  return rc < 0 && out.err == 0 ? result(rc) : out;
}

static Result putBytes(int fd, long offset, const Bytes& content) {
  // Of a pipe the kernel keeps no times in a FUSE file system (S_NOCMTIME, fs/fuse/inode.c:fuse_iget()).
  struct stat s;
  if (fstat(fd, &s) == 0 && S_ISFIFO(s.st_mode)) return Result();
  return result(offset < 0 ? write(fd, content.data(), content.size())
                           : pwrite(fd, content.data(), content.size(), offset));
}

static Result statOf(int rc, const struct statx& s) {
  Result out = result(rc);
  if (rc == 0) out.stats.push_back(s);
  return out;
}

static struct timespec timeOf(const std::string& text) {
  size_t dot = text.find('.');
  return {atol(text.c_str()), dot == std::string::npos ? 0 : atol(text.c_str() + dot + 1)};
}

static int openFlags(const std::string& letters) {
  int flags = 0;
  for (char c : letters) {
    switch (c) {
      case 'w': flags |= O_WRONLY; break;
      case 'b': flags |= O_RDWR; break;
      case 'c': flags |= O_CREAT; break;
      case 'x': flags |= O_EXCL; break;
      case 't': flags |= O_TRUNC; break;
      case 'a': flags |= O_APPEND; break;
      case 'd': flags |= O_DIRECTORY; break;
      case 'n': flags |= O_NOFOLLOW; break;
      default: break;
    }
  }
  return flags;
}

static Bytes aclValue(const std::string& variant) {
  struct Entry { uint16_t tag, perm; uint32_t id; };
  uint16_t bits = static_cast<uint16_t>(number(variant));
  Entry entries[] = {{1, 7, ~0u}, {2, static_cast<uint16_t>(bits & 7), 1000}, {4, 5, ~0u},
                     {16, static_cast<uint16_t>((bits >> 3) & 7), ~0u}, {32, 4, ~0u}};
  uint32_t version = 2;
  return Bytes(reinterpret_cast<char*>(&version), 4) + Bytes(reinterpret_cast<char*>(entries), sizeof entries);
}

static Result copyRange(int in, int out, long from, long to, long length) {
  off_t at = from, dest = to;
  long total = 0;
  while (total < length) {
    ssize_t n = copy_file_range(in, &at, out, &dest, length - total, 0);
    if (n < 0) return result(-1);
    if (n == 0) break;
    total += n;
  }
  return result(total);
}

static Result mapWrite(int fd, long offset, long seed, long length) {
  struct stat s;
  if (fstat(fd, &s) < 0) return result(-1);
  if (!S_ISREG(s.st_mode) || s.st_size == 0) return result(0);
  void* map = mmap(nullptr, s.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (map == MAP_FAILED) return result(-1);
  long at = offset % s.st_size, count = std::min<long>(length, s.st_size - at);
  Bytes content = pattern(seed, count);
  memcpy(static_cast<char*>(map) + at, content.data(), count);
  int rc = msync(map, s.st_size, MS_SYNC);
  munmap(map, s.st_size);
  return result(rc < 0 ? rc : count);
}

static Result listFd(int fd) {
  int again = dup(fd);
  DIR* dir = again < 0 ? nullptr : fdopendir(again);
  if (!dir) {
    Result out = result(-1);
    if (again >= 0) close(again);
    return out;
  }
  rewinddir(dir);
  std::vector<std::string> names;
  while (struct dirent* entry = readdir(dir)) names.push_back(escape(entry->d_name));
  closedir(dir);
  std::sort(names.begin(), names.end());
  Result out;
  for (const std::string& name : names) out.data += name + " ";
  return out;
}

/** Removes like rm -rf, in sorted order; the result is the last failure's. */
static Result removeTree(int dir, const std::string& name) {
  struct statx s;
  if (statAt(dir, name, AT_SYMLINK_NOFOLLOW, &s) < 0) return result(-1);
  if (!S_ISDIR(s.stx_mode)) return result(unlinkat(dir, name.c_str(), 0));
  Result last;
  int fd = openat(dir, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd >= 0) {
    Result names = listFd(fd);
    for (const std::string& child : split(names.data)) {
      if (child == "." || child == "..") continue;
      Result one = removeTree(fd, child);
      if (one.err) last = one;
    }
    close(fd);
  }
  Result self = result(unlinkat(dir, name.c_str(), AT_REMOVEDIR));
  return self.err ? self : last;
}

static Result makeTemporary(Side&, const Args& a) {
  return withFile(a[0].c_str(), O_TMPFILE | O_RDWR, modeOf(a[1]), [&](int fd) {
    Result out = putBytes(fd, 0, pattern(number(a[2]), number(a[3])));
    if (out.err || a[4].empty()) return out;
    setUser(0);  // /proc/self/fd is the process's own, not the file system user's
    return result(linkat(AT_FDCWD, format("/proc/self/fd/%d", fd).c_str(), AT_FDCWD, a[4].c_str(), AT_SYMLINK_FOLLOW));
  });
}

static Result readFile(Side&, const Args& a) {
  return withFile(a[0].c_str(), O_RDONLY, 0, [&](int fd) {
    struct stat s;
    Result out;
    if (fstat(fd, &s) < 0 || !S_ISREG(s.st_mode)) return out;
    char block[65536];
    ssize_t n;
    while ((n = read(fd, block, sizeof block)) > 0) out.data.append(block, n);
    return n < 0 ? result(-1) : out;
  });
}

static Result openSlot(Side& side, const Args& a) {
  int& slot = side.slots[number(a[0])];
  if (slot >= 0) close(slot);
  slot = open(a[1].c_str(), openFlags(a[2]) | O_CLOEXEC | O_NONBLOCK, modeOf(a[3]));
  return result(slot < 0 ? -1 : 0);
}

static int slotOf(Side& side, const Args& a, size_t at = 0) { return side.slots[number(a.at(at))]; }

static Result readSlot(Side& side, const Args& a) {
  Bytes block(number(a[2]), '\0');
  ssize_t n = pread(slotOf(side, a), block.data(), block.size(), number(a[1]));
  Result out = result(n);
  if (n > 0) out.data = block.substr(0, n);
  return out;
}

// One row per verb: name, action, which arguments are paths to look at afterwards.
#define DO(expression) [](Side& s, const Args& a) -> Result { (void)s; (void)a; return expression; }
static const Verb VERBS[] = {
    {"creat", DO(withFile(a[0].c_str(), O_WRONLY | O_CREAT | openFlags(a[1]), modeOf(a[2]),
                          [&](int fd) { return putBytes(fd, -1, pattern(number(a[3]), number(a[4]))); })), 1},
    {"write", DO(withFile(a[0].c_str(), O_WRONLY, 0,
                          [&](int fd) { return putBytes(fd, number(a[1]), pattern(number(a[2]), number(a[3]))); })), 1},
    {"append", DO(withFile(a[0].c_str(), O_WRONLY | O_APPEND, 0,
                           [&](int fd) { return putBytes(fd, -1, pattern(number(a[1]), number(a[2]))); })), 1},
    {"trunc", DO(result(truncate(a[0].c_str(), number(a[1])))), 1},
    {"otrunc", DO(withFile(a[0].c_str(), O_WRONLY | O_TRUNC, 0, [](int) { return Result(); })), 1},
    {"read", readFile, 1},
    {"mkdir", DO(result(mkdir(a[0].c_str(), modeOf(a[1])))), 1},
    {"rmdir", DO(result(rmdir(a[0].c_str()))), 1},
    {"unlink", DO(result(unlink(a[0].c_str()))), 1},
    {"rmtree", DO(removeTree(AT_FDCWD, a[0])), 1},
    {"symlink", DO(result(symlink(a[1].c_str(), a[0].c_str()))), 1},
    {"link", DO(result(linkat(AT_FDCWD, a[0].c_str(), AT_FDCWD, a[1].c_str(),
                              number(a[2]) ? AT_SYMLINK_FOLLOW : 0))), 3},
    {"rename", DO(result(syscall(SYS_renameat2, AT_FDCWD, a[0].c_str(), AT_FDCWD, a[1].c_str(),
                                 (unsigned)number(a[2])))), 3},
    {"mknod", DO(result(mknod(a[0].c_str(), modeOf(a[1]), makedev(number(a[2]), number(a[3]))))), 1},
    {"chmod", DO(result(chmod(a[0].c_str(), modeOf(a[1])))), 1},
    {"chown", DO(result(lchown(a[0].c_str(), number(a[1]), number(a[2])))), 1},
    {"utimes", [](Side&, const Args& a) {
       struct timespec times[2] = {timeOf(a[1]), timeOf(a[1])};
       return result(utimensat(AT_FDCWD, a[0].c_str(), times, number(a[2]) ? AT_SYMLINK_NOFOLLOW : 0));
     }, 1},
    {"setxattr", DO(result(setxattr(a[0].c_str(), a[1].c_str(), a[2].data(), a[2].size(), number(a[3])))), 1},
    {"rmxattr", DO(result(removexattr(a[0].c_str(), a[1].c_str()))), 1},
    {"acl", [](Side&, const Args& a) {
       Bytes value = aclValue(a[2]);
       return result(setxattr(a[0].c_str(), ("system.posix_acl_" + a[1]).c_str(), value.data(), value.size(), 0));
     }, 1},
    {"falloc", DO(withFile(a[0].c_str(), O_RDWR, 0, [&](int fd) {
       return result(fallocate(fd, number(a[1]), number(a[2]), number(a[3])));
     })), 1},
    {"cfr", DO(withFile(a[0].c_str(), O_RDONLY, 0, [&](int in) {
       return withFile(a[1].c_str(), O_WRONLY, 0, [&](int out) {
         return copyRange(in, out, number(a[2]), number(a[3]), number(a[4]));
       });
     })), 3},
    {"mmapw", DO(withFile(a[0].c_str(), O_RDWR, 0, [&](int fd) {
       return mapWrite(fd, number(a[1]), number(a[2]), number(a[3]));
     })), 1},
    {"tmpfile", makeTemporary, 1 | 16},
    {"list", DO(withFile(a[0].c_str(), O_RDONLY | O_DIRECTORY, 0, listFd)), 1},
    {"stat", [](Side&, const Args& a) {
       struct statx s;
       int rc = statAt(AT_FDCWD, a[0], 0, &s);
       return statOf(rc, s);
     }, 1},
    {"readlink", [](Side&, const Args& a) {
       char target[4096];
       ssize_t n = readlink(a[0].c_str(), target, sizeof target);
       Result out = result(n);
       if (n > 0) out.data.assign(target, n);
       return out;
     }, 1},
    {"access", DO(result(syscall(SYS_faccessat2, AT_FDCWD, a[0].c_str(), (int)number(a[1]), AT_EACCESS))), 1},
    {"umask", DO((umask(modeOf(a[0])), Result())), 0},
    // Files held open.
    {"open", openSlot, 2},
    {"close", [](Side& s, const Args& a) {
       int& slot = s.slots[number(a[0])];
       Result out = result(close(slot));
       slot = -1;
       return out;
     }, 0},
    {"fwrite", DO(putBytes(slotOf(s, a), number(a[1]), pattern(number(a[2]), number(a[3])))), 0},
    {"fread", readSlot, 0},
    {"fstat", [](Side& side, const Args& a) {
       struct statx s;
       int rc = statAt(slotOf(side, a), "", AT_EMPTY_PATH, &s);
       return statOf(rc, s);
     }, 0},
    {"ftrunc", DO(result(ftruncate(slotOf(s, a), number(a[1])))), 0},
    {"fchmod", DO(result(fchmod(slotOf(s, a), modeOf(a[1])))), 0},
    {"fchown", DO(result(fchown(slotOf(s, a), number(a[1]), number(a[2])))), 0},
    {"futimes", [](Side& s, const Args& a) {
       struct timespec times[2] = {timeOf(a[1]), timeOf(a[1])};
       return result(futimens(slotOf(s, a), times));
     }, 0},
    {"ffalloc", DO(result(fallocate(slotOf(s, a), number(a[1]), number(a[2]), number(a[3])))), 0},
    {"fsync", DO(result(fsync(slotOf(s, a)))), 0},
    {"fsetxattr", DO(result(fsetxattr(slotOf(s, a), a[1].c_str(), a[2].data(), a[2].size(), 0))), 0},
    {"frmxattr", DO(result(fremovexattr(slotOf(s, a), a[1].c_str()))), 0},
    {"fmmapw", DO(mapWrite(slotOf(s, a), number(a[1]), number(a[2]), number(a[3]))), 0},
    {"fcfr", DO(copyRange(slotOf(s, a), slotOf(s, a, 1), number(a[2]), number(a[3]), number(a[4]))), 0},
    {"flist", DO(listFd(slotOf(s, a))), 0},
    {"flink", DO(result(linkat(AT_FDCWD, format("/proc/self/fd/%d", slotOf(s, a)).c_str(), AT_FDCWD, a[1].c_str(),
                               AT_SYMLINK_FOLLOW))), 2},
    {"at-creat", [](Side& s, const Args& a) {
       int fd = openat(slotOf(s, a), a[1].c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, modeOf(a[2]));
       Result out = result(fd < 0 ? -1 : 0);
       if (fd >= 0) close(fd);
       return out;
     }, 0},
    {"at-mkdir", DO(result(mkdirat(slotOf(s, a), a[1].c_str(), modeOf(a[2])))), 0},
    {"at-unlink", DO(result(unlinkat(slotOf(s, a), a[1].c_str(), 0))), 0},
    {"at-stat", [](Side& side, const Args& a) {
       struct statx s;
       int rc = statAt(slotOf(side, a), a[1], AT_SYMLINK_NOFOLLOW, &s);
       return statOf(rc, s);
     }, 0},
};

const Verb* findVerb(const std::string& name) {
  for (const Verb& verb : VERBS)
    if (name == verb.name) return &verb;
  return nullptr;
}

Args mutate(const std::string& mutation, const std::string& verb, const Args& args) {
  Args out = args;
  if (mutation != verb) return out;
  if (verb == "write") out[2] += "1";
  else if (verb == "chmod") out[1] = format("%o", modeOf(out[1]) ^ 1);
  else if (verb == "setxattr") out[2] += "!";
  else if (verb == "unlink" || verb == "rename") out[0] += ".not";
  return out;
}
