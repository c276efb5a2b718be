// Changing what is there: names, modes, owners, times, sizes. Never follows a symbolic link.
// With ref 0 the object is the fd itself, also when it is an O_PATH fd.

#include "calls.h"
#include "sys.h"
#include <sys/stat.h>

int64_t linkAt(int32_t fromFd, Path from, int32_t toFd, Path to) {
  if (!from.isSelf) return retry([&] { return linkat(fromFd, from.text, toFd, to.text, 0); });
  int64_t result = retry([&] { return linkat(fromFd, "", toFd, to.text, AT_EMPTY_PATH); });
  // Without CAP_DAC_READ_SEARCH the empty path is ENOENT.
  if (result != -ENOENT) return result;
  ProcPath self(fromFd);
  return retry([&] { return linkat(AT_FDCWD, self.text, toFd, to.text, AT_SYMLINK_FOLLOW); });
}

int64_t unlinkAt(int32_t fd, Path path, int32_t flags) {
  return retry([&] { return unlinkat(fd, path.text, flags); });
}

int64_t renameAt(int32_t fromFd, Path from, int32_t toFd, Path to, uint32_t flags) {
  return retry([&] { return syscall(SYS_renameat2, fromFd, from.text, toFd, to.text, flags); });
}

static int64_t chmodSelf(int fd, mode_t mode) {
  struct stat found;
  if (fstat(fd, &found) != 0) return -errno;
  if (S_ISLNK(found.st_mode)) return -EOPNOTSUPP;
  int64_t result = retry([&] { return fchmod(fd, mode); });
  if (result != -EBADF) return result;
  ProcPath self(fd);
  return retry([&] { return chmod(self.text, mode); });
}

int64_t chmodAt(int32_t fd, Path path, uint32_t mode) {
  mode &= 07777;
  if (kernelCalls.fchmodat2) {
    int flags = AT_SYMLINK_NOFOLLOW | (path.isSelf ? AT_EMPTY_PATH : 0);
    return retry([&] { return syscall(SYS_fchmodat2, fd, path.text, mode, flags); });
  }
  if (path.isSelf) return chmodSelf(fd, mode);
  int64_t opened = retry([&] { return openat(fd, path.text, O_PATH | O_NOFOLLOW | O_CLOEXEC); });
  if (opened < 0) return opened;
  OwnedFd target(static_cast<int>(opened));
  return chmodSelf(target.get(), mode);
}

int64_t chownAt(int32_t fd, Path path, int32_t uid, int32_t gid) {
  int flags = AT_SYMLINK_NOFOLLOW | (path.isSelf ? AT_EMPTY_PATH : 0);
  return retry([&] { return fchownat(fd, path.text, static_cast<uid_t>(uid), static_cast<gid_t>(gid), flags); });
}

int64_t utimensAt(int32_t fd, Path path, At times) {
  const uint8_t *at = times.take(24);
  if (!at) return -EFAULT;
  uint32_t words[6];
  memcpy(words, at, sizeof words);
  struct timespec spec[2];
  for (int i = 0; i < 2; i++) {
    spec[i].tv_sec = static_cast<int64_t>(words[i * 3] | static_cast<uint64_t>(words[i * 3 + 1]) << 32);
    spec[i].tv_nsec = words[i * 3 + 2];
  }
  if (!path.isSelf) return retry([&] { return utimensat(fd, path.text, spec, AT_SYMLINK_NOFOLLOW); });
  int64_t result = retry([&] { return utimensat(fd, "", spec, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW); });
  // AT_EMPTY_PATH came with Linux 5.8.
  if (result != -EINVAL) return result;
  ProcPath self(fd);
  return retry([&] { return utimensat(AT_FDCWD, self.text, spec, 0); });
}

int64_t truncateFd(int32_t fd, int64_t size) {
  return retry([&] { return ftruncate64(fd, size); });
}
