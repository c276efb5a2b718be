// Small tools around system calls: EINTR, -errno, /proc paths, owned fds, calls that glibc or the
// running kernel may lack.

#pragma once

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

// The same numbers on every architecture that was added after 2019 or uses the unified table.
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_open_tree
#define SYS_open_tree 428
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#ifndef SYS_setxattrat
#define SYS_setxattrat 463
#define SYS_getxattrat 464
#define SYS_listxattrat 465
#define SYS_removexattrat 466
#endif

/** Returns the call's result, or -errno; an interrupted call is made again. */
template <typename F> inline int64_t retry(F call) {
  for (;;) {
    auto result = call();
    if (result >= 0) return static_cast<int64_t>(result);
    if (errno != EINTR) return -errno;
  }
}

/** "/proc/self/fd/N" or "/proc/self/fd/N/NAME". `isOk` is false when the name is too long. */
struct ProcPath {
  char text[4160];
  bool isOk;
  explicit ProcPath(int fd, const char *name = "") {
    size_t length = strnlen(name, 4096);
    isOk = length < 4096;
    int used = snprintf(text, sizeof text, "/proc/self/fd/%d%s", fd, length ? "/" : "");
    if (isOk) memcpy(text + used, name, length + 1);
  }
};

/** An fd that is closed with its owner. */
class OwnedFd {
public:
  explicit OwnedFd(int fd = -1) : fd_(fd) {}
  OwnedFd(OwnedFd &&other) noexcept : fd_(other.release()) {}
  OwnedFd &operator=(OwnedFd &&other) noexcept {
    if (this != &other) {
      reset();
      fd_ = other.release();
    }
    return *this;
  }
  ~OwnedFd() { reset(); }
  int get() const { return fd_; }
  bool isOpen() const { return fd_ >= 0; }
  int release() {
    int fd = fd_;
    fd_ = -1;
    return fd;
  }
  void reset() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  /** A duplicate of `fd`; not open and errno set when there is none. */
  static OwnedFd duplicate(int fd) { return OwnedFd(fcntl(fd, F_DUPFD_CLOEXEC, 3)); }

private:
  int fd_;
};

/** Calls that older kernels lack, found out once by calls that can do nothing. */
struct KernelCalls {
  bool openat2;
  bool fchmodat2;
  bool xattrat;
};
extern KernelCalls kernelCalls;
void probeKernelCalls();
