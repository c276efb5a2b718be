// /dev/fuse itself: opening, cloning, backing ids for passthrough, messages to the kernel.

#include "abi.h"
#include "calls.h"
#include "creds.h"
#include "sys.h"
#include <sys/uio.h>

int64_t openDevice() {
  return retry([] { return open("/dev/fuse", O_RDWR | O_CLOEXEC); });
}

int64_t cloneDevice(int32_t device) {
  int64_t fd = openDevice();
  if (fd < 0) return fd;
  OwnedFd clone(static_cast<int>(fd));
  uint32_t source = static_cast<uint32_t>(device);
  int64_t result = retry([&] { return ioctl(clone.get(), FUSE_DEV_IOC_CLONE, &source); });
  return result < 0 ? result : clone.release();
}

int64_t backingOpen(int32_t device, int32_t fd, int32_t isForUser) {
  fuse_backing_map map{fd, 0, 0};
  // The kernel writes with the rights that we have now (fs/backing-file.c:backing_file_write_iter()).
  WithoutFsetid caller(isForUser != 0);
  return retry([&] { return ioctl(device, FUSE_DEV_IOC_BACKING_OPEN, &map); });
}

int64_t backingClose(int32_t device, uint32_t id) {
  return retry([&] { return ioctl(device, FUSE_DEV_IOC_BACKING_CLOSE, &id); });
}

static int64_t tell(int device, int code, const void *body, size_t length) {
  fuse_out_header header{static_cast<uint32_t>(sizeof header + length), code, 0};
  struct iovec parts[2] = {{&header, sizeof header}, {const_cast<void *>(body), length}};
  int64_t result = retry([&] { return writev(device, parts, length ? 2 : 1); });
  return result < 0 ? result : 0;
}

int64_t notify(int32_t device, int32_t code, At body, uint32_t length) {
  const uint8_t *at = body.take(length);
  return at ? tell(device, code, at, length) : -EFAULT;
}
