// LOOKUPs that are answered here; see lookup.cc.

#pragma once

#include "abi.h"

struct Lookups;

/**
 * Answers a LOOKUP whose name, with its NUL, is `size` bytes. Returns whether it did: else nothing has
 * changed, and TypeScript is to answer. `out` may be where the name lies. Needs: tls.lookups.
 */
bool answerLookup(const fuse_in_header &request, const uint8_t *name, uint32_t size, fuse_entry_out *out);

/** No more of them by this thread. */
void endLookups();
