// The io_uring transport: one ring per worker thread, with entries of one or several of the kernel's
// request queues (one queue per CPU). One system call per request: it hands over the answer to
// the one before, and waits for the next.
//
// An entry is the kernel's (waiting for a request) or ours (its request is worked on or parked); it
// goes back with the answer. Its payload buffer lies in the worker's arena: data of WRITE are left
// there, every other request is put together at IN as the device would give it. Only the worker's
// own thread touches the ring: others leave what they have finished in the port and raise the
// worker's event, whose read(2) is a command in the same ring.
//
// See fs/fuse/dev_uring.c. FORGET, INTERRUPT and INIT come through the device all the same.

#include "abi.h"
#include "at-once.h"
#include "calls.h"
#include "place.h"
#include "uring-ring.h"
#include "worker.h"
#include <condition_variable>
#include <cstdio>
#include <sys/eventfd.h>
#include <sys/mman.h>

namespace {

/** Added to the event to end its worker; a completion adds 1. */
const uint64_t STOP = 1ULL << 32;
const uint64_t EVENT_DATA = ~0ULL;
const uint64_t CLOCK_DATA = EVENT_DATA - 1;
const uint64_t REFUSED_DATA = EVENT_DATA - 2;
/** Answers that may wait in the ring while requests are here; their callers wait with them. */
const uint32_t ANSWERS_MAX = 8;
/** Without a request for this long (up to twice), next() comes back once, for what else the thread has to do. */
const __kernel_timespec IDLE{1, 0};
/** A payload that was never longer than this keeps its memory. */
const uint32_t KEPT_BYTES = 65536;
const uint32_t COMMANDS = 64;
/** An answer that was refused is handed over again after so long. */
const __kernel_timespec REFUSED{0, 20'000'000};
/** Requests answered at once between two turns of the event loop. */
const uint32_t TURN_AT_ONCE = 1 << 14;
/** The device's number among the ring's files. */
const int DEVICE = 0;

struct Entry {
  fuse_uring_req_header header;
  uint32_t offset; // of the payload, in the arena
  uint32_t used;   // most bytes of it since its memory was last given back
  uint16_t queue;
  bool isOurs;
  bool wasRefused; // its last answer was, once or more
  bool isRefused;  // and is to be handed over again
  uint64_t unique;
};

struct Finished {
  uint32_t entry;
  uint64_t unique;
  int error;
  uint32_t length;
};

int saneError(int64_t error) { return error < 0 && error > -512 ? static_cast<int>(error) : -EIO; }

bool isGone(int64_t error) {
  return error == -ENOTCONN || error == -ECONNABORTED || error == -ECANCELED || error == -ENODEV;
}

int64_t raise(int event, uint64_t by) {
  int64_t result = retry([&] { return write(event, &by, sizeof by); });
  return result < 0 ? result : 0;
}

/** `file`: its number among the ring's. */
void prepare(io_uring_sqe *sqe, int file, uint32_t command, uint16_t queue, uint64_t unique, uint64_t data) {
  sqe->opcode = IORING_OP_URING_CMD;
  sqe->fd = file;
  sqe->flags = IOSQE_FIXED_FILE;
  sqe->cmd_op = command;
  sqe->user_data = data;
  auto *request = reinterpret_cast<fuse_uring_cmd_req *>(sqe->cmd);
  request->commit_id = unique;
  request->qid = queue;
}

} // namespace

class UringPort;

/** The rings are made with entries at fixed addresses: the kernel writes into them. */
struct Uring : Waker {
  std::shared_ptr<UringPort> port;
  std::shared_ptr<Worker> worker;
  OwnedFd device;
  Ring ring;
  std::unique_ptr<Entry[]> entries;
  uint32_t count = 0; // entries
  uint32_t live = 0;  // those that the kernel did not refuse
  uint32_t payloadBytes = 0;
  uint64_t eventValue = 0;
  bool isEventAwaited = false;
  bool hasNews = false; // something may wait in the port or in the worker's queue
  bool isClockRunning = false;
  bool isBusy = false; // a request came since the clock was started
  uint32_t answers = 0; // not handed over yet
  uint32_t atOnce = 0;  // answered so

