// One worker as other threads see it: a queue of what has ended elsewhere, and a way to wake it.

#pragma once

#include "port.h"
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

/** A request put aside, with a copy of its bytes. */
struct Parked {
  std::shared_ptr<Worker> owner;
  ReplyTo to;
  std::vector<uint8_t> bytes;
};

struct Completion {
  std::unique_ptr<Parked> request; // null: a job
  int32_t job;
  int64_t result;
};

/** Wakes a worker's loop from another thread. */
class Waker {
public:
  virtual ~Waker() = default;
  virtual void wake() = 0;
};

class Worker {
public:
  /** Queues for the worker and wakes it. False when it has ended. */
  bool push(Completion &&completion);
  bool pop(Completion &completion);
  bool hasWaiting();
  /** The transport's way to wake this worker's loop; null when it has none. */
  void setWaker(Waker *waker);
  /** Answers the requests that wait with EIO; jobs stay. For the end of a transport. */
  void dropRequests();
  /** No more completions: what waits is dropped, requests are answered with EIO. */
  void end();
  /** The port of the request that was brought back last, which may outlive its transport. */
  std::shared_ptr<ReplyPort> broughtPort;

private:
  std::mutex mutex_;
  std::deque<Completion> queue_;
  Waker *waker_ = nullptr;
  bool hasEnded_ = false;
};

/** Answers with EIO what is parked for a worker that ends. See park.cc. */
void dropParkedOf(const Worker *worker);
