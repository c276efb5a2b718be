// Data of open files: what the page cache can give is done at once, what may wait for a disk goes
// to the pool, which answers the request itself.

#include "abi.h"
#include "calls.h"
#include "pool.h"
#include "port.h"
#include "sys.h"
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

/** Below this a read is not worth a second look at the page cache. */
static const uint32_t SMALL_READ = 4096;

/** pread(2) until `size` bytes or the end. Returns the count; an error only when there is none. */
static int64_t readAll(int fd, uint8_t *to, uint64_t size, int64_t offset) {
  uint64_t done = 0;
  while (done < size) {
    int64_t count = retry([&] { return pread64(fd, to + done, size - done, offset + static_cast<int64_t>(done)); });
    if (count < 0 && done == 0) return count;
    if (count <= 0) break;
    done += static_cast<uint64_t>(count);
  }
  return static_cast<int64_t>(done);
}

/** The bytes that are in the page cache: the count, or -EAGAIN when some are not. */
static int64_t readCached(int fd, uint8_t *to, uint64_t size, int64_t offset) {
  uint64_t done = 0;
  while (done < size) {
    struct iovec part{to + done, size - done};
    int64_t count = retry([&] { return preadv2(fd, &part, 1, offset + static_cast<int64_t>(done), RWF_NOWAIT); });
    if (count < 0) return count;
    if (count == 0) break;
    done += static_cast<uint64_t>(count);
  }
  return static_cast<int64_t>(done);
}

static int64_t readLater(OwnedFd file, int64_t offset, uint32_t size) {
  slowPool().submit([file = std::move(file), offset, size, to = takeCurrent()] {
    std::unique_ptr<uint8_t[]> bytes(new (std::nothrow) uint8_t[size]);
    int64_t count = bytes ? readAll(file.get(), bytes.get(), size, offset) : -ENOMEM;
    if (count < 0) to.send(count);
    else to.send(0, bytes.get(), static_cast<size_t>(count));
  });
  return PARKED;
}

int64_t readFd(int32_t fd, int64_t offset, uint32_t size, At out) {
  uint8_t *to = out.take(size);
  if (!to) return -EFAULT;
  if (!tls.current.isHere || size < SMALL_READ) return readAll(fd, to, size, offset);
  int64_t count = readCached(fd, to, size, offset);
  if (count == -EOPNOTSUPP) return readAll(fd, to, size, offset);
  if (count != -EAGAIN) return count;
  OwnedFd file = OwnedFd::duplicate(fd);
  return file.isOpen() ? readLater(std::move(file), offset, size) : readAll(fd, to, size, offset);
}

int64_t readNow(int32_t fd, int64_t offset, uint32_t size, At out) {
  uint8_t *to = out.take(size);
  if (!to) return -EFAULT;
  int64_t count = readCached(fd, to, size, offset);
  return count == -EOPNOTSUPP ? readAll(fd, to, size, offset) : count;
}

int64_t writeFd(int32_t fd, int64_t offset, uint32_t size, At data) {
  const uint8_t *from = data.take(size);
  if (!from) return -EFAULT;
  uint64_t done = 0;
  do {
    int64_t count = offset == -1
        ? retry([&] { return write(fd, from + done, size - done); })
        : retry([&] { return pwrite64(fd, from + done, size - done, offset + static_cast<int64_t>(done)); });
    if (count < 0 && done == 0) return count;
    if (count <= 0) break;
    done += static_cast<uint64_t>(count);
  } while (done < size);
  return static_cast<int64_t>(done);
}

int64_t seekReply(int32_t fd, int64_t offset, int32_t whence, At out) {
  uint8_t *to = out.take(8);
  if (!to) return -EFAULT;
  int64_t found = retry([&] { return lseek64(fd, offset, whence); });
  if (found < 0) return found;
  memcpy(to, &found, 8);
  return 8;
}


int64_t ioctlFd(int32_t fd, uint32_t command, At data) {
  // The argument of the two flag calls is an int under either number.
  uint32_t known = command == FS_IOC32_GETFLAGS   ? FS_IOC_GETFLAGS
                   : command == FS_IOC32_SETFLAGS ? FS_IOC_SETFLAGS
                                                  : command;
  switch (known) {
  case FS_IOC_GETFLAGS:
  case FS_IOC_SETFLAGS:
  case FS_IOC_GETVERSION:
  case FS_IOC_FSGETXATTR:
  case FS_IOC_FSSETXATTR: break;
  default: return -ENOTTY;
  }
  size_t size = known == command ? _IOC_SIZE(command) : sizeof(int);
  uint8_t *at = data.take(size);
  if (!at) return -EFAULT;
  alignas(8) uint8_t value[64] = {};
  memcpy(value, at, size);
  int64_t result = retry([&] { return ioctl(fd, known, value); });
  if (result >= 0 && (_IOC_DIR(command) & _IOC_READ)) memcpy(at, value, size);
  return result;
}

/** Does `work(fd)` in the pool when a request is current and answers it so; else at once. */
template <typename F> static int64_t workOrPark(int fd, F work) {
  if (!tls.current.isHere) return work(fd);
  OwnedFd file = OwnedFd::duplicate(fd);
  if (!file.isOpen()) return errno == EBADF ? -EBADF : work(fd);
  slowPool().submit([file = std::move(file), work, to = takeCurrent()] {
    int64_t result = work(file.get());
    to.send(result < 0 ? result : 0);
  });
  return PARKED;
}

int64_t fsyncFd(int32_t fd, int32_t isDataOnly) {
  return workOrPark(fd, [isDataOnly](int file) {
    return retry([&] { return isDataOnly ? fdatasync(file) : fsync(file); });
  });
}

int64_t syncfsFd(int32_t fd) {
  return workOrPark(fd, [](int file) { return retry([&] { return syncfs(file); }); });
}

int64_t fallocateFd(int32_t fd, int32_t mode, int64_t offset, int64_t length) {
  return workOrPark(fd, [mode, offset, length](int file) {
    return retry([&] { return fallocate64(file, mode, offset, length); });
  });
}

// One call's worth; FUSE_COPY_FILE_RANGE answers with 32 bits, so never more than 1 GiB at once.
static int64_t copyRange(int in, int64_t offsetIn, int out, int64_t offsetOut, int64_t length) {
  const int64_t most = 1 << 30;
  return retry([&] {
    off64_t from = offsetIn, to = offsetOut;
    return copy_file_range(in, &from, out, &to, static_cast<size_t>(length < most ? length : most), 0);
  });
}

int64_t copyFileRange(int32_t fdIn, int64_t offsetIn, int32_t fdOut, int64_t offsetOut, int64_t length, At out) {
  if (length < 0) return -EINVAL;
  if (tls.current.isHere) {
    OwnedFd in = OwnedFd::duplicate(fdIn), to = OwnedFd::duplicate(fdOut);
    if (in.isOpen() && to.isOpen()) {
      slowPool().submit([in = std::move(in), file = std::move(to), offsetIn, offsetOut, length, to = takeCurrent()] {
        int64_t count = copyRange(in.get(), offsetIn, file.get(), offsetOut, length);
        if (count < 0) to.send(count);
        else to.send(0, &count, sizeof count);
      });
      return PARKED;
    }
  }
  uint8_t *at = out.take(8);
  if (!at) return -EFAULT;
  int64_t count = copyRange(fdIn, offsetIn, fdOut, offsetOut, length);
  if (count < 0) return count;
  memcpy(at, &count, 8);
  return 8;
}