  void wake() override;
  int64_t enlistAll(uint32_t queues);
  bool enlist(uint32_t entry);
  bool awaitEvent();
  bool startClock();
  bool startTimer(const __kernel_timespec &time, uint64_t data);
  bool noteBusy();
  void finish(uint32_t entry, int error, uint32_t length);
  void finishOthers();
  int64_t accept(uint32_t entry);
  int64_t handle(const io_uring_cqe &completion);
  int64_t refused(uint32_t entry, int error);
  int64_t handOverAgain();
  int64_t next();
  void trim();
  void close();
  uint8_t *payload(uint32_t entry) const { return tls.arena + entries[entry].offset; }
};

/** Answers from any thread go here; the memory they are copied to is there until close() returns. */
class UringPort : public ReplyPort {
public:
  UringPort(Uring *owner, OwnedFd event) : owner_(owner), event_(std::move(event)), arena_(tls.arena) {}
  int event() const { return event_.get(); }

  int64_t send(uint64_t unique, uint64_t token, int error, const void *body, size_t length) override {
    uint8_t *to;
    {
      std::lock_guard<std::mutex> hold(mutex_);
      if (!owner_) return 0;
      if (error != 0) length = 0;
      if (length > owner_->payloadBytes) error = -EIO, length = 0;
      to = arena_ + owner_->entries[token].offset;
      copying_++;
    }
    // The entry is ours until its answer is queued, and this is the one answer.
    if (length > 0) memcpy(to, body, length);
    std::lock_guard<std::mutex> hold(mutex_);
    copying_--;
    if (!owner_) {
      copied_.notify_all();
      return 0;
    }
    finished_.push_back({static_cast<uint32_t>(token), unique, error ? saneError(error) : 0, static_cast<uint32_t>(length)});
    wakeOwner();
    return 0;
  }

  int64_t answer(const Current &current, int64_t result) override {
    if (!owner_) return 0; // it was answered when the ring went
    if (result > owner_->payloadBytes) result = -EIO;
    owner_->finish(static_cast<uint32_t>(current.token), result < 0 ? saneError(result) : 0,
                   result > 0 ? static_cast<uint32_t>(result) : 0);
    return 0;
  }

  int64_t dismiss(const Current &current) override { return answer(current, 0); }

  void describe(const Current &current) override {
    if (!owner_) return;
    auto *control = reinterpret_cast<uint32_t *>(tls.arena + CTL);
    uint32_t payload = owner_->entries[current.token].offset;
    control[CTL_IN_LENGTH] = current.length;
    control[CTL_OUT] = payload;
    control[CTL_OUT_CAPACITY] = owner_->payloadBytes;
    control[CTL_DATA] = payload;
  }

  bool take(Finished &one) {
    std::lock_guard<std::mutex> hold(mutex_);
    if (finished_.empty()) return false;
    one = finished_.front();
    finished_.pop_front();
    return true;
  }

  /** No more answers; waits for those that are being copied. */
  void close() {
    std::unique_lock<std::mutex> hold(mutex_);
    owner_ = nullptr;
    copied_.wait(hold, [&] { return copying_ == 0; });
    finished_.clear();
  }

  void wakeOwner() {
    if (tls.uring == owner_) owner_->hasNews = true;
    else raise(event_.get(), 1);
  }

private:
  std::mutex mutex_;
  std::condition_variable copied_;
  std::deque<Finished> finished_;
  Uring *owner_;
  OwnedFd event_;
  uint8_t *arena_;
  int copying_ = 0;
};

// Called with the worker's lock held, never after close() has taken the waker away.
void Uring::wake() { port->wakeOwner(); }

bool Uring::enlist(uint32_t entry) {
  io_uring_sqe *sqe = ring.next();
  if (!sqe) return false;
  Entry &each = entries[entry];
  prepare(sqe, DEVICE, FUSE_IO_URING_CMD_REGISTER, each.queue, 0, entry);
  struct iovec *parts = new struct iovec[2]{{&each.header, sizeof each.header}, {payload(entry), payloadBytes}};
  sqe->addr = reinterpret_cast<uint64_t>(parts);
  sqe->len = 2;
  // The kernel reads the parts while it takes the command.
  bool isTaken = ring.submit() == 0;
  delete[] parts;
  return isTaken;
}

/**
 * Gives the kernel all entries. The first `queues` of them are one of each queue: the kernel changes over
 * to the rings when the last queue of the last worker has got one, so these must all be taken. The others
 * are depth; a refusal of one comes as a completion.
 */
int64_t Uring::enlistAll(uint32_t queues) {
  for (uint32_t entry = 0; entry < count; entry++) {
    if (!enlist(entry)) return -EIO;
    // A refusal is there at once; requests come only when next() asks for them.
    io_uring_cqe completion;
    if (entry < queues && ring.take(completion)) return completion.res < 0 ? completion.res : -EPROTO;
  }
  return awaitEvent() && startClock() ? 0 : -EIO;
}

