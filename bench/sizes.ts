// How much work the questions do.

import type { Sizes } from './question.js'

const MiB = 1 << 20

export const FULL: Sizes = {
  layers: [1, 8, 60, 120],
  lookupDirs: 100,
  findDirs: 200,
  bigDir: 10_000,
  smallDirs: 100,
  readBytes: 512 * MiB,
  randomReads: 50_000,
  writeBytes: 512 * MiB,
  write4kBytes: 128 * MiB,
  created: 5_000,
  copied: 2_000,
  copyBytes: 512 * MiB,
  walkedDirs: 1_000,
  requests: 20_000,
}

/** A look at whether all works and where figures lie; too little work for figures to quote. */
export const QUICK: Sizes = {
  layers: [1, 8, 60, 120],
  lookupDirs: 20,
  findDirs: 40,
  bigDir: 10_000,
  smallDirs: 20,
  readBytes: 64 * MiB,
  randomReads: 10_000,
  writeBytes: 64 * MiB,
  write4kBytes: 16 * MiB,
  created: 1_000,
  copied: 200,
  copyBytes: 64 * MiB,
  walkedDirs: 50,
  requests: 5_000,
}

/** Files in each directory of the trees that are looked up, walked and read. */
export const FILES = 100
