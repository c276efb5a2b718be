// The list that `images` shows: a line for each name of each image, and the filters over it.

import type { Digest } from './digest.js'
import { StoreError } from './errors.js'
import { findImage, imageSize, listImages, readConfig, repoDigestsOf, tagsOf } from './image-table.js'
import { familiar, splitTag } from './reference.js'
import type { Store } from './store.js'

export type ListedImage = {
  readonly id: Digest
  /** Full, e.g. docker.io/library/alpine; undefined for an image without a name. */
  readonly repository: string | undefined
  readonly tag: string | undefined
  /** By which its registry knows it. */
  readonly digest: string | undefined
  readonly created: string
  /** Bytes of all layers' files. */
  readonly size: number
  readonly platform: string
}

/**
 * Returns a line for each tag, newest image first. Names by digest alone have lines where there is no tag,
 * and with `all` in any case: an image is known to all repositories that it was pushed to.
 */
export function listedImages(store: Store, all = false): ListedImage[] {
  const lines: ListedImage[] = []
  for (const { id, created, os, architecture, variant } of listImages(store)) {
    const common = {
      id,
      created,
      size: imageSize(store, id),
      platform: [os, architecture, variant].filter((part) => part !== '').join('/'),
    }
    const digestOfRepository = new Map(
      repoDigestsOf(store, id).map((each) => each.split('@') as [repository: string, digest: string]),
    )
    const named = new Set<string>()
    for (const { reference } of tagsOf(store, id)) {
      const [repository, tag] = splitTag(reference)
      named.add(repository)
      lines.push({ ...common, repository, tag, digest: digestOfRepository.get(repository) })
    }
    for (const [repository, digest] of digestOfRepository) {
      if (named.size === 0 || (all && !named.has(repository)))
        lines.push({ ...common, repository, tag: undefined, digest })
    }
    if (named.size === 0 && digestOfRepository.size === 0) {
      lines.push({ ...common, repository: undefined, tag: undefined, digest: undefined })
    }
  }
  return lines
}

type Test = (image: ListedImage) => boolean

/** Returns those lines that pass `key=value` filters: any of equal keys, all of different ones. */
export function filterImages(
  store: Store,
  images: readonly ListedImage[],
  filters: readonly string[],
): ListedImage[] {
  const byKey = new Map<string, Test[]>()
  for (const filter of filters) {
    const equals = filter.indexOf('=')
    const key = filter.slice(0, equals)
    const tests = byKey.get(key) ?? []
    tests.push(testFor(store, key, filter.slice(equals + 1)))
    byKey.set(key, tests)
  }
  return images.filter((image) => [...byKey.values()].every((tests) => tests.some((test) => test(image))))
}

function testFor(store: Store, key: string, value: string): Test {
  switch (key) {
    case 'reference':
      return matchesReference(value)
    case 'before':
    case 'since': {
      const created = createdOf(store, `${key}=${value}`, value)
      return key === 'before' ? (image) => image.created < created : (image) => image.created > created
    }
    case 'label': {
      const [name = '', wanted] = value.split(/=(.*)/s)
      return ({ id }) => {
        const label = readConfig(store, id).run.Labels[name]
        return label !== undefined && (wanted === undefined || label === wanted)
      }
    }
    case 'dangling':
      if (value !== 'true' && value !== 'false') throw new StoreError('INVALID', 'dangling is true or false')
      return ({ repository }) => (repository === undefined) === (value === 'true')
    default:
      throw new StoreError('INVALID', `no filter ${key}; there are reference, before, since, label, dangling`)
  }
}

function createdOf(store: Store, filter: string, name: string): string {
  try {
    const { id: wanted } = findImage(store, name)
    return listImages(store).find(({ id }) => id === wanted)!.created
  } catch (error) {
    if (!(error instanceof StoreError)) throw error
    throw new StoreError(error.code, `${filter}: ${error.message}`, { cause: error })
  }
}

/** Returns a test for a name with `*` (not over /) and `?`, with or without its tag and host. */
function matchesReference(pattern: string): Test {
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replace(/\*/g, '[^/]*')
    .replace(/\?/g, '[^/]')
  const expression = new RegExp(`^${source}$`)
  return ({ repository, tag, digest }) => {
    if (repository === undefined) return false
    for (const name of [repository, familiar(repository)]) {
      if (expression.test(name)) return true
      if (tag !== undefined && expression.test(`${name}:${tag}`)) return true
      if (digest !== undefined && expression.test(`${name}@${digest}`)) return true
    }
    return false
  }
}
