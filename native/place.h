// Where a worker runs; see place.cc.

#pragma once

#include <cstdint>

struct Place;

/** Sees who asks a worker, and moves the worker accordingly. */
class Callers {
public:
  virtual ~Callers() = default;
  /** A request of the thread `pid` came; 0: of nobody who waits. Returns whether the worker steps back now. */
  virtual bool note(uint32_t pid) = 0;
};

/** Ends the watch over this thread's callers. */
void endCallers();

/** Remembers the process's policy, before any thread can step back. */
void rememberPolicy();
/** Gives the calling thread the process's policy and CPUs, whatever those of its maker are. */
int64_t freeThread();
/** The thread has come round once more: it is not kept from running. */
void beat(Place *place);
/** For the end of a worker's thread. */
void leavePlace();
