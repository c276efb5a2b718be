// Keeps the worker on the CPU of the program that it answers, and that program on the CPU of the worker:
// waking a CPU that sleeps takes longer than most requests. How the worker steps back, so that its caller
// is not moved away from it, and what guards against starving meanwhile, is in native/place.cc.
//
// The one worker on the device gets the requests of all CPUs; when one caller sends most of them, it goes where
// that one is. (A worker on a ring is pinned to the CPU that its requests come from already: CallerWatch in
// native/place.h.)
//
// Hot: note() is called for every request.

import type { Native } from '../sys/native.js'

/** Requests between two decisions. */
const WINDOW = 32
/** Of them, those of one caller, before the worker goes where it is. */
const OWN_MIN = 24
/** A window that took longer is no rush: what waking a CPU costs does not matter there. */
const RUSH_MS = 20
/** A caller is followed until it is as slow as this. */
const PAUSE_MS = 500
/** Windows between two looks at the CPU of a caller that is followed; fewer when one was much slower than others. */
const LOOK_WINDOWS = 8
const MUCH_SLOWER = 1.5
/** The quickest window is forgotten bit by bit. */
const PACE_GROWTH = 1.02

type Sys = Pick<Native, 'stepBack' | 'stepForward' | 'cpuOf'>

export class Placement {
  readonly #sys: Sys
  #pid = 0
  #own = 0
  #taken = 0
  #since = 0
  #isFollowing = false
  #looks = 0
  #paceMs = Number.POSITIVE_INFINITY

  constructor(sys: Sys) {
    this.#sys = sys
  }

  /** A request of the thread `pid` was answered; 0: of nobody who waits. */
  note(pid: number): void {
    if (pid === 0) return
    if (pid === this.#pid) this.#own++
    else if (this.#own <= this.#taken >> 1) {
      this.#pid = pid
      this.#own = 1
    }
    if (this.#taken++ === 0) this.#since = performance.now()
    else if (this.#taken === WINDOW) this.#decide()
  }

  #decide(): void {
    const tookMs = performance.now() - this.#since
    if (this.#own >= OWN_MIN && tookMs < (this.#isFollowing ? PAUSE_MS : RUSH_MS)) this.#follow(tookMs)
    else if (this.#isFollowing) {
      this.#isFollowing = false
      this.#sys.stepForward()
    }
    this.#taken = 0
    this.#own = 0
  }

  #follow(tookMs: number): void {
    this.#paceMs = Math.min(this.#paceMs * PACE_GROWTH, tookMs)
    const mayHaveMoved = tookMs > this.#paceMs * MUCH_SLOWER
    if (this.#isFollowing && ++this.#looks < LOOK_WINDOWS && !mayHaveMoved) return
    this.#looks = 0
    const cpu = this.#sys.cpuOf(this.#pid)
    this.#isFollowing = cpu >= 0 && this.#sys.stepBack(cpu) === 0
  }
}
