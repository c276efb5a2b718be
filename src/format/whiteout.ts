// How deletions and attributes of users look on disk: what is a whiteout, which attribute makes a
// directory opaque, under which name a user's attribute is stored. Pure; no disk here.
//
// See fs/overlayfs/overlayfs.h:ovl_is_whiteout(), fs/overlayfs/xattrs.c.

import { ESCAPE, ESCAPED_PREFIXES, INTERNAL_PREFIXES, OPAQUE, OVERRIDE_STAT, REDIRECT } from './markers.js'

const S_IFMT = 0o170000
const S_IFCHR = 0o020000

/** Tells whether mode and device number are a whiteout's: a character device 0:0. */
export function isWhiteoutNode(mode: number, rdev: number): boolean {
  return (mode & S_IFMT) === S_IFCHR && rdev === 0
}

/** Attributes that say `opaque` with the value y; the first is written where the kernel lets us. */
export const OPAQUE_XATTRS = [`trusted.overlay.${OPAQUE}`, `user.overlay.${OPAQUE}`] as const
export const REDIRECT_XATTRS = [`trusted.overlay.${REDIRECT}`, `user.overlay.${REDIRECT}`] as const

const DROPPED = new Set<string>([...OVERRIDE_STAT, 'security.selinux', 'system.nfs4_acl'])

/**
 * Returns the name under which an image's attribute is stored: as it is; one level deeper where it
 * would mean something to a union; undefined for those that belong to no image.
 */
export function storedXattrName(name: string): string | undefined {
  if (DROPPED.has(name)) return undefined
  for (const prefix of ESCAPED_PREFIXES) {
    if (name.startsWith(prefix)) return `${prefix}${ESCAPE}${name.slice(prefix.length)}`
  }
  return INTERNAL_PREFIXES.some((prefix) => name.startsWith(prefix)) ? undefined : name
}

/** Returns the image's name of a stored attribute; undefined for a union's own. Undoes storedXattrName(). */
export function imageXattrName(stored: string): string | undefined {
  if (DROPPED.has(stored)) return undefined
  for (const prefix of ESCAPED_PREFIXES) {
    const deeper = `${prefix}${ESCAPE}`
    if (stored.startsWith(deeper)) return `${prefix}${stored.slice(deeper.length)}`
  }
  return INTERNAL_PREFIXES.some((prefix) => stored.startsWith(prefix)) ? undefined : stored
}
