// Names of images as people type them: `alpine`, `host:5000/team/app:1.2`, `app@sha256:…`, and the
// full form that the store and registries use. Follows distribution/reference (docker's rules):
// a first part without dot, colon or capitals is no host; docker.io's plain names live in library/.

import { type Digest, isDigest } from './digest.js'
import { StoreError } from './errors.js'

export type Reference = {
  /** Host with port, `docker.io` when none was typed. */
  readonly domain: string
  /** The repository below it, e.g. `library/alpine`. */
  readonly path: string
  readonly tag: string | undefined
  readonly digest: Digest | undefined
}

export const DEFAULT_DOMAIN = 'docker.io'
const OFFICIAL = 'library/'
export const DEFAULT_TAG = 'latest'
const NAME_MAX = 255

const DOMAIN =
  /^(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?$/
const PATH = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/
const TAG = /^\w[\w.-]{0,127}$/

function invalid(text: string, reason: string): StoreError {
  return new StoreError('INVALID', `${JSON.stringify(text)} is no image name: ${reason}`)
}

function splitDomain(name: string): [domain: string, path: string] {
  const slash = name.indexOf('/')
  const first = slash < 0 ? '' : name.slice(0, slash)
  const isHost =
    first !== '' && (/[.:]/.test(first) || first === 'localhost' || first !== first.toLowerCase())
  let domain = isHost ? first : DEFAULT_DOMAIN
  let path = isHost ? name.slice(slash + 1) : name
  if (domain === 'index.docker.io') domain = DEFAULT_DOMAIN
  if (domain === DEFAULT_DOMAIN && !path.includes('/')) path = OFFICIAL + path
  return [domain, path]
}

/** Returns what the text names; neither tag nor digest is made up. Throws INVALID. */
export function parseReference(text: string): Reference {
  if (/^[0-9a-f]{64}$/.test(text)) throw invalid(text, '64 digits are an image id')
  let rest = text
  let digest: Digest | undefined
  const at = rest.indexOf('@')
  if (at >= 0) {
    const after = rest.slice(at + 1)
    if (!isDigest(after)) throw invalid(text, 'after @ stands sha256: and 64 digits')
    digest = after
    rest = rest.slice(0, at)
  }
  let tag: string | undefined
  const colon = rest.lastIndexOf(':')
  if (colon > rest.lastIndexOf('/')) {
    tag = rest.slice(colon + 1)
    if (!TAG.test(tag)) throw invalid(text, `${JSON.stringify(tag)} is no tag`)
    rest = rest.slice(0, colon)
  }
  if (rest === '') throw invalid(text, 'there is no name in it')
  const [domain, path] = splitDomain(rest)
  if (!DOMAIN.test(domain)) throw invalid(text, `${JSON.stringify(domain)} is no host`)
  if (path !== path.toLowerCase()) throw invalid(text, 'repository names are in lower case')
  if (!PATH.test(path)) throw invalid(text, `${JSON.stringify(path)} is no repository`)
  if (domain.length + path.length > NAME_MAX) throw invalid(text, `longer than ${NAME_MAX} characters`)
  return { domain, path, tag, digest }
}

/** Returns the reference with `latest` where neither tag nor digest was given. */
export function withDefaultTag(reference: Reference): Reference {
  if (reference.tag !== undefined || reference.digest !== undefined) return reference
  return { ...reference, tag: DEFAULT_TAG }
}

/** Returns `docker.io/library/alpine`. */
export function repositoryOf({ domain, path }: Reference): string {
  return `${domain}/${path}`
}

/** Returns the full form, the key in the store: `docker.io/library/alpine:latest`. */
export function formatReference(reference: Reference): string {
  const { tag, digest } = reference
  return `${repositoryOf(reference)}${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`
}

/** Returns a full repository or reference as people write it: `alpine:latest`. */
export function familiar(full: string): string {
  if (!full.startsWith(`${DEFAULT_DOMAIN}/`)) return full
  const path = full.slice(DEFAULT_DOMAIN.length + 1)
  return path.startsWith(OFFICIAL) && !path.slice(OFFICIAL.length).includes('/')
    ? path.slice(OFFICIAL.length)
    : path
}

/** Returns a full `repository:tag` in its two halves. */
export function splitTag(full: string): [repository: string, tag: string] {
  const colon = full.lastIndexOf(':')
  return [full.slice(0, colon), full.slice(colon + 1)]
}
