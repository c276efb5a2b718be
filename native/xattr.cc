// Extended attributes by (fd, name). The *xattrat calls of Linux 6.13 where they are, else through
// /proc/self/fd. They refuse O_PATH fds themselves (EBADF): those go through /proc always.

#include "calls.h"
#include "sys.h"
#include <sys/xattr.h>

// The kernel's struct xattr_args.
struct XattrArgs {
  uint64_t value;
  uint32_t size;
  uint32_t flags;
};

static int atFlags(const Path &path) { return AT_SYMLINK_NOFOLLOW | (path.isSelf ? AT_EMPTY_PATH : 0); }

// A /proc/self/fd/N link is followed to exactly what the fd is, a symbolic link included; a name
// below it must not be followed. So: the plain call for the fd itself, the l-call for a name.
template <typename Plain, typename Link> static int64_t viaProc(int fd, const Path &path, Plain plain, Link link) {
  ProcPath target(fd, path.text);
  if (!target.isOk) return -ENAMETOOLONG;
  int64_t result =
      path.isSelf ? retry([&] { return plain(target.text); }) : retry([&] { return link(target.text); });
  if (result != -ENOENT) return result;
  // "No such file" must not be said of an fd: it is closed, or /proc is not mounted.
  if (fcntl(fd, F_GETFD) < 0) return -EBADF;
  return path.isSelf ? -EIO : result;
}

static bool needsProc(const Path &path, int64_t result) { return path.isSelf && result == -EBADF; }

int64_t getXattrAt(int32_t fd, Path path, Path name, At out, uint32_t capacity) {
  uint8_t *to = capacity ? out.take(capacity) : nullptr;
  if (capacity && !to) return -EFAULT;
  if (kernelCalls.xattrat) {
    XattrArgs args{reinterpret_cast<uintptr_t>(to), capacity, 0};
    int64_t result = retry(
        [&] { return syscall(SYS_getxattrat, fd, path.text, atFlags(path), name.text, &args, sizeof args); });
    if (!needsProc(path, result)) return result;
  }
  return viaProc(
      fd, path, [&](const char *p) { return getxattr(p, name.text, to, capacity); },
      [&](const char *p) { return lgetxattr(p, name.text, to, capacity); });
}

int64_t listXattrAt(int32_t fd, Path path, At out, uint32_t capacity) {
  char *to = capacity ? reinterpret_cast<char *>(out.take(capacity)) : nullptr;
  if (capacity && !to) return -EFAULT;
  if (kernelCalls.xattrat) {
    int64_t result =
        retry([&] { return syscall(SYS_listxattrat, fd, path.text, atFlags(path), to, capacity); });
    if (!needsProc(path, result)) return result;
  }
  return viaProc(
      fd, path, [&](const char *p) { return listxattr(p, to, capacity); },
      [&](const char *p) { return llistxattr(p, to, capacity); });
}

int64_t setXattrAt(int32_t fd, Path path, Path name, At value, uint32_t size, int32_t flags) {
  uint8_t *from = value.take(size);
  if (!from) return -EFAULT;
  if (kernelCalls.xattrat) {
    XattrArgs args{reinterpret_cast<uintptr_t>(from), size, static_cast<uint32_t>(flags)};
    int64_t result = retry(
        [&] { return syscall(SYS_setxattrat, fd, path.text, atFlags(path), name.text, &args, sizeof args); });
    if (!needsProc(path, result)) return result;
  }
  return viaProc(
      fd, path, [&](const char *p) { return setxattr(p, name.text, from, size, flags); },
      [&](const char *p) { return lsetxattr(p, name.text, from, size, flags); });
}

int64_t removeXattrAt(int32_t fd, Path path, Path name) {
  if (kernelCalls.xattrat) {
    int64_t result =
        retry([&] { return syscall(SYS_removexattrat, fd, path.text, atFlags(path), name.text); });
    if (!needsProc(path, result)) return result;
  }
  return viaProc(
      fd, path, [&](const char *p) { return removexattr(p, name.text); },
      [&](const char *p) { return lremovexattr(p, name.text); });
}
