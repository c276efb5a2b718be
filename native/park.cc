// The parking lot and the completion queues: requests that wait for something, and things that
// have ended, on their way back to the worker they belong to.
//
// Lock order: the lot's mutex, then a worker's; neither is held while a reply is written.

#include "abi.h"
#include "calls.h"
#include "worker.h"
#include <new>
#include <unordered_map>

// -- one worker's queue ----------------------------------------------------------------------

bool Worker::push(Completion &&completion) {
  std::lock_guard<std::mutex> hold(mutex_);
  if (hasEnded_) return false;
  queue_.push_back(std::move(completion));
  if (waker_) waker_->wake();
  return true;
}

bool Worker::pop(Completion &completion) {
  std::lock_guard<std::mutex> hold(mutex_);
  if (queue_.empty()) return false;
  completion = std::move(queue_.front());
  queue_.pop_front();
  return true;
}

bool Worker::hasWaiting() {
  std::lock_guard<std::mutex> hold(mutex_);
  return !queue_.empty();
}

void Worker::setWaker(Waker *waker) {
  std::lock_guard<std::mutex> hold(mutex_);
  waker_ = waker;
  if (waker_ && !queue_.empty()) waker_->wake();
}

void Worker::dropRequests() {
  std::deque<Completion> jobs, requests;
  {
    std::lock_guard<std::mutex> hold(mutex_);
    for (auto &completion : queue_) (completion.request ? requests : jobs).push_back(std::move(completion));
    queue_.swap(jobs);
  }
  for (auto &completion : requests) completion.request->to.send(-EIO);
}

void Worker::end() {
  std::deque<Completion> left;
  {
    std::lock_guard<std::mutex> hold(mutex_);
    hasEnded_ = true;
    waker_ = nullptr;
    left.swap(queue_);
  }
  for (auto &completion : left) {
    if (completion.request) completion.request->to.send(-EIO);
  }
}

// -- the lot ---------------------------------------------------------------------------------

using ParkedList = std::vector<std::unique_ptr<Parked>>;

/** A key means something within its mount only: the name arena, which its workers share, tells mounts apart. */
struct LotKey {
  const void *mount;
  int64_t key;
  bool operator==(const LotKey &other) const { return mount == other.mount && key == other.key; }
};

struct LotKeyHash {
  size_t operator()(const LotKey &at) const {
    return std::hash<const void *>()(at.mount) ^ std::hash<int64_t>()(at.key) * 0x9e3779b97f4a7c15u;
  }
};

struct Lot {
  std::mutex mutex;
  std::unordered_map<LotKey, ParkedList, LotKeyHash> byKey;
};

// Never freed: pool threads may still run while the process exits.
static Lot &lot() {
  static Lot *only = new Lot;
  return *only;
}

int64_t park(int64_t key) {
  Current &current = tls.current;
  if (!current.isHere || !tls.worker) return -EAGAIN;
  std::unique_ptr<Parked> parked(new (std::nothrow) Parked);
  if (!parked) return -ENOMEM;
  parked->owner = *tls.worker;
  parked->bytes.assign(tls.arena + IN, tls.arena + IN + current.length);
  parked->to = takeCurrent();
  std::lock_guard<std::mutex> hold(lot().mutex);
  lot().byKey[LotKey{tls.names, key}].push_back(std::move(parked));
  return PARKED;
}

int64_t wake(int64_t key, int32_t error) {
  ParkedList woken;
  {
    std::lock_guard<std::mutex> hold(lot().mutex);
    auto found = lot().byKey.find(LotKey{tls.names, key});
    if (found == lot().byKey.end()) return 0;
    woken = std::move(found->second);
    lot().byKey.erase(found);
  }
  for (auto &parked : woken) {
    if (error < 0) {
      parked->to.send(error);
      continue;
    }
    auto owner = parked->owner;
    ReplyTo to = parked->to;
    if (!owner->push(Completion{std::move(parked), 0, 0})) to.send(-EIO);
  }
  return static_cast<int64_t>(woken.size());
}

void dropParkedOf(const Worker *worker) {
  ParkedList dropped;
  {
    std::lock_guard<std::mutex> hold(lot().mutex);
    for (auto entry = lot().byKey.begin(); entry != lot().byKey.end();) {
      ParkedList kept;
      for (auto &parked : entry->second) (parked->owner.get() == worker ? dropped : kept).push_back(std::move(parked));
      entry->second = std::move(kept);
      entry = entry->second.empty() ? lot().byKey.erase(entry) : std::next(entry);
    }
  }
  for (auto &parked : dropped) parked->to.send(-EIO);
}

// -- what TypeScript asks --------------------------------------------------------------------

static int64_t bringBack(const Parked &parked) {
  auto header = reinterpret_cast<const fuse_in_header *>(parked.bytes.data());
  memcpy(tls.arena + IN, parked.bytes.data(), parked.bytes.size());
  memset(tls.arena + IN + parked.bytes.size(), 0, 8);
  Current &current = tls.current;
  current.isHere = true;
  current.opcode = header->opcode;
  current.length = static_cast<uint32_t>(parked.bytes.size());
  current.unique = parked.to.unique;
  current.token = parked.to.token;
  (*tls.worker)->broughtPort = parked.to.port;
  current.port = parked.to.port.get();
  current.port->describe(current);
  return 1;
}

int64_t nextCompletion() {
  if (!tls.worker) return 0;
  // The request before is not answered: bringing another one would lose it.
  if (tls.current.isHere) return -EBUSY;
  Completion completion{};
  if (!(*tls.worker)->pop(completion)) return 0;
  if (completion.request) return bringBack(*completion.request);
  auto *control = reinterpret_cast<int32_t *>(tls.arena + CTL);
  control[CTL_JOB] = completion.job;
  control[CTL_RESULT] = static_cast<int32_t>(completion.result);
  return 2;
}
