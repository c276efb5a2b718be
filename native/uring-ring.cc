// See uring-ring.h. The kernel's side of a ring's indices is read with acquire and written with
// release order, as io_uring_setup(2) asks.

#include "uring-ring.h"
#include <sys/mman.h>

static const size_t COMMAND_BYTES = 128;

static uint32_t acquire(const uint32_t *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
static void release(uint32_t *at, uint32_t value) { __atomic_store_n(at, value, __ATOMIC_RELEASE); }

int64_t Ring::open(uint32_t entries, uint32_t completions) {
  io_uring_params params{};
  // Work that the kernel does for a request runs when this thread asks for it, never in between:
  // payload buffers change only inside submitAndWait() and submit().
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SQE128 |
                 IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL;
  params.cq_entries = completions;
  int64_t fd = retry([&] { return syscall(SYS_io_uring_setup, entries, &params); });
  if (fd < 0) return fd;
  fd_ = OwnedFd(static_cast<int>(fd));
  fcntl(fd_.get(), F_SETFD, FD_CLOEXEC);
  int64_t result = params.features & IORING_FEAT_SINGLE_MMAP ? map(params) : -ENOSYS;
  if (result < 0) close();
  else registerRing();
  return result;
}

/** Spares the kernel looking up the ring's fd at each call; goes without where it can't. */
void Ring::registerRing() {
  enterFd_ = fd_.get();
  io_uring_rsrc_update update{};
  update.offset = UINT32_MAX; // any free number
  update.data = static_cast<uint64_t>(fd_.get());
  if (syscall(SYS_io_uring_register, fd_.get(), IORING_REGISTER_RING_FDS, &update, 1) != 1) return;
  enterFd_ = static_cast<int>(update.offset);
  enterFlags_ = IORING_ENTER_REGISTERED_RING;
}

int64_t Ring::registerFile(int file) {
  int32_t files[1] = {file};
  return retry([&] { return syscall(SYS_io_uring_register, fd_.get(), IORING_REGISTER_FILES, files, 1); });
}

int64_t Ring::map(const io_uring_params &params) {
  const auto &sq = params.sq_off;
  const auto &cq = params.cq_off;
  size_t sqBytes = sq.array + params.sq_entries * sizeof(uint32_t);
  size_t cqBytes = cq.cqes + params.cq_entries * sizeof(io_uring_cqe);
  ringsSize_ = sqBytes > cqBytes ? sqBytes : cqBytes;
  void *rings = mmap(nullptr, ringsSize_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_.get(), IORING_OFF_SQ_RING);
  if (rings == MAP_FAILED) return -errno;
  rings_ = static_cast<uint8_t *>(rings);
  commandsSize_ = params.sq_entries * COMMAND_BYTES;
  void *commands = mmap(nullptr, commandsSize_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_.get(), IORING_OFF_SQES);
  if (commands == MAP_FAILED) return -errno;
  commands_ = static_cast<uint8_t *>(commands);
  auto word = [&](uint32_t offset) { return reinterpret_cast<uint32_t *>(rings_ + offset); };
  sqHead_ = word(sq.head);
  sqTailShared_ = word(sq.tail);
  sqMask_ = *word(sq.ring_mask);
  sqEntries_ = params.sq_entries;
  cqHead_ = word(cq.head);
  cqTail_ = word(cq.tail);
  cqMask_ = *word(cq.ring_mask);
  completions_ = reinterpret_cast<io_uring_cqe *>(rings_ + cq.cqes);
  for (uint32_t i = 0; i < sqEntries_; i++) word(sq.array)[i] = i;
  return 0;
}

void Ring::close() {
  if (commands_) munmap(commands_, commandsSize_);
  if (rings_) munmap(rings_, ringsSize_);
  commands_ = rings_ = nullptr;
  if (enterFlags_) {
    io_uring_rsrc_update update{};
    update.offset = static_cast<uint32_t>(enterFd_);
    syscall(SYS_io_uring_register, fd_.get(), IORING_UNREGISTER_RING_FDS, &update, 1);
  }
  enterFlags_ = 0;
  fd_.reset();
}

io_uring_sqe *Ring::next() {
  if (sqTail_ - acquire(sqHead_) >= sqEntries_ && submit() < 0) return nullptr;
  if (sqTail_ - acquire(sqHead_) >= sqEntries_) return nullptr;
  uint8_t *at = commands_ + (sqTail_ & sqMask_) * COMMAND_BYTES;
  memset(at, 0, COMMAND_BYTES);
  sqTail_++;
  return reinterpret_cast<io_uring_sqe *>(at);
}

int64_t Ring::enter(uint32_t wanted) {
  release(sqTailShared_, sqTail_);
  uint32_t flags = enterFlags_ | (wanted ? IORING_ENTER_GETEVENTS : 0);
  long done = syscall(SYS_io_uring_enter, enterFd_, pending(), wanted, flags, nullptr, 0);
  int64_t result = done < 0 ? -errno : done;
  // Whatever the result says, the head tells what the kernel took.
  submitted_ = acquire(sqHead_);
  return result < 0 ? result : 0;
}

int64_t Ring::submit() {
  while (pending() > 0) {
    int64_t result = enter(0);
    if (result < 0 && result != -EINTR) return result;
  }
  return 0;
}

int64_t Ring::submitAndWait() {
  // An error of the waiting is not told when commands were taken: then nothing has come yet.
  int64_t result = enter(1);
  return result == -EINTR ? 0 : result;
}

bool Ring::take(io_uring_cqe &completion) {
  uint32_t head = *cqHead_;
  if (head == acquire(cqTail_)) return false;
  completion = completions_[head & cqMask_];
  release(cqHead_, head + 1);
  return true;
}