bool Uring::awaitEvent() {
  io_uring_sqe *sqe = ring.next();
  if (!sqe) return false;
  sqe->opcode = IORING_OP_READ;
  sqe->fd = port->event();
  sqe->addr = reinterpret_cast<uint64_t>(&eventValue);
  sqe->len = sizeof eventValue;
  sqe->user_data = EVENT_DATA;
  isEventAwaited = true;
  return true;
}

/**
 * Asks for a completion after a while. One for many requests: a time limit for each waiting would cost a
 * timer each.
 */
bool Uring::startClock() {
  if (!startTimer(IDLE, CLOCK_DATA)) return false;
  isClockRunning = true;
  isBusy = false;
  return true;
}

bool Uring::startTimer(const __kernel_timespec &time, uint64_t data) {
  io_uring_sqe *sqe = ring.next();
  if (!sqe) return false;
  sqe->opcode = IORING_OP_TIMEOUT;
  sqe->fd = -1;
  sqe->addr = reinterpret_cast<uint64_t>(&time);
  sqe->len = 1;
  sqe->user_data = data;
  return true;
}

/** Puts the answer of an entry into the ring. Its body, if any, is in the payload. */
void Uring::finish(uint32_t index, int error, uint32_t length) {
  Entry &entry = entries[index];
  if (!entry.isOurs) return;
  io_uring_sqe *sqe = ring.next();
  if (!sqe) return; // the ring is broken; next() will say so
  fuse_out_header header{static_cast<uint32_t>(sizeof header + length), error, entry.unique};
  memcpy(entry.header.in_out, &header, sizeof header);
  entry.header.ring_ent_in_out.payload_sz = length;
  if (length > entry.used) entry.used = length;
  entry.isOurs = false;
  prepare(sqe, DEVICE, FUSE_IO_URING_CMD_COMMIT_AND_FETCH, entry.queue, entry.unique, index);
  answers++;
}

void Uring::finishOthers() {
  Finished one;
  while (port->take(one)) {
    if (entries[one.entry].unique == one.unique) finish(one.entry, one.error, one.length);
  }
}

/** Returns false when the ring is broken. */
bool Uring::noteBusy() {
  isBusy = true;
  return isClockRunning || startClock();
}

/** Makes an entry's request the current one. Returns its length at IN, or 0 when there is nothing left to do. */
int64_t Uring::accept(uint32_t index) {
  Entry &entry = entries[index];
  fuse_in_header header;
  memcpy(&header, entry.header.in_out, sizeof header);
  const auto &tail = entry.header.ring_ent_in_out;
  entry.isOurs = true;
  entry.wasRefused = false;
  entry.unique = tail.commit_id;
  uint32_t payloadLength = tail.payload_sz;
  // What the length counts beyond header and payload is the operation's struct.
  uint64_t rest = static_cast<uint64_t>(sizeof header) + payloadLength;
  if (payloadLength > payloadBytes || header.len < rest || header.len - rest > FUSE_URING_OP_IN_OUT_SZ) {
    finish(index, -EIO, 0);
    return 0;
  }
  if (payloadLength > entry.used) entry.used = payloadLength;
  if (tls.callers) tls.callers->note(header.pid);
  if (!noteBusy()) return -EIO;
  uint32_t structLength = header.len - static_cast<uint32_t>(rest);
  RequestArgs args{reinterpret_cast<uint8_t *>(entry.header.op_in), structLength, payload(index), payloadLength};
  int64_t result = answerAtOnce(header, args, payload(index));
  if (result != NOT_AT_ONCE) {
    finish(index, result < 0 ? static_cast<int>(result) : 0, result > 0 ? static_cast<uint32_t>(result) : 0);
    return ++atOnce % TURN_AT_ONCE == 0 ? -EAGAIN : 0;
  }
  uint8_t *to = tls.arena + IN + sizeof header;
  memcpy(to, entry.header.op_in, structLength);
  to += structLength;
  if (header.opcode == FUSE_WRITE && structLength >= sizeof(fuse_write_in)) {
    fuse_write_in write;
    memcpy(&write, entry.header.op_in, sizeof write);
    if (write.size > payloadLength) {
      finish(index, -EIO, 0);
      return 0;
    }
    header.len -= payloadLength;
  } else {
    memcpy(to, payload(index), payloadLength);
    to += payloadLength;
  }
  // Nothing of an earlier, longer request may look like the end of this one.
  memset(to, 0, 8);
  memcpy(tls.arena + IN, &header, sizeof header);
  tls.current = Current{true, header.opcode, header.len, header.unique, index, port.get()};
  port->describe(tls.current);
  return header.len;
}

