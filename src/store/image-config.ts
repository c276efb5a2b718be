// An image's config: which layers in which order, and how to run it. image-spec config.md.
// Its bytes are the image's id, so it is read here and never rewritten; commit makes a new one.

import { parseJsonObject, stringRecord } from './descriptor.js'
import { chainIds, type Digest, parseDigest } from './digest.js'
import { StoreError } from './errors.js'
import type { Platform } from './platform.js'

export type HistoryEntry = {
  readonly created?: string
  readonly created_by?: string
  readonly comment?: string
  readonly author?: string
  readonly empty_layer?: boolean
}

/** How to run the image; members as in the specification. */
export type RunConfig = {
  readonly User: string
  readonly Env: readonly string[]
  readonly Entrypoint: readonly string[]
  readonly Cmd: readonly string[]
  readonly WorkingDir: string
  readonly StopSignal: string
  readonly Labels: Readonly<Record<string, string>>
  readonly Volumes: readonly string[]
  readonly ExposedPorts: readonly string[]
}

export type ImageConfig = {
  readonly platform: Platform
  /** ISO 8601; '' when the image does not say. */
  readonly created: string
  readonly author: string
  readonly run: RunConfig
  /** Base first. */
  readonly diffIds: readonly Digest[]
  readonly chainIds: readonly Digest[]
  readonly history: readonly HistoryEntry[]
  /** The whole document, unknown members too. */
  readonly raw: Readonly<Record<string, unknown>>
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((each) => typeof each === 'string') : []
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function members(value: unknown): string[] {
  return typeof value === 'object' && value !== null ? Object.keys(value) : []
}

function parseRun(value: unknown): RunConfig {
  const run = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>
  return {
    User: text(run.User),
    Env: strings(run.Env),
    Entrypoint: strings(run.Entrypoint),
    Cmd: strings(run.Cmd),
    WorkingDir: text(run.WorkingDir),
    StopSignal: text(run.StopSignal),
    Labels: stringRecord(run.Labels),
    Volumes: members(run.Volumes),
    ExposedPorts: members(run.ExposedPorts),
  }
}

/** Returns the config in these bytes. Throws INVALID. */
export function parseImageConfig(bytes: Uint8Array): ImageConfig {
  const raw = parseJsonObject(bytes, 'the image config')
  const rootfs = raw.rootfs as { diff_ids?: unknown } | undefined
  if (!Array.isArray(rootfs?.diff_ids))
    throw new StoreError('INVALID', 'the image config has no rootfs.diff_ids')
  const diffIds = rootfs.diff_ids.map((each, at) =>
    parseDigest(each, `diff id ${at + 1} of the image config`),
  )
  const history = Array.isArray(raw.history) ? raw.history : []
  return {
    platform: {
      os: text(raw.os) || 'linux',
      architecture: text(raw.architecture),
      ...(text(raw.variant) !== '' && { variant: text(raw.variant) }),
    },
    created: text(raw.created),
    author: text(raw.author),
    run: parseRun(raw.config),
    diffIds,
    chainIds: chainIds(diffIds),
    history: history.filter((each) => typeof each === 'object' && each !== null) as HistoryEntry[],
    raw,
  }
}
