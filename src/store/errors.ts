// What the store throws. Front ends turn these into one line, so `message` is the reason alone.

/** The store or a source said no. `code` is an errno's name, or one of the words below. */
export type StoreErrorCode =
  | 'NOT_FOUND' // no such image, tag, container, file
  | 'CONFLICT' // the name is taken, or the object is in use
  | 'INVALID' // the input is not what it should be
  | 'DIGEST' // the bytes are not those that their digest says
  | 'LIMIT' // more than the limits allow
  | 'UNSUPPORTED' // understood, and not done
  | 'DENIED' // a registry wants other credentials
  | 'REGISTRY' // a registry failed
  | 'INTERRUPTED'

export class StoreError extends Error {
  override readonly name = 'StoreError'
  readonly code: StoreErrorCode

  constructor(code: StoreErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
  }
}

/** Returns an Error in Node's own form for a negative errno, so that `code` and `syscall` are there. */
export class SystemError extends Error {
  override readonly name = 'SystemError'
  readonly code: string
  readonly syscall: string
  readonly path: string

  constructor(message: string, code: string, syscall: string, path: string) {
    super(message)
    this.code = code
    this.syscall = syscall
    this.path = path
  }
}