/**
 * The kernel refused a command of an entry: it was one too many of its queue at the start, or its request is gone
 * (ENOENT). Any other answer is handed over again, as its caller would wait for ever: the module's switch may be
 * off for a moment, which counts on connections that were made when it changed. Returns as handle().
 */
int64_t Uring::refused(uint32_t index, int error) {
  Entry &entry = entries[index];
  if (entry.unique == 0 || error == -ENOENT) return --live > 0 ? 0 : error;
  if (!entry.wasRefused) fprintf(stderr, "mica: io_uring: an answer was refused, and waits: %s\n", strerror(-error));
  entry.wasRefused = entry.isRefused = true;
  return startTimer(REFUSED, REFUSED_DATA) ? 0 : -EIO;
}

int64_t Uring::handOverAgain() {
  for (uint32_t index = 0; index < count; index++) {
    Entry &entry = entries[index];
    if (!entry.isRefused) continue;
    entry.isRefused = false;
    io_uring_sqe *sqe = ring.next();
    if (!sqe) return -EIO;
    prepare(sqe, DEVICE, FUSE_IO_URING_CMD_COMMIT_AND_FETCH, entry.queue, entry.unique, index);
  }
  return 0;
}

/** Returns the length of a request, 0 for something else, or why the transport ends. */
int64_t Uring::handle(const io_uring_cqe &completion) {
  if (completion.user_data == EVENT_DATA) {
    isEventAwaited = false;
    if (completion.res < 0) return isGone(completion.res) ? -ENODEV : -EIO;
    if (eventValue >= STOP) return -ESHUTDOWN;
    hasNews = true;
    return awaitEvent() ? 0 : -EIO;
  }
  if (completion.user_data == CLOCK_DATA) {
    isClockRunning = false;
    if (isBusy) return startClock() ? 0 : -EIO;
    trim();
    return -EAGAIN;
  }
  if (completion.user_data == REFUSED_DATA) return handOverAgain();
  if (completion.res >= 0) return accept(static_cast<uint32_t>(completion.user_data));
  if (isGone(completion.res)) return -ENODEV;
  return refused(static_cast<uint32_t>(completion.user_data), completion.res);
}

int64_t Uring::next() {
  if (tls.current.isHere) return -EBUSY;
  for (;;) {
    if (hasNews) {
      hasNews = false;
      finishOthers();
      if (worker->hasWaiting()) {
        hasNews = true;
        return 0;
      }
    }
    io_uring_cqe completion;
    int64_t result;
    if (ring.take(completion)) {
      if (answers >= ANSWERS_MAX) {
        answers = 0;
        result = ring.submit();
        if (result < 0) return result;
      }
      if (tls.place) beat(tls.place);
      result = handle(completion);
      if (result == 0) continue;
      return result;
    }
    answers = 0;
    result = ring.submitAndWait();
    if (result < 0) return result;
  }
}

/**
 * Gives back the memory of large payloads that wait for their next request. Requests are written to
 * them by this thread only, inside of submitAndWait().
 */
void Uring::trim() {
  for (uint32_t i = 0; i < count; i++) {
    Entry &entry = entries[i];
    if (entry.isOurs || entry.used <= KEPT_BYTES) continue;
    madvise(payload(i), payloadBytes, MADV_DONTNEED);
    entry.used = 0;
  }
}

/** Answers what is in our hands with EIO, and lets the rings go. */
void Uring::close() {
  worker->setWaker(nullptr);
  dropParkedOf(worker.get());
  worker->dropRequests();
  if (tls.current.isHere && tls.current.port == port.get()) reply(-EIO);
  finishOthers();
  port->close();
  // What a thread of the pool still works on: nobody will take its answer.
  for (uint32_t i = 0; i < count; i++) finish(i, -EIO, 0);
  (void)ring.submit();
  ring.close();
  endAtOnce();
  endCallers();
  tls.uring = nullptr;
  delete this;
}

