// Where a worker runs; see place.cc.

#pragma once

#include <cstdint>

struct Place;

/**
 * For a worker on a ring, which is pinned to the CPU that its requests come from: when one caller comes in
 * turns here and to another ring, callers are being moved, and the worker steps back.
 */
class CallerWatch {
public:
  /** `last`: a word that all rings of the mount share; who came last, and where. `worker`: this ring's number. */
  CallerWatch(int32_t *last, uint32_t worker) : last_(last), worker_(worker) {}
  /** A request of the thread `pid` came; 0: of nobody who waits. Returns whether the worker is to step back now. */
  bool note(uint32_t pid);

private:
  int32_t *last_;
  uint32_t worker_;
  int taken_ = 0;
  int moves_ = 0;
  int64_t since_ = 0; // ns
};

/** Remembers the process's policy, before any thread can step back. */
void rememberPolicy();
/** Gives the calling thread the process's policy and CPUs, whatever those of its maker are. */
int64_t freeThread();
/** The thread has come round once more: it is not kept from running. */
void beat(Place *place);
/** For the end of a worker's thread. */
void leavePlace();
