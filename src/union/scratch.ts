// Places for names in the worker's arena, 512 bytes each: whose step may write where. A step that
// calls another must not keep its name in a place that the other writes.

import { SCRATCH_NAME } from '../vfs/arena.js'

const PLACE = 512

/** locate(): the name of what it found. */
export const FOUND_NAME = SCRATCH_NAME
/** dirFd(): the component it opens. */
export const STEP_NAME = SCRATCH_NAME + PLACE
/** find(): `.wh.NAME`, and the name that a relative redirect gives. */
export const FIND_DOT_NAME = SCRATCH_NAME + 2 * PLACE
export const FIND_NEW_NAME = SCRATCH_NAME + 3 * PLACE
/** Merging a directory: the entry at hand. */
export const ENTRY_NAME = SCRATCH_NAME + 4 * PLACE
/** rename(): both names. */
export const OLD_NAME = SCRATCH_NAME + 5 * PLACE
export const NEW_NAME = SCRATCH_NAME + 6 * PLACE
/** create: the name inside a staging directory; link: the name that is linked. */
export const STAGED_NAME = SCRATCH_NAME + 7 * PLACE
export const LINK_NAME = SCRATCH_NAME + 8 * PLACE
/** tempName(): two names of 64 bytes. */
export const TEMP_NAMES = SCRATCH_NAME + 9 * PLACE
/** Copy-up: the name of the file, the name of the directory. */
export const COPY_NAME = SCRATCH_NAME + 10 * PLACE
export const COPY_DIR_NAME = SCRATCH_NAME + 11 * PLACE
/** Attributes: the name on disk. */
export const XATTR_NAME = SCRATCH_NAME + 12 * PLACE
/** Whiteouts: `.wh.NAME`. */
export const DOT_NAME = SCRATCH_NAME + 13 * PLACE
/** utimensAt(): six words. */
export const TIMES = SCRATCH_NAME + 14 * PLACE
/** Hard links: a component of another name's path. */
export const PART_NAME = SCRATCH_NAME + 15 * PLACE
