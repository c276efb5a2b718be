// What a command throws: the failure, and the object it was about.

import { exitStatusOf, reasonOf } from '../mount/errors.js'

/** Shown as `mica: VERB OBJECT: REASON`; `status` is the exit status. */
export class CommandError extends Error {
  readonly object: string
  readonly status: number

  constructor(object: string, cause: unknown, reason = reasonOf(cause), status = exitStatusOf(cause)) {
    super(reason, { cause })
    this.object = object
    this.status = status
  }
}
