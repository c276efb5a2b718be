// Every sign that a union leaves on disk, spelled once: whiteouts, opaque directories, redirects,
// stored inode numbers, in our dialect and in those of the other drivers.
//
// Ours is kernel overlayfs's: a character device 0:0 for a whiteout, `overlay.opaque`=y,
// `overlay.redirect`, `overlay.impure`. Read, never written unless asked for: AUFS names
// (`.wh.NAME`, `.wh..wh..opq`) and fuse-overlayfs's `user.fuseoverlayfs.opaque`.

/** Prefixes whose attributes belong to a union driver and are not shown. */
export const INTERNAL_PREFIXES = ['trusted.overlay.', 'user.overlay.', 'user.fuseoverlayfs.'] as const

/** Prefixes where a user's own attribute is stored one level deeper (fs/overlayfs/xattrs.c, 6.7). */
export const ESCAPED_PREFIXES = ['trusted.overlay.', 'user.overlay.'] as const
export const ESCAPE = 'overlay.'

export const OPAQUE = 'opaque'
export const REDIRECT = 'redirect'
export const IMPURE = 'impure'
export const WHITEOUT = 'whiteout'
export const METACOPY = 'metacopy'
/** Our own: the st_ino that a copied-up file showed before, as 16 hex digits. */
export const INO = 'mica.ino'
/** Our own, on the upper's root: only we have written here, so there are no AUFS names. */
export const OWN = 'mica.own'
/** Our own, on the upper's root: names of lower files with several links were removed. */
export const LINKS = 'mica.links'

/** Names that begin so are AUFS whiteouts (image-spec layer.md, "Whiteouts"). */
export const DOT_WHITEOUT = '.wh.'
export const DOT_OPAQUE = '.wh..wh..opq'

/** Attributes that carry a container tool's idea of owner and mode. */
export const OVERRIDE_STAT = [
  'user.containers.override_stat',
  'user.fuseoverlayfs.override_stat',
  'security.fuseoverlayfs.override_stat',
] as const
export type OverrideName = (typeof OVERRIDE_STAT)[number]
