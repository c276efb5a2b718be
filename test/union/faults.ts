// Native calls with things that go wrong: the n-th call that may fail does, or something else happens
// just before or after a given call.

import { type Native, native } from '../../src/sys/native.js'

/** Calls that have no business failing, or whose failure nobody can act upon. */
const UNFAILING = new Set(['attach', 'close', 'park', 'wake', 'backingClose', 'raiseFileLimit', 'reply'])

export class Faults {
  /** The calls made since the last reset, by name. */
  calls: string[] = []
  /** Index of the call that fails; -1: none. */
  failAt = -1
  errno = 5
  isArmed = false
  /** Runs before each call, with its name and index; a number returned is the call's result. */
  before: ((name: string, args: number[], index: number) => number | undefined) | undefined
  after: ((name: string, args: number[], result: number) => void) | undefined
  readonly sys: Native

  constructor() {
    this.sys = new Proxy(native, {
      get: (target, name: string) => {
        const real = target[name as keyof Native] as (...args: unknown[]) => unknown
        if (typeof real !== 'function') return real
        return (...args: number[]) => this.#call(name, real, args)
      },
    })
  }

  #call(name: string, real: (...args: unknown[]) => unknown, args: number[]): unknown {
    if (!this.isArmed || UNFAILING.has(name)) return this.#around(name, real, args)
    const index = this.calls.length
    this.calls.push(name)
    if (index === this.failAt) return -this.errno
    return this.#around(name, real, args)
  }

  #around(name: string, real: (...args: unknown[]) => unknown, args: number[]): unknown {
    const { after, before } = this
    // What runs in a hook is not hooked itself.
    this.before = this.after = undefined
    const instead = before?.(name, args, this.calls.length - 1)
    const result = instead ?? real.apply(native, args)
    after?.(name, args, result as number)
    this.before ??= before
    this.after ??= after
    return result
  }

  /**
   * Runs `action` with one call failing: number `index` of those made from its request on. Returns the
   * action's result.
   */
  failing(rig: { onRequest: () => void }, index: number, errno: number, action: () => number): number {
    this.calls = []
    this.failAt = index
    this.errno = errno
    rig.onRequest = () => {
      this.isArmed = true
    }
    try {
      return action()
    } finally {
      this.isArmed = false
      this.failAt = -1
      rig.onRequest = () => {}
    }
  }
}
