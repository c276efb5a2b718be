// The process and its threads: namespaces, root, ids, session, CPUs, limits. Cold path.

#include "calls.h"
#include "pool.h"
#include "sys.h"
#include <grp.h>
#include <malloc.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>

int64_t unshareFlags(int32_t flags) {
  return retry([&] { return unshare(flags); });
}

int64_t setnsFd(int32_t fd, int32_t type) {
  return retry([&] { return setns(fd, type); });
}

int64_t chrootTo(Bytes path) {
  std::string text;
  if (!path.toPath(text)) return -EINVAL;
  int64_t result = retry([&] { return chroot(text.c_str()); });
  return result < 0 ? result : retry([] { return chdir("/"); });
}

int64_t pivotRoot(Bytes path) {
  std::string text;
  if (!path.toPath(text)) return -EINVAL;
  OwnedFd before(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  OwnedFd after(open(text.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!before.isOpen() || !after.isOpen()) return -errno;
  if (fchdir(after.get()) < 0) return -errno;
  // With both the same, the old root lies over the new one (pivot_root(2), "pivot_root(".", ".")").
  if (syscall(SYS_pivot_root, ".", ".") < 0 || fchdir(before.get()) < 0) return -errno;
  return 0;
}

int64_t leaveOldRoot() {
  int64_t result = retry([] { return umount2(".", MNT_DETACH); });
  return result < 0 ? result : retry([] { return chdir("/"); });
}

int64_t clearGroups() {
  return retry([] { return setgroups(0, nullptr); });
}

int64_t setuidgid(int32_t uid, int32_t gid) {
  int64_t result = gid == -1 ? 0 : retry([&] { return setgid(static_cast<gid_t>(gid)); });
  if (result < 0 || uid == -1) return result;
  return retry([&] { return setuid(static_cast<uid_t>(uid)); });
}

int64_t setHostname(std::string name) {
  return retry([&] { return sethostname(name.data(), name.size()); });
}

int64_t newSession() {
  return retry([] { return setsid(); });
}

int64_t dup2Fd(int32_t from, int32_t to) {
  return retry([&] { return dup2(from, to); });
}

int64_t setThreadName(std::string name) {
  return retry([&] { return prctl(PR_SET_NAME, name.c_str(), 0, 0, 0); });
}

int64_t pinToCpu(int32_t cpu) {
  if (cpu < 0) return unpinThread();
  if (cpu >= CPU_SETSIZE) return -EINVAL;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  return retry([&] { return sched_setaffinity(0, sizeof one, &one); });
}

int64_t mapBigBlocks() {
#ifdef M_MMAP_THRESHOLD
  // glibc raises the threshold with each big block that is freed, and later ones are then cleared by writing.
  return mallopt(M_MMAP_THRESHOLD, 64 * 1024) ? 0 : -EINVAL;
#else
  return -ENOSYS;
#endif
}

int64_t raiseFileLimit() {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return -errno;
  if (limit.rlim_cur != limit.rlim_max) {
    struct rlimit raised{limit.rlim_max, limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  const rlim_t most = INT32_MAX;
  return static_cast<int64_t>(limit.rlim_cur < most ? limit.rlim_cur : most);
}
