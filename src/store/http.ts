// HTTP on Node's own client: answers as streams, a limit to connections that are kept, timeouts for a server
// that says nothing, and the proxies that the environment names. Redirects and what statuses mean are the
// caller's.

import {
  Agent as HttpAgent,
  type IncomingHttpHeaders,
  type IncomingMessage,
  request as plain,
} from 'node:http'
import { Agent as HttpsAgent, request as secure } from 'node:https'
import { Readable } from 'node:stream'
import { HttpsProxyAgent } from 'https-proxy-agent'
import { getProxyForUrl } from 'proxy-from-env'
import { StoreError } from './errors.js'

const CONNECT_MS = 15_000
const IDLE_MS = 60_000
const CONNECTIONS = 8
/** What is not wanted is read to its end up to here, so that the connection can be used again. */
const DUMP_MAX = 128 * 1024

export type HttpRequest = {
  readonly method?: string
  readonly headers?: Record<string, string>
  readonly body?: Uint8Array | AsyncIterable<Uint8Array>
  readonly signal?: AbortSignal | undefined
}

export type HttpAnswer = {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: IncomingMessage
}

export type TlsOptions = {
  readonly ca?: string[]
  readonly cert?: Buffer
  readonly key?: Buffer
  readonly rejectUnauthorized?: boolean
}

/** Connections, kept for further requests. */
export class HttpClient {
  readonly #plain = new HttpAgent({ keepAlive: true, maxSockets: CONNECTIONS })
  readonly #secure: HttpsAgent
  readonly #tls: TlsOptions
  readonly #proxies = new Map<string, HttpsProxyAgent<string>>()

  constructor(tls: TlsOptions = {}) {
    this.#tls = tls
    this.#secure = new HttpsAgent({ keepAlive: true, maxSockets: CONNECTIONS, ...tls })
  }

  close(): void {
    for (const agent of [this.#plain, this.#secure, ...this.#proxies.values()]) agent.destroy()
  }

  #agentFor(url: URL): HttpAgent {
    const proxy = getProxyForUrl(url.href)
    if (proxy === '') return url.protocol === 'https:' ? this.#secure : this.#plain
    let agent = this.#proxies.get(proxy)
    if (agent === undefined) {
      agent = new HttpsProxyAgent(proxy, { keepAlive: true, maxSockets: CONNECTIONS })
      this.#proxies.set(proxy, agent)
    }
    return agent
  }

  /** Resolves with the head of the answer; its body must be read or dumped. */
  request(url: URL, { method = 'GET', headers = {}, body, signal }: HttpRequest = {}): Promise<HttpAnswer> {
    const isSecure = url.protocol === 'https:'
    const send = isSecure ? secure : plain
    const options = { method, headers, agent: this.#agentFor(url), ...(isSecure && this.#tls) }
    return new Promise((resolve, reject) => {
      const request = send(url, signal === undefined ? options : { ...options, signal })
      const timer = setTimeout(() => request.destroy(timedOut('it does not answer')), CONNECT_MS)
      request.on('socket', (socket) => {
        if (!socket.connecting) clearTimeout(timer)
        else socket.once(isSecure ? 'secureConnect' : 'connect', () => clearTimeout(timer))
      })
      request.setTimeout(IDLE_MS, () => request.destroy(timedOut('it says nothing any more')))
      request.on('close', () => clearTimeout(timer))
      request.on('error', reject)
      request.on('response', (answer) =>
        resolve({ status: answer.statusCode!, headers: answer.headers, body: answer }),
      )
      if (body === undefined || body instanceof Uint8Array) request.end(body)
      else
        Readable.from(body)
          .on('error', (error) => request.destroy(error))
          .pipe(request)
    })
  }
}

function timedOut(words: string): Error {
  return Object.assign(new Error(words), { code: 'ETIMEDOUT' })
}

/** Returns a body's bytes. Throws LIMIT when there are more than `max`. */
export async function bytesOf(body: IncomingMessage, max: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of body as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > max) throw new StoreError('LIMIT', `the server sends a document of over ${max} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** Lets go of a body. */
export async function dump(body: IncomingMessage): Promise<void> {
  try {
    await bytesOf(body, DUMP_MAX)
  } catch {
    // Its connection is closed.
  }
}

const CERTIFICATE = /CERT|SELF_SIGNED|ALTNAME|UNABLE_TO_VERIFY|DEPTH_ZERO/
const NETWORK = /^(?:ECONN\w+|EPIPE|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|EAI_AGAIN|ENOTFOUND)$/
const REASONS: Readonly<Record<string, string>> = {
  ENOTFOUND: 'there is no such host',
  EAI_AGAIN: 'its name can not be looked up (no network?)',
  ECONNREFUSED: 'nobody answers there',
  ECONNRESET: 'the connection broke',
  ENETUNREACH: 'there is no network',
  EHOSTUNREACH: 'there is no way to it',
}

function codeOf(error: unknown): string {
  return String((error as NodeJS.ErrnoException | null)?.code)
}

/** Tells whether a failure is one of the network, so that trying again may help. */
export function isNetworkError(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) if (NETWORK.test(codeOf(at))) return true
  return false
}

export function isCertificateError(error: unknown): boolean {
  return CERTIFICATE.test(codeOf(error))
}

/** Returns what a failure to reach a server means, in words. */
export function networkReason(error: Error): string {
  return REASONS[codeOf(error)] ?? error.message
}
