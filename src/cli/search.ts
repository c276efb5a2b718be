// `mica search`: repositories of a registry by a part of their name.

import { type Command, InvalidArgumentError } from 'commander'
import { MountError } from '../mount/errors.js'
import { DEFAULT_DOMAIN, parseReference } from '../store/reference.js'
import { listRepositories, listTags } from '../store/registry/catalog.js'
import { CommandError } from './command-error.js'
import { addRegistryOptions, type RegistryOptions, withRegistry } from './registry-options.js'
import { storeCommand } from './store-command.js'

type Options = RegistryOptions & { registry: string; listTags?: boolean; limit?: number }

async function run(term: string, options: Options): Promise<void> {
  const [, host, rest] = /^([^/]*[.:][^/]*|localhost)\/(.*)$/.exec(term) ?? []
  const domain = host ?? options.registry
  const word = host === undefined ? term : rest!
  try {
    await withRegistry({ domain, path: word }, options, undefined, async (client) => {
      if (options.listTags === true) {
        const { path } = parseReference(`${domain}/${word}`)
        const tags = await listTags(client, { path })
        if (tags === undefined) throw new MountError(`${domain} has no repository ${path}`, 'ENOENT')
        for (const tag of tags) process.stdout.write(`${domain}/${path}:${tag}\n`)
        return
      }
      // Docker Hub's answer would be that a login may help.
      const all = domain === DEFAULT_DOMAIN ? undefined : await listRepositories(client)
      if (all === undefined) throw new MountError(`${domain} has no catalogue to search in`, 'EOPNOTSUPP')
      const found = all.filter((name) => name.includes(word.toLowerCase()))
      for (const name of found.slice(0, options.limit)) process.stdout.write(`${domain}/${name}\n`)
    })
  } catch (error) {
    throw new CommandError(term, error)
  }
}

function parseCount(text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError('it is a number from 1 on.')
  return Number(text)
}

/** Returns the command. */
export function searchCommand(): Command {
  return addRegistryOptions(storeCommand('search', 'find repositories of a registry by a part of their name'))
    .argument('<term>', 'a word, or HOST/WORD')
    .option('--registry <host>', 'where to look; docker.io has but --list-tags', DEFAULT_DOMAIN)
    .option('--list-tags', 'the tags of the repository TERM')
    .option('--limit <n>', 'no more than these', parseCount)
    .action(run)
}
