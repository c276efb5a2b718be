// Removing directory trees of our own workdir. Stays on one mount, follows no link, and uses a
// bounded number of fds and stack however deep the tree is: what lies deeper than MAX_DEPTH is
// moved up to the root of the tree and removed from there.

#include "calls.h"
#include "pool.h"
#include "sys.h"
#include <memory>
#include <sys/stat.h>

namespace {

const int MAX_DEPTH = 48;
const size_t RECORD_BYTES = 16384;

struct Dirent {
  uint64_t ino;
  int64_t off;
  uint16_t length;
  uint8_t type;
  char name[];
};

struct Removal {
  int root;
  dev_t device;
  uint32_t moved = 0;

  int64_t below(int dir, int depth);
  int64_t entry(int dir, const char *name, uint8_t type, int depth);
  int64_t subtree(int dir, const char *name, int depth);
  int64_t moveUp(int dir, const char *name);
};

bool isDots(const char *name) { return name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0)); }

/** With openat2 a mount of the same file system is noticed as well: -EXDEV. */
int64_t openOnce(int dir, const char *name) {
  const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  if (!kernelCalls.openat2) return retry([&] { return openat(dir, name, flags); });
  const uint64_t how[3] = {flags, 0, 0x01 /* RESOLVE_NO_XDEV */};
  return retry([&] { return syscall(SYS_openat2, dir, name, how, sizeof how); });
}

int64_t openDirectory(int dir, const char *name) {
  int64_t fd = openOnce(dir, name);
  // Without CAP_DAC_OVERRIDE our own directory may be closed to us.
  if (fd != -EACCES || fchmodat(dir, name, 0700, 0) != 0) return fd;
  return openOnce(dir, name);
}

int64_t Removal::moveUp(int dir, const char *name) {
  char free[32];
  int64_t result = -EEXIST;
  for (int tries = 0; tries < 100; tries++) {
    snprintf(free, sizeof free, ".deep-%u", moved++);
    result =
        retry([&] { return syscall(SYS_renameat2, dir, name, root, free, 1 /* RENAME_NOREPLACE */); });
    if (result == -EACCES && fchmodat(dir, name, 0700, 0) == 0) continue;
    if (result != -EEXIST) break;
  }
  return result;
}

int64_t Removal::subtree(int dir, const char *name, int depth) {
  if (depth >= MAX_DEPTH) return moveUp(dir, name);
  int64_t opened = openDirectory(dir, name);
  if (opened < 0) return opened;
  OwnedFd fd(static_cast<int>(opened));
  struct stat found;
  if (fstat(fd.get(), &found) != 0) return -errno;
  if (found.st_dev != device) return -EXDEV;
  int64_t result = below(fd.get(), depth + 1);
  if (result < 0) return result;
  return retry([&] { return unlinkat(dir, name, AT_REMOVEDIR); });
}

int64_t Removal::entry(int dir, const char *name, uint8_t type, int depth) {
  int64_t result = -EISDIR;
  if (type != 4 /* DT_DIR */) {
    result = retry([&] { return unlinkat(dir, name, 0); });
    if (result == -EACCES && fchmod(dir, 0700) == 0) result = retry([&] { return unlinkat(dir, name, 0); });
  }
  if (result == -EISDIR) result = subtree(dir, name, depth);
  return result == -ENOENT ? 0 : result;
}

/** Empties a directory. Entries that can't go are passed by; the first error is returned. */
int64_t Removal::below(int dir, int depth) {
  std::unique_ptr<uint8_t[]> records(new (std::nothrow) uint8_t[RECORD_BYTES]);
  if (!records) return -ENOMEM;
  int64_t first = 0;
  bool hasRemoved;
  do {
    hasRemoved = false;
    first = 0;
    if (lseek(dir, 0, SEEK_SET) < 0) return -errno;
    for (;;) {
      int64_t length = retry([&] { return syscall(SYS_getdents64, dir, records.get(), RECORD_BYTES); });
      if (length < 0) return length;
      if (length == 0) break;
      for (int64_t at = 0; at < length;) {
        auto *record = reinterpret_cast<Dirent *>(records.get() + at);
        at += record->length;
        if (isDots(record->name)) continue;
        int64_t result = entry(dir, record->name, record->type, depth);
        if (result == 0) hasRemoved = true;
        else if (first == 0) first = result;
      }
    }
    // Records may be skipped while entries go, and deep ones come up: look again.
  } while (hasRemoved);
  return first;
}

int64_t removeBelow(int fd) {
  int64_t opened = retry([&] { return openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
  if (opened < 0) return opened;
  OwnedFd dir(static_cast<int>(opened));
  struct stat found;
  if (fstat(dir.get(), &found) != 0) return -errno;
  return Removal{dir.get(), found.st_dev}.below(dir.get(), 0);
}

int64_t removeWhole(int fd, const char *name) {
  int64_t result = retry([&] { return unlinkat(fd, name, 0); });
  if (result != -EISDIR) return result;
  int64_t opened = openDirectory(fd, name);
  if (opened < 0) return opened;
  OwnedFd dir(static_cast<int>(opened));
  result = removeBelow(dir.get());
  if (result < 0) return result;
  return retry([&] { return unlinkat(fd, name, AT_REMOVEDIR); });
}

} // namespace

int64_t removeTree(int32_t fd) { return removeBelow(fd); }

namespace {

/** A removal on Node's own pool, whose end a promise tells. */
struct Soon {
  napi_async_work work = nullptr;
  napi_deferred deferred = nullptr;
  OwnedFd dir;
  int64_t result = 0;

  static void run(napi_env, void *data) {
    auto *soon = static_cast<Soon *>(data);
    soon->result = removeBelow(soon->dir.get());
  }
  static void end(napi_env env, napi_status, void *data) {
    std::unique_ptr<Soon> soon(static_cast<Soon *>(data));
    napi_resolve_deferred(env, soon->deferred, toNumber(env, soon->result));
    napi_delete_async_work(env, soon->work);
  }
};

} // namespace

napi_value removeTreeSoon(napi_env env, napi_callback_info info) {
  napi_value argv[1], promise = nullptr, name;
  size_t argc = 1;
  int32_t fd = -1;
  auto soon = std::make_unique<Soon>();
  if (napi_get_cb_info(env, info, &argc, argv, nullptr, nullptr) != napi_ok ||
      napi_get_value_int32(env, argv[0], &fd) != napi_ok ||
      napi_create_promise(env, &soon->deferred, &promise) != napi_ok)
    return nullptr;
  soon->dir = OwnedFd::duplicate(fd);
  napi_create_string_utf8(env, "mica", NAPI_AUTO_LENGTH, &name);
  bool isQueued = napi_create_async_work(env, nullptr, name, Soon::run, Soon::end, soon.get(), &soon->work) == napi_ok &&
                  napi_queue_async_work(env, soon->work) == napi_ok;
  if (isQueued) (void)soon.release();
  else napi_resolve_deferred(env, soon->deferred, toNumber(env, -ENOMEM));
  return promise;
}

int64_t removeTreeLater(int32_t fd, Path path) {
  if (path.isSelf) return -EINVAL;
  OwnedFd dir = OwnedFd::duplicate(fd);
  if (!dir.isOpen()) return -errno;
  slowPool().submit([dir = std::move(dir), name = std::string(path.text)] { (void)removeWhole(dir.get(), name.c_str()); });
  return 0;
}
