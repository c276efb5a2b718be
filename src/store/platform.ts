// Platforms: which of an index's images is for this machine. image-spec image-index.md; names are Go's.

import { arch, endianness } from 'node:os'
import { StoreError } from './errors.js'

export type Platform = { readonly os: string; readonly architecture: string; readonly variant?: string }

const ARCHITECTURES: Readonly<Record<string, string>> = {
  x64: 'amd64',
  x86_64: 'amd64',
  ia32: '386',
  i386: '386',
  i686: '386',
  aarch64: 'arm64',
  ppc64: endianness() === 'LE' ? 'ppc64le' : 'ppc64',
  armhf: 'arm',
  loong64: 'loong64',
}

/** Returns this machine's platform. */
export function hostPlatform(): Platform {
  return { os: 'linux', architecture: ARCHITECTURES[arch()] ?? arch() }
}

/** Returns `os/architecture[/variant]` (or an architecture alone) as a platform. Throws INVALID. */
export function parsePlatform(text: string): Platform {
  const parts = text.split('/')
  if (parts.length > 3 || parts.some((part) => !/^[A-Za-z0-9_.-]+$/.test(part))) {
    throw new StoreError(
      'INVALID',
      `${JSON.stringify(text)} is no platform; write linux/amd64, linux/arm64/v8`,
    )
  }
  const [os, architecture, variant] = parts.length === 1 ? ['linux', parts[0]!] : parts
  return {
    os: os!,
    architecture: ARCHITECTURES[architecture!] ?? architecture!,
    ...(variant !== undefined && { variant }),
  }
}

/** Returns a JSON object's platform; unknown members are dropped. */
export function parsePlatformObject(value: unknown): Platform {
  const { os, architecture, variant } = (value ?? {}) as Record<string, unknown>
  return {
    os: typeof os === 'string' ? os : '',
    architecture: typeof architecture === 'string' ? architecture : '',
    ...(typeof variant === 'string' && variant !== '' && { variant }),
  }
}

export function formatPlatform({ os, architecture, variant }: Platform): string {
  return variant === undefined ? `${os}/${architecture}` : `${os}/${architecture}/${variant}`
}

/** Tells whether an image for `has` will do where `wanted` is asked for. */
export function matches(has: Platform, wanted: Platform): boolean {
  if (has.os !== wanted.os || has.architecture !== wanted.architecture) return false
  return wanted.variant === undefined || has.variant === undefined || has.variant === wanted.variant
}

/** Returns which of the candidates to take: the exact variant before any other. */
export function choosePlatform<T extends { platform?: Platform }>(
  candidates: readonly T[],
  wanted: Platform,
): T | undefined {
  const fitting = candidates.filter(({ platform }) => platform !== undefined && matches(platform, wanted))
  return fitting.find(({ platform }) => platform!.variant === wanted.variant) ?? fitting[0]
}
