// Where the answer to a request goes. A transport has one port for each worker; whoever holds a
// request (the pool, the parking lot) holds the port with it, so that it outlives the transport.

#pragma once

#include "thread-state.h"
#include <memory>

class ReplyPort : public std::enable_shared_from_this<ReplyPort> {
public:
  virtual ~ReplyPort() = default;
  /**
   * Answers a request from any thread. `error` 0 or -errno; the body counts only with 0.
   * Returns 0, also when the request is gone, or -errno.
   */
  virtual int64_t send(uint64_t unique, uint64_t token, int error, const void *body, size_t length) = 0;
  /** Answers the current request of this thread, whose body of `result` bytes is in place. */
  virtual int64_t answer(const Current &current, int64_t result) = 0;
  /** Ends the current request when the kernel waits for no answer. */
  virtual int64_t dismiss(const Current &) { return 0; }
  /** A request is at IN again: tells TypeScript in CTL where its reply and its data are. */
  virtual void describe(const Current &current) = 0;
};

/** A request that was handed over: it is answered through this, once. */
struct ReplyTo {
  std::shared_ptr<ReplyPort> port;
  uint64_t unique;
  uint64_t token;
  uint32_t opcode;
  void send(int64_t error, const void *body = nullptr, size_t length = 0) const {
    port->send(unique, token, static_cast<int>(error), body, length);
  }
};

/** Takes the current request out of TypeScript's hands. Needs: tls.current.isHere. */
inline ReplyTo takeCurrent() {
  Current &current = tls.current;
  current.isHere = false;
  return ReplyTo{current.port->shared_from_this(), current.unique, current.token, current.opcode};
}
