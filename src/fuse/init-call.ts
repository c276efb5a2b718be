// INIT: takes the kernel's offer from the request, has it negotiated, and encodes the answer.

import { EPROTO } from '../base/errno.js'
import { fuse_init_in, fuse_init_out, initFlags } from './abi.js'
import { hasFlag, negotiate } from './negotiate.js'
import { type Request, word } from './request.js'
import { shareAgreement } from './session-shared.js'

/** Answers INIT. A kernel that is too old gets -EPROTO, and `onInit` the reason. */
export function init(r: Request): number {
  let flags = word(r, r.at + fuse_init_in.flags)
  // Kernels before 7.36 send the first four words only.
  if (r.end - r.at >= fuse_init_in.bytes && hasFlag(flags, initFlags.FUSE_INIT_EXT)) {
    flags += word(r, r.at + fuse_init_in.flags2) * 0x100000000
  }
  const offer = {
    major: word(r, r.at + fuse_init_in.major),
    minor: word(r, r.at + fuse_init_in.minor),
    maxReadahead: word(r, r.at + fuse_init_in.max_readahead),
    flags,
  }
  const agreement = negotiate(offer, r.negotiate)
  if (typeof agreement === 'string') {
    shareAgreement(r.agreed, null)
    r.onInit(agreement)
    return -EPROTO
  }

  const w = r.out >> 2
  r.u32.fill(0, w, w + (fuse_init_out.bytes >> 2))
  r.u32[w + (fuse_init_out.major >> 2)] = agreement.major
  r.u32[w + (fuse_init_out.minor >> 2)] = agreement.minor
  r.u32[w + (fuse_init_out.max_readahead >> 2)] = agreement.maxReadahead
  r.u32[w + (fuse_init_out.flags >> 2)] = agreement.flags % 0x100000000
  r.u32[w + (fuse_init_out.flags2 >> 2)] = Math.floor(agreement.flags / 0x100000000)
  // Two u16 share a word: max_background and congestion_threshold, max_pages and map_alignment.
  r.u32[w + (fuse_init_out.max_background >> 2)] =
    agreement.maxBackground | (agreement.congestionThreshold << 16)
  r.u32[w + (fuse_init_out.max_write >> 2)] = agreement.maxWrite
  r.u32[w + (fuse_init_out.time_gran >> 2)] = 1
  r.u32[w + (fuse_init_out.max_pages >> 2)] = agreement.maxPages
  r.u32[w + (fuse_init_out.max_stack_depth >> 2)] = agreement.maxStackDepth
  // A later major version asks once more; only that INIT settles anything.
  if (offer.major === agreement.major) {
    shareAgreement(r.agreed, agreement.flags)
    r.onInit(agreement)
  }
  return fuse_init_out.bytes
}
