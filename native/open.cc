// Opening and fd handling. Layers are not trusted: openAt() never leaves its directory and never
// passes through a symbolic link; only openPath(), for paths that the user gave, does.

#include "calls.h"
#include "sys.h"
#include <sys/stat.h>

KernelCalls kernelCalls;

// The kernel's struct open_how; linux/openat2.h is missing on old distributions.
struct OpenHow {
  uint64_t flags, mode, resolve;
};
static const uint64_t NO_MAGICLINKS = 0x02, NO_SYMLINKS = 0x04, BENEATH = 0x08;

// Each probe is refused before it does anything: -EINVAL, or -ENOSYS (-EPERM behind an old filter).
static bool isThere(long result) { return result >= 0 || (errno != ENOSYS && errno != EPERM); }

void probeKernelCalls() {
  kernelCalls.openat2 = isThere(syscall(SYS_openat2, -1, "", nullptr, 0));
  kernelCalls.fchmodat2 = isThere(syscall(SYS_fchmodat2, -1, "", 0, 0x4000000));
  kernelCalls.xattrat = isThere(syscall(SYS_getxattrat, -1, "", 0, "", nullptr, 0));
}

// The kernel hands some internal bits on with a request (FMODE_EXEC), which openat2 refuses.
static const int OPEN_FLAGS = O_ACCMODE | O_APPEND | O_TRUNC | O_NONBLOCK | O_DSYNC | O_SYNC | O_DIRECT |
                              O_DIRECTORY | O_NOATIME | O_PATH | O_EXCL | O_NOCTTY;
// O_LARGEFILE is 0 in glibc on 64-bit machines and implied there.

static int64_t reopen(int fd, int flags) {
  if (flags & O_DIRECTORY) {
    int64_t result = retry([&] { return openat(fd, ".", flags | O_CLOEXEC); });
    if (result != -EACCES) return result;
  }
  ProcPath self(fd);
  int64_t result = retry([&] { return open(self.text, flags | O_CLOEXEC); });
  return result == -ENOENT && fcntl(fd, F_GETFD) < 0 ? -EBADF : result;
}

/** openat2()'s rules by hand: one O_PATH step for each component, no '..', no link. */
static int64_t walk(int fd, const char *path, int flags) {
  OwnedFd at;
  int from = fd;
  for (;;) {
    while (*path == '/') path++;
    size_t length = strcspn(path, "/");
    bool isLast = path[length + strspn(path + length, "/")] == 0;
    char name[NAME_MAX + 1];
    if (length > NAME_MAX) return -ENAMETOOLONG;
    memcpy(name, path, length);
    name[length] = 0;
    if (strcmp(name, "..") == 0) return -EXDEV;
    int step = isLast ? flags | O_NOFOLLOW | O_CLOEXEC : O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int64_t next = retry([&] { return openat(from, name, step); });
    if (isLast || next < 0) return next;
    at = OwnedFd(static_cast<int>(next));
    from = at.get();
    path += length;
  }
}

int64_t openAt(int32_t fd, Path path, int32_t flags) {
  flags &= OPEN_FLAGS;
  if (path.isSelf) return reopen(fd, flags);
  if (path.text[0] == '/') return -EXDEV;
  if (!kernelCalls.openat2) return walk(fd, path.text, flags);
  // O_PATH takes few companions in openat2.
  if (flags & O_PATH) flags &= O_PATH | O_DIRECTORY;
  OpenHow how{static_cast<uint32_t>(flags) | O_CLOEXEC | O_NOFOLLOW, 0, BENEATH | NO_SYMLINKS | NO_MAGICLINKS};
  return retry([&] { return syscall(SYS_openat2, fd, path.text, &how, sizeof how); });
}

int64_t openPath(Bytes path, int32_t flags, int32_t mode) {
  std::string text;
  if (path.length >= PATH_MAX) return -ENAMETOOLONG;
  if (!path.toPath(text)) return -ENOENT;
  return retry([&] { return open(text.c_str(), flags | O_CLOEXEC, static_cast<mode_t>(mode)); });
}

// The kernel's struct mount_attr; sys/mount.h and linux/mount.h can't be included together.
struct MountAttributes {
  uint64_t set, clear, propagation, userns;
};
static const uint64_t MOUNT_READ_ONLY = 0x01, MOUNT_NO_ATIME = 0x10, MOUNT_ATIME_MASK = 0x70;
static const unsigned TREE_CLONE = 1;

// What fs/overlayfs/super.c does with clone_private_mount(): even a mistake of ours can't write there.
int64_t cloneReadOnly(int32_t fd) {
  int64_t tree = retry([&] { return syscall(SYS_open_tree, fd, "", TREE_CLONE | O_CLOEXEC | AT_EMPTY_PATH); });
  if (tree < 0) return tree;
  MountAttributes attributes{MOUNT_READ_ONLY | MOUNT_NO_ATIME, MOUNT_ATIME_MASK, 0, 0};
  int64_t set = retry([&] {
    return syscall(SYS_mount_setattr, static_cast<int>(tree), "", AT_EMPTY_PATH, &attributes, sizeof attributes);
  });
  if (set >= 0) return tree;
  close(static_cast<int>(tree));
  return set;
}

// close(2) must not be repeated: Linux frees the number even when it says EINTR.
int64_t closeFd(int32_t fd) {
  if (close(fd) == 0 || errno == EINTR) return 0;
  return -errno;
}

int64_t replaceFd(int32_t from, int32_t to) {
  return retry([&] { return dup3(from, to, O_CLOEXEC); });
}

int64_t getFl(int32_t fd) {
  return retry([&] { return fcntl(fd, F_GETFL); });
}

int64_t setFl(int32_t fd, int32_t flags) {
  return retry([&] { return fcntl(fd, F_SETFL, flags); });
}
