// What a registry has: its catalogue of repositories and the tags of one. Not all registries tell.

import { parseJsonObject } from '../descriptor.js'
import { bytesOf, dump } from '../http.js'
import type { Reference } from '../reference.js'
import type { RegistryClient } from './client.js'

const PAGE = 1000
const PAGES_MAX = 50
const PAGE_MAX = 16 << 20

async function pages(
  client: RegistryClient,
  first: string,
  member: string,
  scope: string,
): Promise<string[] | undefined> {
  const found: string[] = []
  let path: string | undefined = first
  for (let page = 0; path !== undefined && page < PAGES_MAX; page++) {
    const answer = await client.ask(path, { accept: [200, 404, 405], scope })
    if (answer.status !== 200) {
      await dump(answer.body)
      return undefined
    }
    const body = parseJsonObject(await bytesOf(answer.body, PAGE_MAX), 'the list')
    const list = body[member]
    if (Array.isArray(list)) found.push(...list.filter((each): each is string => typeof each === 'string'))
    const link = /<([^>]+)>;\s*rel="?next"?/.exec(String(answer.headers.link ?? ''))?.[1]
    path = link === undefined ? undefined : new URL(link, answer.url).href
  }
  return found
}

/** Returns the repositories; undefined when the registry has no catalogue. */
export function listRepositories(client: RegistryClient): Promise<string[] | undefined> {
  return pages(client, `_catalog?n=${PAGE}`, 'repositories', 'registry:catalog:*')
}

/** Returns a repository's tags; undefined when there is no such repository. */
export function listTags(
  client: RegistryClient,
  { path }: Pick<Reference, 'path'>,
): Promise<string[] | undefined> {
  return pages(client, `${path}/tags/list?n=${PAGE}`, 'tags', `repository:${path}:pull`)
}

/** Tells whether the registry takes the credentials. Throws DENIED when it does not. */
export async function checkLogin(client: RegistryClient): Promise<void> {
  const answer = await client.ask('', { accept: [200], scope: '' })
  await dump(answer.body)
}