/** Checks the places of all entries and fills them in: first one for each queue, then the depth. */
static int64_t layOut(Uring *uring, uint32_t place, const uint32_t *queues, uint32_t count) {
  uint64_t total = 0;
  uint32_t deepest = 0;
  for (uint32_t i = 0; i < count; i++) {
    uint32_t depth = queues[2 * i + 1];
    if (queues[2 * i] > UINT16_MAX || depth == 0 || depth > 1024) return -EINVAL;
    total += depth;
    if (depth > deepest) deepest = depth;
  }
  // The arena's start is no page border; a payload's is.
  uint64_t start = place + ((4096 - (reinterpret_cast<uintptr_t>(tls.arena) + place) % 4096) % 4096);
  if (start + total * uring->payloadBytes > tls.arenaSize || tls.arenaSize > UINT32_MAX) return -EFAULT;
  uring->entries.reset(new (std::nothrow) Entry[total]());
  if (!uring->entries) return -ENOMEM;
  uring->count = uring->live = static_cast<uint32_t>(total);
  uint32_t index = 0;
  for (uint32_t level = 0; level < deepest; level++) {
    for (uint32_t i = 0; i < count; i++) {
      if (level >= queues[2 * i + 1]) continue;
      Entry &entry = uring->entries[index];
      entry.queue = static_cast<uint16_t>(queues[2 * i]);
      entry.offset = static_cast<uint32_t>(start + static_cast<uint64_t>(index) * uring->payloadBytes);
      index++;
    }
  }
  // Huge pages would make each small request cost one.
  madvise(tls.arena + start, total * uring->payloadBytes, MADV_NOHUGEPAGE);
  return 0;
}

int64_t uringStart(int32_t device, int32_t event, At place, uint32_t payloadBytes, At queues, uint32_t count) {
  if (!tls.worker || tls.arenaSize < TRANSPORT_BYTES || count == 0 || count > 4096 || payloadBytes % 4096 != 0) return -EINVAL;
  if (tls.device || tls.uring) return -EBUSY;
  auto *pairs = reinterpret_cast<const uint32_t *>(queues.take(count * 8));
  if (!pairs || queues.offset % 4 != 0 || !place.take(0)) return -EFAULT;
  OwnedFd ownDevice = OwnedFd::duplicate(device), ownEvent = OwnedFd::duplicate(event);
  if (!ownDevice.isOpen() || !ownEvent.isOpen()) return -errno;
  std::unique_ptr<Uring> uring(new Uring);
  uring->device = std::move(ownDevice);
  uring->worker = *tls.worker;
  uring->payloadBytes = payloadBytes;
  int64_t result = layOut(uring.get(), place.offset, pairs, count);
  if (result < 0) return result;
  uring->port = std::make_shared<UringPort>(uring.get(), std::move(ownEvent));
  result = uring->ring.open(COMMANDS, 2 * (uring->count > COMMANDS ? uring->count : COMMANDS));
  if (result == 0) result = uring->ring.registerFile(uring->device.get());
  if (result == 0) result = uring->enlistAll(count);
  if (result < 0) return result;
  tls.uring = uring.release();
  tls.uring->worker->setWaker(tls.uring);
  return 0;
}

int64_t uringNext() { return tls.uring ? tls.uring->next() : -ENODEV; }

int64_t uringReplyAndNext(int32_t result) {
  reply(result);
  return uringNext();
}

int64_t uringStop() {
  if (tls.uring) tls.uring->close();
  return 0;
}

int64_t uringProbe() {
  Ring ring;
  return ring.open(4, 8);
}

int64_t uringEvent() {
  return retry([] { return eventfd(0, EFD_CLOEXEC); });
}

int64_t uringSignal(int32_t event) { return raise(event, STOP); }

int64_t uringRefuse(int32_t device) {
  Ring ring;
  int64_t result = ring.open(4, 8);
  if (result == 0) result = ring.registerFile(device);
  if (result < 0) return result;
  io_uring_sqe *sqe = ring.next();
  // There is no such queue. The kernel gives up the rings at the first refusal.
  prepare(sqe, DEVICE, FUSE_IO_URING_CMD_REGISTER, UINT16_MAX, 0, 0);
  static char none[2][4096];
  struct iovec parts[2] = {{none[0], sizeof(fuse_uring_req_header)}, {none[1], sizeof none[1]}};
  sqe->addr = reinterpret_cast<uint64_t>(parts);
  sqe->len = 2;
  result = ring.submit();
  io_uring_cqe completion;
  if (result == 0 && ring.take(completion)) result = completion.res;
  return result == -EINVAL ? 0 : result < 0 ? result : -EIO;
}
