// A worker's own open directories, (node, layer) to O_PATH fd, the least recently used let go.
//
// Private to the worker, so no other can close an fd that is in use here. A real directory never
// changes under a live node: an fd stays right across renames of the directory and its ancestors.
// fds that fall out are closed later, because the running request may still hold them.

import { LRUCache } from 'lru-cache'
import type { Native } from '../sys/native.js'

const HELD_BACK = 2048
/** An fd that was used in one of this many steps back may be in the hands of the running request. */
const IN_USE_STEPS = 4096

export class DirFds {
  readonly #fds: LRUCache<number, number>
  readonly #sys: Native
  #generations = new Int32Array(1024)
  /** The step of the last use, by fd. */
  #uses = new Float64Array(1024)
  #step = 0
  #dropped: number[] = []

  constructor(sys: Native, max: number) {
    this.#sys = sys
    this.#fds = new LRUCache<number, number>({
      max,
      dispose: (fd) => this.#dropped.push(fd),
    })
  }

  /** Returns the fd of a node's real in a layer, or -1. */
  get(node: number, layer: number, generation: number): number {
    const fd = this.#fds.get(node * 512 + layer)
    if (fd === undefined) return -1
    this.#uses[fd] = ++this.#step
    if (this.#generations[fd] === generation) return fd
    this.#fds.delete(node * 512 + layer)
    return -1
  }

  /** Keeps an fd; this cache closes it. */
  set(node: number, layer: number, generation: number, fd: number): void {
    if (fd >= this.#generations.length) {
      const larger = new Int32Array(Math.max(fd + 1, this.#generations.length * 2))
      larger.set(this.#generations)
      this.#generations = larger
      const uses = new Float64Array(larger.length)
      uses.set(this.#uses)
      this.#uses = uses
    }
    this.#generations[fd] = generation
    this.#uses[fd] = ++this.#step
    this.#fds.set(node * 512 + layer, fd)
    if (this.#dropped.length > HELD_BACK) this.#close(HELD_BACK / 2)
  }

  /** Lets one go, e.g. because its directory was removed. */
  drop(node: number, layer: number): void {
    this.#fds.delete(node * 512 + layer)
  }

  /** The process is out of fds: closes up to half of what is kept, but nothing that is in use. */
  shrink(): void {
    const keep = this.#fds.size >>> 1
    while (this.#fds.size > keep) this.#fds.pop()
    const isOld = (fd: number) => this.#step - this.#uses[fd]! > IN_USE_STEPS
    for (const fd of this.#dropped) if (isOld(fd)) this.#sys.close(fd)
    this.#dropped = this.#dropped.filter((fd) => !isOld(fd))
  }

  close(): void {
    this.#fds.clear()
    this.#close(this.#dropped.length)
  }

  #close(count: number): void {
    for (const fd of this.#dropped.splice(0, count)) this.#sys.close(fd)
  }
}
