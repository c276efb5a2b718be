// Messages to the kernel: what it should no longer believe.
//
// Never from inside a request that holds the same directory or inode: the kernel takes the same
// locks to obey (fs/fuse/dir.c:fuse_reverse_inval_entry()), and both sides would wait for ever.

import { native } from '../sys/native.js'
import { type Arena, SCRATCH_NOTIFY } from '../vfs/arena.js'
import type { NodeId } from '../vfs/file-system.js'
import {
  FUSE_EXPIRE_ONLY,
  FUSE_NOTIFY_DELETE,
  FUSE_NOTIFY_INVAL_ENTRY,
  FUSE_NOTIFY_INVAL_INODE,
  fuse_notify_delete_out,
  fuse_notify_inval_entry_out,
  fuse_notify_inval_inode_out,
} from './abi.js'

export class Notifier {
  readonly #device: number
  readonly #bytes: Uint8Array
  readonly #u32: Uint32Array

  constructor(device: number, arena: Arena) {
    this.#device = device
    this.#bytes = arena.bytes
    this.#u32 = arena.u32
  }

  /**
   * The kernel drops the name (at arena offset `name`) from its cache, or with `isExpiry` asks
   * about it at the next use. Returns 0 or -errno; -ENOENT when it did not know the name.
   */
  invalidateEntry(parent: NodeId, name: number, length: number, isExpiry = false): number {
    const w = SCRATCH_NOTIFY >> 2
    this.#u32[w] = parent
    this.#u32[w + 1] = 0
    this.#u32[w + (fuse_notify_inval_entry_out.namelen >> 2)] = length
    this.#u32[w + (fuse_notify_inval_entry_out.flags >> 2)] = isExpiry ? FUSE_EXPIRE_ONLY : 0
    return this.#send(FUSE_NOTIFY_INVAL_ENTRY, fuse_notify_inval_entry_out.bytes, name, length)
  }

  /** The name is gone together with its inode `child`: as invalidateEntry(), and inotify tells. */
  deleteEntry(parent: NodeId, child: NodeId, name: number, length: number): number {
    const w = SCRATCH_NOTIFY >> 2
    this.#u32[w] = parent
    this.#u32[w + 1] = 0
    this.#u32[w + (fuse_notify_delete_out.child >> 2)] = child
    this.#u32[w + (fuse_notify_delete_out.child >> 2) + 1] = 0
    this.#u32[w + (fuse_notify_delete_out.namelen >> 2)] = length
    this.#u32[w + (fuse_notify_delete_out.namelen >> 2) + 1] = 0
    return this.#send(FUSE_NOTIFY_DELETE, fuse_notify_delete_out.bytes, name, length)
  }

  /**
   * The kernel asks for the attributes again, and drops cached data from `offset` on: `length`
   * bytes, 0 for all the rest; offset -1 keeps all data. Returns 0 or -errno; -ENOENT when it
   * does not hold the inode.
   */
  invalidateInode(node: NodeId, offset: number, length: number): number {
    const w = SCRATCH_NOTIFY >> 2
    this.#u32[w] = node
    this.#u32[w + 1] = 0
    this.#putSigned(w + (fuse_notify_inval_inode_out.off >> 2), offset)
    this.#putSigned(w + (fuse_notify_inval_inode_out.len >> 2), length)
    return native.notify(
      this.#device,
      FUSE_NOTIFY_INVAL_INODE,
      SCRATCH_NOTIFY,
      fuse_notify_inval_inode_out.bytes,
    )
  }

  #putSigned(w: number, value: number): void {
    this.#u32[w] = value % 0x100000000
    this.#u32[w + 1] = Math.floor(value / 0x100000000)
  }

  #send(code: number, head: number, name: number, length: number): number {
    const to = SCRATCH_NOTIFY + head
    this.#bytes.copyWithin(to, name, name + length)
    this.#bytes[to + length] = 0
    return native.notify(this.#device, code, SCRATCH_NOTIFY, head + length + 1)
  }
}
