// Certificates for a registry, from where docker and podman look: certs.d/HOST/{*.crt,*.cert+*.key}.

import { readdirSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { rootCertificates } from 'node:tls'
import type { TlsOptions } from '../http.js'

type Found = { ca?: string[]; cert?: Buffer; key?: Buffer }

/** Returns what to trust and to show for a host with port; nothing when no directory is there. */
export function tlsOptions(domain: string, env: NodeJS.ProcessEnv = process.env): TlsOptions {
  const home = env.HOME ?? homedir()
  const options: Found = {}
  const dirs = [join(home, '.config/containers/certs.d'), '/etc/containers/certs.d', '/etc/docker/certs.d']
  for (const dir of dirs.map((each) => join(each, domain))) {
    let names: string[]
    try {
      names = readdirSync(dir)
    } catch {
      continue
    }
    for (const name of names) {
      const path = join(dir, name)
      if (name.endsWith('.crt'))
        options.ca = [...(options.ca ?? rootCertificates), readFileSync(path, 'utf8')]
      else if (name.endsWith('.cert')) options.cert = readFileSync(path)
      else if (name.endsWith('.key')) options.key = readFileSync(path)
    }
  }
  return options
}
