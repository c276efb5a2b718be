// A real docker-registry on loopback for a test, in one of four set-ups, and the token server that the
// last of them needs.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { createHash, createPrivateKey, createPublicKey, sign } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net'
import { join } from 'node:path'

export const USER = 'alice'
export const PASSWORD = 'open sesame'
export type Auth = 'none' | 'basic' | 'token' | 'tls'

export type RegistryServer = {
  readonly host: string
  /** The certificate to trust, for `tls`. */
  readonly certificate: string | undefined
  /** How many tokens were given out. */
  readonly tokens: () => number
  stop(): Promise<void>
}

async function freePort(): Promise<number> {
  const server = createTcpServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

async function listening(port: number, child: ChildProcess): Promise<void> {
  for (let i = 0; i < 200; i++) {
    if (child.exitCode !== null) throw new Error('docker-registry ended')
    const isOpen = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.destroy()
        resolve(true)
      })
      socket.on('error', () => resolve(false))
    })
    if (isOpen) return
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
  throw new Error('docker-registry does not listen')
}

function selfSigned(dir: string, subject: string): { key: string; certificate: string } {
  const key = join(dir, 'key.pem')
  const certificate = join(dir, 'cert.pem')
  const done = spawnSync('openssl', [
    ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', `/CN=${subject}`],
    ...['-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost', '-keyout', key, '-out', certificate],
  ])
  if (done.status !== 0) throw new Error(`openssl: ${done.stderr}`)
  return { key, certificate }
}

/** libtrust's key id, which docker-registry looks for in a token's header. */
function keyId(certificate: string): string {
  const der = createPublicKey(readFileSync(certificate)).export({ type: 'spki', format: 'der' })
  const digest = createHash('sha256').update(der).digest().subarray(0, 30)
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
  let bits = ''
  for (const byte of digest) bits += byte.toString(2).padStart(8, '0')
  const letters = bits.match(/.{5}/g)!.map((five) => alphabet[Number.parseInt(five, 2)])
  return letters.join('').match(/.{4}/g)!.join(':')
}

/** Gives tokens for any scope to USER, and for `pull` to nobody in particular where the name is public/. */
async function tokenServer(
  pem: { key: string; certificate: string },
  service: string,
): Promise<{ server: Server; url: string; count: () => number }> {
  let count = 0
  const private_ = createPrivateKey(readFileSync(pem.key))
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const server = createServer((request, response) => {
    const url = new URL(request.url!, 'http://x')
    const wanted = `Basic ${Buffer.from(`${USER}:${PASSWORD}`).toString('base64')}`
    const isUser = request.headers.authorization === wanted
    if (!isUser && request.headers.authorization !== undefined) {
      response.writeHead(401).end(JSON.stringify({ details: 'incorrect username or password' }))
      return
    }
    count++
    const access = url.searchParams
      .getAll('scope')
      .flatMap((scope) => scope.split(' '))
      .flatMap((scope) => {
        const [type, name, actions] = scope.split(':')
        const allowed = isUser ? actions!.split(',') : name!.startsWith('public/') ? ['pull'] : []
        return allowed.length === 0 ? [] : [{ type, name, actions: allowed }]
      })
    const now = Math.floor(Date.now() / 1000)
    const claims = {
      iss: 'test',
      sub: USER,
      aud: service,
      exp: now + 300,
      nbf: now - 10,
      iat: now,
      jti: String(count),
      access,
    }
    const text = `${encode({ typ: 'JWT', alg: 'RS256', kid: keyId(pem.certificate) })}.${encode(claims)}`
    const token = `${text}.${sign('sha256', Buffer.from(text), private_).toString('base64url')}`
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ token }))
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  return {
    server,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`,
    count: () => count,
  }
}

function htpasswd(): string {
  // perl's crypt(3) knows bcrypt where the C library does.
  const done = spawnSync('perl', ['-e', `print crypt($ARGV[0], '$2y$05$abcdefghijklmnopqrstuu')`, PASSWORD])
  const hash = done.stdout.toString()
  if (!hash.startsWith('$2y$')) throw new Error('no bcrypt here')
  return `${USER}:${hash}\n`
}

/** Starts a registry that keeps its data in `dir`. */
export async function startRegistry(dir: string, auth: Auth): Promise<RegistryServer> {
  mkdirSync(dir, { recursive: true })
  const port = await freePort()
  const host = `127.0.0.1:${port}`
  const http: Record<string, unknown> = { addr: host, secret: 'secret' }
  const config: Record<string, unknown> = {
    version: 0.1,
    log: { level: 'error' },
    storage: { filesystem: { rootdirectory: join(dir, 'data') }, delete: { enabled: true } },
    http,
  }
  let certificate: string | undefined
  let tokens: Awaited<ReturnType<typeof tokenServer>> | undefined
  if (auth === 'tls') {
    const pem = selfSigned(dir, '127.0.0.1')
    certificate = pem.certificate
    http.tls = { certificate: pem.certificate, key: pem.key }
  }
  if (auth === 'basic') {
    writeFileSync(join(dir, 'htpasswd'), htpasswd())
    config.auth = { htpasswd: { realm: 'test', path: join(dir, 'htpasswd') } }
  }
  if (auth === 'token') {
    const pem = selfSigned(dir, 'token')
    tokens = await tokenServer(pem, 'test-registry')
    config.auth = {
      token: { realm: tokens.url, service: 'test-registry', issuer: 'test', rootcertbundle: pem.certificate },
    }
  }
  const path = join(dir, 'config.yml')
  // JSON is YAML.
  writeFileSync(path, JSON.stringify(config))
  // It takes what podman knows as REGISTRY_AUTH_FILE for a setting of its own, and ends.
  const env = { PATH: process.env.PATH }
  const child = spawn('docker-registry', ['serve', path], { env, stdio: 'ignore' })
  process.on('exit', () => child.kill('SIGKILL'))
  await listening(port, child)
  return {
    host,
    certificate,
    tokens: () => tokens?.count() ?? 0,
    stop: async () => {
      tokens?.server.close()
      tokens?.server.closeAllConnections()
      const ended = new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGTERM')
      await ended
    },
  }
}
