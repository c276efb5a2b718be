// Requests that are answered without TypeScript; see at-once.cc.

#pragma once

#include "abi.h"

struct AtOnce;

/**
 * Answers a request if it is one of those. `args`, of `size` bytes: what follows the header. Writes the reply's body
 * at `out`, which may be where `args` is. Returns its length, or -1: then nothing has changed, and TypeScript is
 * to answer.
 */
int64_t answerAtOnce(const fuse_in_header &request, const uint8_t *args, uint32_t size, uint8_t *out);

/** No more of them by this thread. */
void endAtOnce();
