// What is said when an image is not for this machine.

import { StoreError } from './errors.js'
import { formatPlatform, hostPlatform, matches, type Platform } from './platform.js'

/** Returns the error for an index without an image for the platform. */
export function noPlatform(
  manifests: readonly { readonly platform?: Platform }[],
  wanted: Platform | undefined,
): StoreError {
  const has = manifests
    .map(({ platform }) => platform)
    .filter((each) => each !== undefined && each.architecture !== 'unknown')
    .map((each) => formatPlatform(each!))
  const words = has.length === 0 ? 'none' : [...new Set(has)].join(', ')
  return new StoreError(
    'NOT_FOUND',
    `no image for ${formatPlatform(wanted ?? hostPlatform())}; there are: ${words}`,
  )
}

/** Throws UNSUPPORTED for an image of another platform than the one asked for, or than this machine's. */
export function checkPlatform(has: Platform, wanted: Platform | undefined): void {
  // Some tools leave it out.
  if (has.architecture === '') return
  if (matches(has, wanted ?? hostPlatform())) return
  const named = formatPlatform(has)
  if (wanted !== undefined)
    throw new StoreError('NOT_FOUND', `the image is for ${named}, not for ${formatPlatform(wanted)}`)
  throw new StoreError(
    'UNSUPPORTED',
    `the image is for ${named}, this machine is ${formatPlatform(hostPlatform())}; --platform ${named} takes it anyway`,
  )
}
