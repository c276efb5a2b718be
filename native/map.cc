// Files as memory: an index is mapped for reading and shared by all mounts that use it.
//
// A page that can't be read (the file was cut, the disk fails) must not end the daemon: SIGBUS in such
// a mapping puts a page of zeros there and counts it in the word behind the file, where readers look.

#include "calls.h"
#include "sys.h"
#include <atomic>
#include <csignal>
#include <mutex>
#include <sys/mman.h>
#include <sys/stat.h>

namespace {

const size_t PAGE = 4096;

/** A file in memory. The threads that have it mapped share it: its pages count once. */
struct Mapping {
  std::atomic<uintptr_t> start; // 0: none here
  std::atomic<uintptr_t> end;   // of the file's pages; the word of faults is there
  dev_t device;
  ino_t inode;
  off_t size;
  uint32_t users;
};

// As many files can be mapped at a time.
Mapping mappings[1024];
std::mutex mappingsMutex;
struct sigaction previous;

void onBusError(int signal, siginfo_t *info, void *context) {
  uintptr_t at = reinterpret_cast<uintptr_t>(info->si_addr);
  for (Mapping &mapping : mappings) {
    uintptr_t start = mapping.start.load(), end = mapping.end.load();
    if (start == 0 || at < start || at >= end) continue;
    void *page = reinterpret_cast<void *>(at & ~(PAGE - 1));
    if (mmap(page, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) break;
    __atomic_add_fetch(reinterpret_cast<int32_t *>(end), 1, __ATOMIC_SEQ_CST);
    return;
  }
  // Not ours: what would have happened without us.
  if ((previous.sa_flags & SA_SIGINFO) && previous.sa_sigaction) {
    previous.sa_sigaction(signal, info, context);
    return;
  }
  sigaction(SIGBUS, &previous, nullptr);
}

bool catchBusErrors() {
  static bool isCaught = false;
  if (isCaught) return true;
  struct sigaction action = {};
  action.sa_sigaction = onBusError;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigemptyset(&action.sa_mask);
  return isCaught = sigaction(SIGBUS, &action, &previous) == 0;
}

size_t pagesOf(off_t size) { return (static_cast<size_t>(size) + PAGE - 1) & ~(PAGE - 1); }

/** Maps a file; needs the mutex. Returns 0 or -errno. */
int64_t map(Mapping &mapping, int fd, const struct stat &stat) {
  size_t pages = pagesOf(stat.st_size);
  // Room for both, then the file over all but the page with the word of faults.
  void *start = mmap(nullptr, pages + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) return -errno;
  if (mmap(start, pages, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
    int error = errno;
    munmap(start, pages + PAGE);
    return -error;
  }
  mapping.device = stat.st_dev;
  mapping.inode = stat.st_ino;
  mapping.size = stat.st_size;
  mapping.users = 0;
  mapping.end = reinterpret_cast<uintptr_t>(start) + pages;
  mapping.start = reinterpret_cast<uintptr_t>(start);
  return 0;
}

/** Returns the mapping of a file, with one more user; null with the reason in `error`. */
Mapping *take(int fd, const struct stat &stat, int64_t &error) {
  std::lock_guard<std::mutex> lock(mappingsMutex);
  Mapping *unused = nullptr;
  for (Mapping &mapping : mappings) {
    if (mapping.start.load() == 0) {
      if (!unused) unused = &mapping;
    } else if (mapping.device == stat.st_dev && mapping.inode == stat.st_ino && mapping.size == stat.st_size) {
      mapping.users++;
      return &mapping;
    }
  }
  error = !unused ? -ENFILE : catchBusErrors() ? map(*unused, fd, stat) : -errno;
  if (error < 0) return nullptr;
  unused->users = 1;
  return unused;
}

void leave(napi_env, void *, void *hint) {
  auto *mapping = static_cast<Mapping *>(hint);
  std::lock_guard<std::mutex> lock(mappingsMutex);
  if (--mapping->users > 0) return;
  void *start = reinterpret_cast<void *>(mapping->start.exchange(0));
  munmap(start, pagesOf(mapping->size) + PAGE);
}

} // namespace

/** mapFile(fd): an ArrayBuffer, or -errno. */
napi_value mapFile(napi_env env, napi_callback_info info) {
  size_t argc = 1;
  napi_value argv[1];
  int32_t fd = -1;
  napi_get_cb_info(env, info, &argc, argv, nullptr, nullptr);
  if (argc < 1 || readArg(env, argv[0], fd) != 0) return toNumber(env, -EINVAL);
  struct stat stat;
  if (fstat(fd, &stat) != 0) return toNumber(env, -errno);
  if (!S_ISREG(stat.st_mode) || stat.st_size == 0) return toNumber(env, -EINVAL);
  int64_t error = 0;
  Mapping *mapping = take(fd, stat, error);
  if (!mapping) return toNumber(env, error);
  napi_value buffer;
  void *start = reinterpret_cast<void *>(mapping->start.load());
  if (napi_create_external_arraybuffer(env, start, pagesOf(stat.st_size) + PAGE, leave, mapping, &buffer) != napi_ok) {
    leave(env, start, mapping);
    return toNumber(env, -ENOMEM);
  }
  return buffer;
}
