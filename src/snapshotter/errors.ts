// What snapshotting throws. The codes are gRPC's, by which containerd knows them again; each message
// ends with the words that containerd has for its code, so that it does not say them twice.

const WORDS = {
  NOT_FOUND: 'not found',
  ALREADY_EXISTS: 'already exists',
  FAILED_PRECONDITION: 'failed precondition',
  INVALID_ARGUMENT: 'invalid argument',
} as const

export type SnapshotErrorCode = keyof typeof WORDS

export class SnapshotError extends Error {
  override readonly name = 'SnapshotError'
  readonly code: SnapshotErrorCode

  constructor(code: SnapshotErrorCode, what: string) {
    super(`${what}: ${WORDS[code]}`)
    this.code = code
  }
}
