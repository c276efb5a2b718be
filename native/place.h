// Where a worker runs; see place.cc.

#pragma once

#include <cstdint>

struct Place;

/** Remembers the process's policy, before any thread can step back. */
void rememberPolicy();
/** Gives the calling thread the process's policy and CPUs, whatever those of its maker are. */
int64_t freeThread();
/** The thread has come round once more: it is not kept from running. */
void beat(Place *place);
/** For the end of a worker's thread. */
void leavePlace();
