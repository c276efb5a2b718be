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

struct Range {
  std::atomic<uintptr_t> start;
  std::atomic<uintptr_t> end;
};

// One for each worker and mapping. Without one of these nothing is mapped.
Range ranges[8192];
std::mutex rangesMutex;
struct sigaction previous;

void onBusError(int signal, siginfo_t *info, void *context) {
  uintptr_t at = reinterpret_cast<uintptr_t>(info->si_addr);
  for (Range &range : ranges) {
    uintptr_t start = range.start.load(), end = range.end.load();
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

bool watch(uintptr_t start, uintptr_t end) {
  std::lock_guard<std::mutex> lock(rangesMutex);
  static bool isInstalled = false;
  if (!isInstalled) {
    struct sigaction action = {};
    action.sa_sigaction = onBusError;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigemptyset(&action.sa_mask);
    isInstalled = sigaction(SIGBUS, &action, &previous) == 0;
  }
  for (Range &range : ranges) {
    if (range.start.load() != 0) continue;
    range.end = end;
    range.start = start;
    return true;
  }
  return false;
}

void unmap(napi_env, void *data, void *hint) {
  uintptr_t start = reinterpret_cast<uintptr_t>(data);
  {
    std::lock_guard<std::mutex> lock(rangesMutex);
    for (Range &range : ranges) {
      if (range.start.load() == start) range.start = 0;
    }
  }
  munmap(data, reinterpret_cast<uintptr_t>(hint));
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
  size_t pages = (static_cast<size_t>(stat.st_size) + PAGE - 1) & ~(PAGE - 1);
  // Room for both, then the file over all but the page with the word of faults.
  void *start = mmap(nullptr, pages + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) return toNumber(env, -errno);
  if (mmap(start, pages, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
    int error = errno;
    munmap(start, pages + PAGE);
    return toNumber(env, -error);
  }
  if (!watch(reinterpret_cast<uintptr_t>(start), reinterpret_cast<uintptr_t>(start) + pages)) {
    munmap(start, pages + PAGE);
    return toNumber(env, -ENFILE);
  }
  napi_value buffer;
  void *hint = reinterpret_cast<void *>(pages + PAGE);
  if (napi_create_external_arraybuffer(env, start, pages + PAGE, unmap, hint, &buffer) != napi_ok) {
    unmap(env, start, hint);
    return toNumber(env, -ENOMEM);
  }
  return buffer;
}
