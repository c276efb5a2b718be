// What the commands that speak with a registry have in common.

import type { Command } from 'commander'
import { UsageError } from '../mount/errors.js'
import { findCredentials } from '../store/registry/auth-file.js'
import { RegistryClient } from '../store/registry/client.js'

export type RegistryOptions = {
  root?: string
  tlsVerify?: string | boolean
  creds?: string
}

/** Adds --tls-verify and --creds. */
export function addRegistryOptions(command: Command): Command {
  return command
    .option(
      '--tls-verify [bool]',
      'false: plain HTTP and unknown certificates will do (loopback may always be plain)',
    )
    .option('--creds <user:password>', 'instead of those that mica login keeps')
}

function credentials(
  domain: string,
  path: string,
  { creds }: RegistryOptions,
): ReturnType<typeof findCredentials> {
  if (creds === undefined) return findCredentials(domain, path)
  const colon = creds.indexOf(':')
  if (colon <= 0) throw new UsageError('--creds is USER:PASSWORD')
  return { username: creds.slice(0, colon), password: creds.slice(colon + 1) }
}

/** Runs `work` with a client for a registry. */
export async function withRegistry<T>(
  { domain, path }: { readonly domain: string; readonly path: string },
  options: RegistryOptions,
  signal: AbortSignal | undefined,
  work: (client: RegistryClient) => Promise<T>,
): Promise<T> {
  const { tlsVerify = true } = options
  if (typeof tlsVerify === 'string' && tlsVerify !== 'true' && tlsVerify !== 'false') {
    throw new UsageError('--tls-verify is true or false')
  }
  const client = new RegistryClient({
    domain,
    credentials: credentials(domain, path, options),
    tlsVerify: tlsVerify === true || tlsVerify === 'true',
    signal,
  })
  try {
    return await work(client)
  } finally {
    client.close()
  }
}
