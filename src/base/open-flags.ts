// Flags of open(2), with this machine's numbers: some are others on other architectures.

import { constants } from 'node:fs'

export const {
  O_RDONLY,
  O_WRONLY,
  O_RDWR,
  O_CREAT,
  O_EXCL,
  O_TRUNC,
  O_NONBLOCK,
  O_DIRECTORY,
  O_NOATIME,
  O_SYNC,
} = constants
export const O_ACCMODE = 3
/** Unknown to Node, and the same wherever that runs (include/uapi/asm-generic/fcntl.h). */
export const O_PATH = 0o10000000
