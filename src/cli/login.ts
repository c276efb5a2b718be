// `mica login` and `mica logout`: a registry's credentials, kept where podman keeps its own.

import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline/promises'
import { Writable } from 'node:stream'
import type { Command } from 'commander'
import { UsageError } from '../mount/errors.js'
import { forgetCredentials, keepCredentials } from '../store/registry/auth-file.js'
import { checkLogin } from '../store/registry/catalog.js'
import { CommandError } from './command-error.js'
import { addRegistryOptions, type RegistryOptions, withRegistry } from './registry-options.js'
import { INTERRUPTED, storeCommand } from './store-command.js'

type Options = RegistryOptions & { username?: string; password?: string; passwordStdin?: boolean }

const DEFAULT_REGISTRY = 'docker.io'

function domainOf(text: string | undefined): string {
  const domain = (text ?? DEFAULT_REGISTRY).replace(/^https?:\/\//, '').replace(/\/.*$/, '')
  return domain === 'index.docker.io' ? DEFAULT_REGISTRY : domain
}

/** Asks on the terminal; what is typed for a password is not shown. */
async function ask(question: string, isSecret: boolean): Promise<string> {
  if (!process.stdin.isTTY) throw new UsageError('no terminal to ask at; give -u NAME and --password-stdin')
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() })
  const lines = createInterface({
    input: process.stdin,
    output: isSecret ? silent : process.stderr,
    terminal: true,
  })
  // Not before the terminal shows nothing: whoever types at once would be seen.
  if (isSecret) process.stderr.write(question)
  try {
    // Before it asks it clears the line: the words are its own to write.
    return await lines.question(isSecret ? '' : question)
  } finally {
    lines.close()
    if (isSecret) process.stderr.write('\n')
  }
}

async function run(registry: string | undefined, options: Options): Promise<void> {
  const domain = domainOf(registry)
  try {
    const username = options.username ?? (await ask('Username: ', false))
    const password =
      options.passwordStdin === true
        ? readFileSync(0, 'utf8').replace(/\r?\n$/, '')
        : (options.password ?? (await ask('Password: ', true)))
    if (username === '' || username.includes(':'))
      throw new UsageError('a user name is not empty and has no colon')
    const creds = `${username}:${password}`
    await withRegistry({ domain, path: '' }, { ...options, creds }, undefined, checkLogin)
    const path = keepCredentials(domain, { username, password })
    process.stdout.write(`Login succeeded; kept in ${path}\n`)
  } catch (error) {
    // Ctrl-C and Ctrl-D at a question.
    if ((error as { name?: unknown }).name === 'AbortError')
      throw new CommandError(domain, error, 'interrupted', INTERRUPTED)
    throw new CommandError(domain, error)
  }
}

function runLogout(registry: string | undefined): void {
  const domain = domainOf(registry)
  const words = forgetCredentials(domain) ? 'Removed the credentials for' : 'There are no credentials for'
  process.stdout.write(`${words} ${domain}\n`)
}

/** Returns the command. */
export function loginCommand(): Command {
  return addRegistryOptions(storeCommand('login', 'keep credentials for a registry, after trying them'))
    .argument('[registry]')
    .option('-u, --username <name>', 'instead of being asked')
    .option('-p, --password <password>', 'seen by all on this machine; --password-stdin is better')
    .option('--password-stdin', 'the password is on standard input')
    .action(run)
}

/** Returns the command. */
export function logoutCommand(): Command {
  return storeCommand('logout', "forget a registry's credentials").argument('[registry]').action(runLogout)
}
