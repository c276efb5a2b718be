// Credentials where other tools keep them: containers' auth.json and docker's config.json, and in the
// same form our own (`mica login`). Helpers (credsStore, credHelpers) are asked as docker asks them.

import { spawnSync } from 'node:child_process'
import { chmodSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { makePath } from '../../base/make-path.js'
import { StoreError } from '../errors.js'

export type Credentials = {
  readonly username: string
  readonly password: string
  /** A refresh token, in place of a password. */
  readonly identityToken?: string
}

type AuthFile = {
  auths?: Record<string, { auth?: string; identitytoken?: string }>
  credHelpers?: Record<string, string>
  credsStore?: string
}

const DOCKER_HUB = 'https://index.docker.io/v1/'

/** Returns the files that are looked in, in this order; the first is where `login` writes. */
export function authFiles(env: NodeJS.ProcessEnv = process.env): string[] {
  if (env.REGISTRY_AUTH_FILE) return [env.REGISTRY_AUTH_FILE]
  const home = env.HOME ?? homedir()
  const uid = process.geteuid?.() ?? 0
  const runtime = env.XDG_RUNTIME_DIR ?? (uid === 0 ? '/run' : undefined)
  const containers =
    uid === 0 && env.XDG_RUNTIME_DIR === undefined
      ? '/run/containers/0/auth.json'
      : runtime && join(runtime, 'containers/auth.json')
  return [
    ...(containers === undefined ? [] : [containers]),
    join(env.XDG_CONFIG_HOME ?? join(home, '.config'), 'containers/auth.json'),
    join(env.DOCKER_CONFIG ?? join(home, '.docker'), 'config.json'),
  ]
}

function readAuthFile(path: string): AuthFile {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch {
    return {}
  }
  try {
    return JSON.parse(text) as AuthFile
  } catch {
    throw new StoreError('INVALID', `${path} is no JSON; mend or remove it`)
  }
}

/** Names under which a registry's credentials may be kept, the most exact first. */
function keysOf(domain: string, path: string): string[] {
  const keys: string[] = []
  const full = `${domain}/${path}`
  for (let at = full; at !== domain && at.length > domain.length; at = at.slice(0, at.lastIndexOf('/')))
    keys.push(at)
  keys.push(domain, `https://${domain}`, `https://${domain}/v1/`, `https://${domain}/v2/`, `http://${domain}`)
  if (domain === 'docker.io') keys.push(DOCKER_HUB, 'index.docker.io')
  return keys
}

function decode({ auth, identitytoken }: { auth?: string; identitytoken?: string }): Credentials | undefined {
  const plain = Buffer.from(auth ?? '', 'base64').toString()
  const colon = plain.indexOf(':')
  if (colon < 0) return undefined
  const username = plain.slice(0, colon)
  const password = plain.slice(colon + 1).replace(/\0+$/, '')
  return identitytoken === undefined
    ? { username, password }
    : { username, password, identityToken: identitytoken }
}

function askHelper(helper: string, key: string): Credentials | undefined {
  const done = spawnSync(`docker-credential-${helper}`, ['get'], { input: key, encoding: 'utf8' })
  if (done.status !== 0) return undefined
  try {
    const { Username, Secret } = JSON.parse(done.stdout) as { Username: string; Secret: string }
    return Username === '<token>'
      ? { username: '', password: '', identityToken: Secret }
      : { username: Username, password: Secret }
  } catch {
    return undefined
  }
}

/** Returns the credentials for a repository; undefined when nobody has any. */
export function findCredentials(
  domain: string,
  path: string,
  env: NodeJS.ProcessEnv = process.env,
): Credentials | undefined {
  const keys = keysOf(domain, path)
  for (const file of authFiles(env)) {
    const { auths = {}, credHelpers = {}, credsStore } = readAuthFile(file)
    for (const key of keys) {
      const helper = credHelpers[key]
      const found = helper === undefined ? decode(auths[key] ?? {}) : askHelper(helper, key)
      if (found !== undefined) return found
    }
    if (credsStore === undefined) continue
    const found = askHelper(credsStore, domain === 'docker.io' ? DOCKER_HUB : domain)
    if (found !== undefined) return found
  }
  return undefined
}

function update(path: string, change: (file: AuthFile) => void): void {
  const file = readAuthFile(path)
  change(file)
  makePath(dirname(path), 0o700)
  const draft = `${path}.${process.pid}~`
  writeFileSync(draft, `${JSON.stringify(file, null, 2)}\n`, { mode: 0o600 })
  chmodSync(draft, 0o600)
  renameSync(draft, path)
}

/** Keeps credentials for a registry; returns the file that has them. */
export function keepCredentials(
  domain: string,
  { username, password }: Credentials,
  env = process.env,
): string {
  const path = authFiles(env)[0]!
  update(path, (file) => {
    file.auths = {
      ...file.auths,
      [domain]: { auth: Buffer.from(`${username}:${password}`).toString('base64') },
    }
  })
  return path
}

/** Forgets a registry's credentials in all files; returns whether there were any. */
export function forgetCredentials(domain: string, env = process.env): boolean {
  let wasThere = false
  for (const path of authFiles(env)) {
    const { auths = {} } = readAuthFile(path)
    const keys = keysOf(domain, '').filter((key) => key in auths)
    if (keys.length === 0) continue
    wasThere = true
    update(path, (file) => {
      for (const key of keys) delete file.auths![key]
    })
  }
  return wasThere
}
