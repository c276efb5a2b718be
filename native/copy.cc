// copyData(): the bytes of one file to another with holes kept. Never writes the source. The
// positions of both fds are moved by it.

#include "calls.h"
#include "pool.h"
#include "sys.h"
#include "worker.h"
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

namespace {

const int DURABILITY_NONE = 1, DURABILITY_ORDERED = 2;
const size_t BUFFER_BYTES = 256 * 1024;
/** Below this two calls do it: asking for holes, clones and ranges would cost more than the copy. */
const size_t SMALL_BYTES = 64 * 1024;

/** One copy and what it has learnt about the two file systems. */
struct Copy {
  int from;
  int to;
  bool hasRangeCall = true;
  std::unique_ptr<char[]> buffer;

  int64_t byBuffer(int64_t offset, int64_t length);
  int64_t extent(int64_t offset, int64_t length);
  int64_t data(int64_t length);
};

/** Returns 0 or -errno; stops quietly where the source ends. */
int64_t Copy::byBuffer(int64_t offset, int64_t length) {
  if (!buffer) buffer.reset(new (std::nothrow) char[BUFFER_BYTES]);
  if (!buffer) return -ENOMEM;
  while (length > 0) {
    size_t want = length < static_cast<int64_t>(BUFFER_BYTES) ? static_cast<size_t>(length) : BUFFER_BYTES;
    int64_t count = retry([&] { return pread64(from, buffer.get(), want, offset); });
    if (count <= 0) return count;
    for (int64_t done = 0; done < count;) {
      int64_t put = retry([&] { return pwrite64(to, buffer.get() + done, count - done, offset + done); });
      if (put < 0) return put;
      if (put == 0) return -EIO;
      done += put;
    }
    offset += count;
    length -= count;
  }
  return 0;
}

bool isNotForThisPair(int64_t error) {
  return error == -EXDEV || error == -ENOSYS || error == -EINVAL || error == -EOPNOTSUPP || error == -EPERM;
}

int64_t Copy::extent(int64_t offset, int64_t length) {
  while (hasRangeCall && length > 0) {
    off64_t in = offset, out = offset;
    size_t want = length < (1 << 30) ? static_cast<size_t>(length) : 1 << 30;
    int64_t count = retry([&] { return copy_file_range(from, &in, to, &out, want, 0); });
    if (count < 0 && !isNotForThisPair(count)) return count;
    // 0 before the end: some file systems (proc, sysfs, old kernels) can't; reading tells.
    if (count <= 0) hasRangeCall = false;
    else offset += count, length -= count;
  }
  return byBuffer(offset, length);
}

/** Copies the data extents below `length`, which leaves holes where the source has them. */
int64_t Copy::data(int64_t length) {
  int64_t at = 0;
  while (at < length) {
    int64_t start = retry([&] { return lseek64(from, at, SEEK_DATA); });
    if (start == -ENXIO) return 0;
    int64_t end = start < 0 ? start : retry([&] { return lseek64(from, start, SEEK_HOLE); });
    if (end < 0) start = at, end = length; // it can't tell: all is data
    if (start >= length) return 0;
    if (end > length) end = length;
    if (end <= at) return 0;
    int64_t result = extent(start, end - start);
    if (result < 0) return result;
    at = end;
  }
  return 0;
}

/** The whole of a small file without holes, into an empty one. Returns 0, -errno, or 1: it is not one after all. */
int64_t copySmall(int from, int to, int64_t size) {
  char bytes[SMALL_BYTES];
  if (size == 0) return 0;
  if (lseek64(from, 0, SEEK_HOLE) < size) return 1;
  int64_t count = retry([&] { return pread64(from, bytes, sizeof bytes, 0); });
  if (count != size) return count < 0 ? count : 1;
  count = retry([&] { return pwrite64(to, bytes, static_cast<size_t>(size), 0); });
  return count == size ? 0 : count < 0 ? count : 1;
}

/** See DURABILITY_* of sys/native.ts. */
int64_t makeDurable(int fd, int durability) {
  if (durability == DURABILITY_NONE) return 0;
  if (durability == DURABILITY_ORDERED) {
    const unsigned all = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    int64_t result = retry([&] { return sync_file_range(fd, 0, 0, all); });
    if (result != -ENOSYS && result != -EPERM) return result;
  }
  return retry([&] { return fdatasync(fd); });
}

int64_t copyNow(int from, int to, int64_t length, int durability) {
  struct stat source, target;
  if (fstat(from, &source) != 0 || fstat(to, &target) != 0) return -errno;
  int64_t size = length >= 0 ? length : source.st_size;
  int64_t wanted = size < source.st_size ? size : source.st_size;
  int64_t result = 1;
  bool isPlain = size == source.st_size && target.st_size == 0;
  if (isPlain && size < static_cast<int64_t>(SMALL_BYTES)) result = copySmall(from, to, size);
  if (result < 0) return result;
  if (result == 0) return makeDurable(to, durability);
  result = 0;
  if (target.st_size != 0) result = retry([&] { return ftruncate64(to, 0); });
  if (result < 0) return result;
  bool isCloned = wanted > 0 && ioctl(to, FICLONE, from) == 0;
  // Before the data: the room behind the last extent is then a hole as well.
  if (!isCloned || size != source.st_size) result = retry([&] { return ftruncate64(to, size); });
  if (result == 0 && !isCloned && wanted > 0) result = Copy{from, to, true, nullptr}.data(wanted);
  return result == 0 ? makeDurable(to, durability) : result;
}

} // namespace

int64_t copyData(int32_t from, int32_t to, int64_t length, int32_t durability, int32_t job) {
  if (job <= 0) return copyNow(from, to, length, durability);
  if (!tls.worker) return -EINVAL;
  OwnedFd source = OwnedFd::duplicate(from);
  if (!source.isOpen()) return -errno;
  OwnedFd target = OwnedFd::duplicate(to);
  if (!target.isOpen()) return -errno;
  slowPool().submit([source = std::move(source), target = std::move(target), length, durability, job,
                     worker = *tls.worker] {
    int64_t result = copyNow(source.get(), target.get(), length, durability);
    worker->push(Completion{nullptr, job, result});
  });
  return PARKED;
}
