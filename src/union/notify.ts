// What the kernel is told unasked: that something which it keeps is right no more. Needs no lock of the
// kernel's that a request of ours may hold (fs/fuse/inode.c:fuse_reverse_inval_inode()).

import { SCRATCH_NOTIFY } from '../vfs/arena.js'
import type { Union } from './union.js'

/** Body: nodeid, offset (-1: no data), length; 64 bits each. */
const FUSE_NOTIFY_INVAL_INODE = 2
const BODY_BYTES = 24

/** Has the kernel ask for a node's attributes again; it keeps the data. */
export function dropKeptAttributes(u: Union, node: number): void {
  invalidate(u, node, -1, 0)
}

/**
 * Has the kernel read a directory again that it keeps the listing of, or a part. Only the first page is
 * dropped: who finds it missing begins anew, and who is in the middle goes on filling the others; without
 * the one that he fills a listing would never be kept again (fs/fuse/readdir.c:fuse_add_dirent_to_cache()).
 */
export function dropKeptListing(u: Union, node: number): void {
  invalidate(u, node, 0, 1)
}

function invalidate(u: Union, node: number, offset: 0 | -1, length: number): void {
  const w = SCRATCH_NOTIFY >> 2
  u.i32.fill(0, w, w + (BODY_BYTES >> 2))
  u.i32[w] = node
  u.i32.fill(offset, w + 2, w + 4)
  u.i32[w + 4] = length
  u.sys.notify(u.config.device, FUSE_NOTIFY_INVAL_INODE, SCRATCH_NOTIFY, BODY_BYTES)
}
