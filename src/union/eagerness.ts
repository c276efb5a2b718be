// How much of a big directory is listed with attributes: as much as those want who list directories here.
//
// The kernel asks for attributes with the first part of a listing only (READDIRPLUS_AUTO), and takes as
// large a part as the caller's buffer is, which opendir(3) makes as large as st_blksize. So a directory says
// how much room all of it needs (listBytes()), and the first part may be all of it: right for who stats each
// name then, as find, du, tar and git do, and several times the work for who wants the names alone. The
// counts of what was listed bare and looked up afterwards tell which of them are at work.
//
// The counts are hints: they are kept without the lock.

import { H_ASKED, H_LISTED } from './state.js'
import type { Tables } from './tables.js'

/** A directory of one block of ext4 needs no more than opendir(3) takes by itself, 32 KiB. */
export const ONE_BLOCK = 4096
const SMALL = 4096
export const ROOM_MAX = 1 << 20
/** Bytes of a READDIRPLUS record for each byte of a name in a directory of ext4, about. */
export const GROWTH = 4
/** Bytes of a READDIR record, about, as a shift. */
const RECORD_SHIFT = 5
/** The first part is no longer than this as long as nobody is seen to look names up: 170 of them, about. */
const FIRST_PART = 32 * 1024
/** Names looked up before that counts. */
const ASKED_MIN = 128
/** The counts are halved at this, so that the present counts more than the past. */
export const COUNT_MAX = 1 << 14

/** Returns the st_blksize of a directory of `size` bytes. */
export function listBytes(size: number): number {
  if (size <= ONE_BLOCK) return SMALL
  return Math.min(2 ** Math.ceil(Math.log2(size * GROWTH)), ROOM_MAX)
}

/** Returns how many bytes of a listing with attributes to give when `capacity` are asked for. */
export function plusBytes(t: Tables, capacity: number): number {
  const asked = t.header[H_ASKED]!
  const isEager = asked >= ASKED_MIN && asked * 2 > t.header[H_LISTED]!
  return isEager ? capacity : Math.min(capacity, FIRST_PART)
}

/** So many bytes of names went out without attributes. */
export function noteListed(t: Tables, bytes: number): void {
  t.header[H_LISTED]! += bytes >> RECORD_SHIFT
  if (t.header[H_LISTED]! < COUNT_MAX) return
  t.header[H_LISTED]! >>= 1
  t.header[H_ASKED]! >>= 1
}

/** A name of a directory that was listed has been looked up, and was not known. */
export function noteAsked(t: Tables): void {
  if (t.header[H_ASKED]! < COUNT_MAX) t.header[H_ASKED]!++
}
