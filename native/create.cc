// Making files, directories, nodes and links with an owner and a umask. A making that can't be
// finished is taken back, so a failure leaves nothing behind.

#include "calls.h"
#include "creds.h"
#include "sys.h"
#include <sys/stat.h>

static const int CREATE_FLAGS = O_ACCMODE | O_APPEND | O_TRUNC | O_EXCL | O_NONBLOCK | O_DSYNC | O_SYNC |
                                O_DIRECT | O_NOATIME | O_NOCTTY;

int64_t createAt(int32_t fd, Path path, int32_t flags, int32_t mode, int32_t uid, int32_t gid, int32_t umask) {
  if (path.isSelf) return -EINVAL;
  flags = (flags & CREATE_FLAGS) | O_CREAT | O_NOFOLLOW | O_CLOEXEC;
  Making making(fd, mode & 07777, uid, gid, umask);
  int64_t made = retry([&] { return openat(fd, path.text, flags, making.mode()); });
  // Without O_EXCL the file may have been there before: its owner is not ours to change.
  if (made < 0 || !(flags & O_EXCL)) return made;
  int64_t result = making.settle(static_cast<int>(made), nullptr);
  if (result == 0) return made;
  close(static_cast<int>(made));
  unlinkat(fd, path.text, 0);
  return result;
}

int64_t tmpfileAt(int32_t fd, int32_t flags, int32_t mode, int32_t uid, int32_t gid, int32_t umask) {
  flags = (flags & CREATE_FLAGS) | O_TMPFILE | O_CLOEXEC;
  if ((flags & O_ACCMODE) == O_RDONLY) flags |= O_RDWR;
  Making making(fd, mode & 07777, uid, gid, umask);
  int64_t made = retry([&] { return openat(fd, ".", flags, making.mode()); });
  if (made < 0) return made;
  int64_t result = making.settle(static_cast<int>(made), nullptr);
  if (result == 0) return made;
  close(static_cast<int>(made));
  return result;
}

int64_t mkdirAt(int32_t fd, Path path, int32_t mode, int32_t uid, int32_t gid, int32_t umask) {
  Making making(fd, mode & 07777, uid, gid, umask);
  int64_t result = retry([&] { return mkdirat(fd, path.text, making.mode()); });
  if (result < 0) return result;
  result = making.settle(fd, path.text);
  if (result < 0) unlinkat(fd, path.text, AT_REMOVEDIR);
  return result;
}

int64_t mknodAt(int32_t fd, Path path, int32_t mode, uint32_t rdev, int32_t uid, int32_t gid, int32_t umask) {
  Making making(fd, mode, uid, gid, umask);
  // The raw call takes the device as new_encode_dev() packs it.
  int64_t result = retry([&] { return syscall(SYS_mknodat, fd, path.text, making.mode(), rdev); });
  if (result < 0) return result;
  result = making.settle(fd, path.text);
  if (result < 0) unlinkat(fd, path.text, 0);
  return result;
}

int64_t symlinkAt(Path target, int32_t fd, Path path, int32_t uid, int32_t gid) {
  Making making(fd, 0777, uid, gid, static_cast<int32_t>(tls.creds.umask));
  int64_t result = retry([&] { return symlinkat(target.text, fd, path.text); });
  if (result < 0) return result;
  result = making.settle(fd, path.text, true);
  if (result < 0) unlinkat(fd, path.text, 0);
  return result;
}
