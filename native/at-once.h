// Requests that are answered without TypeScript; see at-once.cc.

#pragma once

#include "abi.h"

struct AtOnce;

/** What a request says: its operation's struct, and what is behind that. */
struct RequestArgs {
  const uint8_t *fixed;
  uint32_t fixedSize;
  const uint8_t *rest;
  uint32_t restSize;
};

/** The request is TypeScript's to answer, and nothing has changed. */
constexpr int64_t NOT_AT_ONCE = 0x7ffffffd;

/** Takes apart what follows the header of a request that lies in one piece. */
RequestArgs argsOf(uint32_t opcode, const uint8_t *body, uint32_t size);

/**
 * Answers a request if it is one of those. Writes the reply's body at `out`, which may be where the arguments are.
 * Returns its length, -errno, or NOT_AT_ONCE.
 */
int64_t answerAtOnce(const fuse_in_header &request, const RequestArgs &args, uint8_t *out);

/** No more of them by this thread. */
void endAtOnce();
