// A bare io_uring by its system calls: what the io_uring transport needs of one, and no more.
// Used by the thread that opened it only. Knows nothing of FUSE.

#pragma once

#include "sys.h"
#include <cstdint>
#include <linux/io_uring.h>

class Ring {
public:
  Ring() = default;
  Ring(const Ring &) = delete;
  Ring &operator=(const Ring &) = delete;
  ~Ring() { close(); }

  /** Room for `entries` commands at a time and `completions` answers. Returns 0 or -errno. */
  int64_t open(uint32_t entries, uint32_t completions);
  void close();
  bool isOpen() const { return fd_.isOpen(); }

  /** An empty 128-byte command; it goes with the next submit(). Null when none can be had. */
  io_uring_sqe *next();
  uint32_t pending() const { return sqTail_ - submitted_; }
  /** Hands over what next() gave out. Returns 0 or -errno. */
  int64_t submit();
  /** The same, and waits for a completion. */
  int64_t submitAndWait();
  /** Lets commands name a file as number 0 with IOSQE_FIXED_FILE, which spares looking it up. Returns 0 or -errno. */
  int64_t registerFile(int file);
  /** Takes a completion that is here; false when there is none. */
  bool take(io_uring_cqe &completion);

private:
  int64_t map(const io_uring_params &params);
  void registerRing();
  int64_t enter(uint32_t wanted);

  OwnedFd fd_;
  int enterFd_ = -1; // fd_, or its number among this thread's registered rings
  uint32_t enterFlags_ = 0;
  uint8_t *rings_ = nullptr;
  size_t ringsSize_ = 0;
  uint8_t *commands_ = nullptr;
  size_t commandsSize_ = 0;
  uint32_t *sqHead_ = nullptr, *sqTailShared_ = nullptr, *cqHead_ = nullptr, *cqTail_ = nullptr;
  io_uring_cqe *completions_ = nullptr;
  uint32_t sqMask_ = 0, sqEntries_ = 0, cqMask_ = 0;
  uint32_t sqTail_ = 0, submitted_ = 0;
};
