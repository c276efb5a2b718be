// attach(): which memory this thread shares with TypeScript, and what else a worker needs before
// its first call. Also the end of it, when the thread's environment goes. And giving memory back.

#include "calls.h"
#include "at-once.h"
#include "creds.h"
#include "place.h"
#include "sys.h"
#include "worker.h"
#include <malloc.h>
#include <sys/mman.h>

__thread ThreadState tls;

static void endWorker() {
  if (!tls.worker) return;
  dropParkedOf(tls.worker->get());
  (*tls.worker)->end();
  delete tls.worker;
  tls.worker = nullptr;
}

static void detach(void *) {
  uringStop();
  endAtOnce();
  leavePlace();
  dropListing();
  endWorker();
  delete tls.message;
  tls.message = nullptr;
  tls.arena = tls.names = nullptr;
  tls.arenaSize = tls.namesSize = 0;
  tls.current.isHere = false;
}

/** Keeps `array` alive instead of what `ref` held. */
static bool hold(napi_env env, napi_value array, napi_ref *ref) {
  napi_ref next;
  if (napi_create_reference(env, array, 1, &next) != napi_ok) return false;
  if (*ref) napi_delete_reference(env, *ref);
  *ref = next;
  return true;
}

napi_value attach(napi_env env, napi_callback_info info) {
  size_t argc = 2;
  napi_value argv[2];
  Bytes arena, names;
  napi_get_cb_info(env, info, &argc, argv, nullptr, nullptr);
  if (readArg(env, argv[0], arena) != 0 || readArg(env, argv[1], names) != 0) {
    napi_throw_type_error(env, nullptr, "attach: two Uint8Arrays are needed");
    return nullptr;
  }
  if (tls.current.isHere) reply(-EIO);
  endAtOnce();
  if (!hold(env, argv[0], &tls.arenaRef) || !hold(env, argv[1], &tls.namesRef)) {
    napi_throw_error(env, nullptr, "attach: out of memory");
    return nullptr;
  }
  tls.arena = const_cast<uint8_t *>(arena.data);
  tls.arenaSize = arena.length;
  tls.names = const_cast<uint8_t *>(names.data);
  tls.namesSize = names.length;
  // What a former mount of this thread left under way is none of the next one's.
  if (!tls.device && !tls.uring) endWorker();
  if (!tls.worker) tls.worker = new std::shared_ptr<Worker>(std::make_shared<Worker>());
  if (!tls.hasHook) tls.hasHook = napi_add_env_cleanup_hook(env, detach, nullptr) == napi_ok;
  initCreds();
  return nullptr;
}

int64_t limitKernelCalls(int32_t isLimited) {
  if (isLimited) kernelCalls = KernelCalls{false, false, false};
  else probeKernelCalls();
  return 0;
}

int64_t releasePages(Bytes array, int64_t from, int64_t to) {
  if (from < 0 || to < from || static_cast<uint64_t>(to) > array.length) return -EINVAL;
  const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t base = reinterpret_cast<uintptr_t>(array.data);
  uintptr_t start = (base + static_cast<uintptr_t>(from) + page - 1) & ~(page - 1);
  uintptr_t end = (base + static_cast<uintptr_t>(to)) & ~(page - 1);
  if (start >= end) return 0;
  return retry([&] { return madvise(reinterpret_cast<void *>(start), end - start, MADV_DONTNEED); });
}

int64_t trimHeap() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
  return 0;
}
