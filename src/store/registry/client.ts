// One registry's HTTP conversation: authentication, retries, redirects, errors in the registry's own
// words. distribution-spec v1.1; distribution's token authentication. No image knowledge here.

import { setTimeout as sleep } from 'node:timers/promises'
import { Agent, type Dispatcher, EnvHttpProxyAgent, request } from 'undici'
import { StoreError } from '../errors.js'
import type { Credentials } from './auth-file.js'
import { type Challenge, parseChallenges } from './challenge.js'
import { tlsOptions } from './tls.js'

export type RegistryOptions = {
  readonly domain: string
  readonly credentials: Credentials | undefined
  /** false: plain HTTP is tried, and certificates are not checked. */
  readonly tlsVerify?: boolean
  readonly signal?: AbortSignal | undefined
}

export type Answer = {
  readonly status: number
  readonly headers: Record<string, string | string[] | undefined>
  readonly body: Dispatcher.ResponseData['body']
  /** Where it came from, after redirects. */
  readonly url: URL
}

export type Query = {
  readonly method?: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  readonly headers?: Record<string, string>
  /** Made anew for each try. */
  readonly body?: () => Uint8Array | AsyncIterable<Uint8Array>
  readonly length?: number
  /** Statuses that are answers, not failures. */
  readonly accept: readonly number[]
  /** What the token must allow, e.g. `repository:library/alpine:pull`. */
  readonly scope: string
  /** How often a network failure, 429 or 5xx is tried again. */
  readonly retries?: number
  /** The same for network failures alone, where whoever asks has tries of its own. */
  readonly networkRetries?: number
}

const REDIRECTS_MAX = 5
const RETRIES = 4
const BACKOFF_MS = 300
const RETRY_AFTER_MAX_MS = 30_000
const CONNECT_MS = 15_000
const IDLE_MS = 60_000
const RETRYABLE_STATUS = new Set([408, 429, 500, 502, 503, 504])
const NETWORK_CODES =
  /^(?:ECONN\w+|EPIPE|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|EAI_AGAIN|ENOTFOUND|UND_ERR_(?:SOCKET|\w*TIMEOUT|ABORTED_STREAM|RES_\w+))$/

/** Tells whether a failure is one of the network, so that trying again may help. */
export function isNetworkError(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) {
    const { code } = at as NodeJS.ErrnoException
    if (typeof code === 'string' && NETWORK_CODES.test(code)) return true
  }
  return error instanceof Error && error.message === 'terminated'
}

/** Tells whether a host is this machine, where plain HTTP is no risk. */
function isLoopback(domain: string): boolean {
  const host = domain.replace(/:[0-9]+$/, '')
  return host === 'localhost' || host === '[::1]' || /^127(?:\.[0-9]+){3}$/.test(host)
}

export class RegistryClient {
  readonly domain: string
  readonly #credentials: Credentials | undefined
  readonly #signal: AbortSignal | undefined
  readonly #agent: Dispatcher
  readonly #mayBePlain: boolean
  #scheme: 'https' | 'http' | undefined
  #finding: Promise<'https' | 'http'> | undefined
  #basic: string | undefined
  readonly #tokens = new Map<string, string>()
  #challenge: Challenge | undefined

  constructor({ domain, credentials, tlsVerify = true, signal }: RegistryOptions) {
    this.domain = domain
    this.#credentials = credentials
    this.#signal = signal
    this.#mayBePlain = !tlsVerify || isLoopback(domain)
    const tls = { ...tlsOptions(domain), rejectUnauthorized: tlsVerify }
    const options = {
      connect: { ...tls, timeout: CONNECT_MS },
      headersTimeout: IDLE_MS,
      bodyTimeout: IDLE_MS,
      connections: 8,
    }
    const hasProxy = ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy'].some(
      (name) => process.env[name],
    )
    this.#agent = hasProxy ? new EnvHttpProxyAgent({ ...options, requestTls: tls }) : new Agent(options)
  }

  async close(): Promise<void> {
    await this.#agent.destroy()
  }

  /** Returns the host's base URL, finding out (once) whether it speaks TLS. */
  async #base(): Promise<string> {
    const host = this.domain === 'docker.io' ? 'registry-1.docker.io' : this.domain
    this.#finding ??= this.#findScheme(host)
    this.#scheme = await this.#finding
    return `${this.#scheme}://${host}`
  }

  async #findScheme(host: string): Promise<'https' | 'http'> {
    return this.#mayBePlain && !(await this.#speaksTls(host)) ? 'http' : 'https'
  }

  async #speaksTls(host: string): Promise<boolean> {
    try {
      const answer = await request(`https://${host}/v2/`, {
        dispatcher: this.#agent,
        signal: this.#signal ?? null,
      })
      await answer.body.dump()
      return true
    } catch (error) {
      this.#signal?.throwIfAborted()
      // Anything but a wrong certificate: the plain try will say what is wrong.
      return /CERT|SELF_SIGNED|ALTNAME|UNABLE_TO_VERIFY|DEPTH_ZERO/.test(
        String((error as NodeJS.ErrnoException).code),
      )
    }
  }

  /** Asks; `path` is below /v2/ or a whole URL on this registry. Throws StoreError for all but `accept`. */
  async ask(path: string, query: Query): Promise<Answer> {
    const { retries = RETRIES, networkRetries = retries } = query
    for (let attempt = 0; ; attempt++) {
      this.#signal?.throwIfAborted()
      let answer: Answer
      try {
        answer = await this.#authorized(path, query)
      } catch (error) {
        this.#signal?.throwIfAborted()
        if (error instanceof StoreError || !isNetworkError(error) || attempt >= networkRetries)
          throw this.#unreachable(error)
        await sleep(BACKOFF_MS * 2 ** attempt, undefined, { signal: this.#signal })
        continue
      }
      if (query.accept.includes(answer.status)) return answer
      if (RETRYABLE_STATUS.has(answer.status) && attempt < retries) {
        await answer.body.dump()
        await sleep(retryAfter(answer) ?? BACKOFF_MS * 2 ** attempt, undefined, { signal: this.#signal })
        continue
      }
      throw await this.failure(answer)
    }
  }

  async #authorized(path: string, query: Query): Promise<Answer> {
    const base = await this.#base()
    const url = new URL(path.includes('://') ? path : path.startsWith('/') ? path : `/v2/${path}`, base)
    const sent = await this.#authorization(query.scope)
    const first = await this.#send(url, query, sent)
    if (first.status !== 401) return first
    const challenges = parseChallenges(first.headers['www-authenticate'])
    this.#challenge =
      challenges.find(({ scheme }) => scheme === 'bearer') ??
      challenges.find(({ scheme }) => scheme === 'basic')
    if (this.#challenge === undefined) return first
    if (this.#tokens.get(query.scope) === sent) this.#tokens.delete(query.scope)
    const authorization = await this.#answerChallenge(this.#challenge, query.scope)
    // The same once more would get the same answer.
    if (authorization === undefined || authorization === sent) return first
    await first.body.dump()
    return this.#send(url, query, authorization)
  }

  async #authorization(scope: string): Promise<string | undefined> {
    if (this.#basic !== undefined) return this.#basic
    const known = this.#tokens.get(scope)
    if (known !== undefined || this.#challenge?.scheme !== 'bearer') return known
    return this.#answerChallenge(this.#challenge, scope)
  }

  async #answerChallenge(challenge: Challenge, scope: string): Promise<string | undefined> {
    const { scheme } = challenge
    if (scheme === 'basic') {
      if (this.#credentials === undefined || this.#credentials.username === '') return undefined
      this.#basic = basicOf(this.#credentials)
      return this.#basic
    }
    const token = `Bearer ${await this.#fetchToken(challenge, scope)}`
    this.#tokens.set(scope, token)
    return token
  }

  /** Gets a token: docs.docker.com/registry/spec/auth/token, and /oauth with a refresh token. */
  async #fetchToken({ parameters }: Challenge, scope: string): Promise<string> {
    const { realm, service } = parameters
    if (realm === undefined || !URL.canParse(realm)) {
      throw new StoreError('REGISTRY', `${this.domain} asks for a token and does not say where to get one`)
    }
    const url = new URL(realm)
    if (
      url.protocol !== 'https:' &&
      !(url.protocol === 'http:' && (this.#scheme === 'http' || isLoopback(url.host)))
    ) {
      throw new StoreError(
        'DENIED',
        `${this.domain} wants the password to be sent to ${url.origin}, without TLS`,
      )
    }
    const { identityToken } = this.#credentials ?? {}
    const answer =
      identityToken === undefined
        ? await this.#getToken(url, service, scope)
        : await this.#postToken(url, service, scope, identityToken)
    if (answer.status !== 200) throw await this.failure(answer)
    const { token, access_token } = (await answer.body.json()) as { token?: unknown; access_token?: unknown }
    const found = typeof token === 'string' ? token : access_token
    if (typeof found !== 'string') throw new StoreError('REGISTRY', `${url.host} gave no token`)
    return found
  }

  #getToken(url: URL, service: string | undefined, scope: string): Promise<Answer> {
    if (service !== undefined) url.searchParams.set('service', service)
    if (scope !== '') url.searchParams.set('scope', scope)
    const known = this.#credentials
    if (known !== undefined) url.searchParams.set('account', known.username)
    return this.#send(url, { accept: [], scope: '' }, known === undefined ? undefined : basicOf(known))
  }

  #postToken(url: URL, service: string | undefined, scope: string, refresh: string): Promise<Answer> {
    const form = new URLSearchParams({
      grant_type: 'refresh_token',
      service: service ?? this.domain,
      client_id: 'mica',
      refresh_token: refresh,
      ...(scope !== '' && { scope }),
    })
    const headers = { 'content-type': 'application/x-www-form-urlencoded' }
    const body = Buffer.from(form.toString())
    return this.#send(
      url,
      { method: 'POST', headers, body: () => body, length: body.length, accept: [], scope: '' },
      undefined,
    )
  }

  async #send(first: URL, query: Query, authorization: string | undefined): Promise<Answer> {
    const { method = 'GET', headers = {}, body, length } = query
    let url = first
    for (let hops = 0; ; hops++) {
      const answer = await request(url, {
        dispatcher: this.#agent,
        method,
        signal: this.#signal ?? null,
        headers: {
          'user-agent': 'mica',
          ...headers,
          ...(length !== undefined && { 'content-length': String(length) }),
          // Never to another host: a blob's storage has its own signature in the URL.
          ...(authorization !== undefined && url.origin === first.origin && { authorization }),
        },
        ...(body !== undefined && { body: body() as Uint8Array }),
      })
      const { statusCode: status, headers: got } = answer
      const location = got.location
      const isRedirect = [301, 302, 303, 307, 308].includes(status) && typeof location === 'string'
      if (!isRedirect || hops >= REDIRECTS_MAX || method === 'POST')
        return { status, headers: got, body: answer.body, url }
      await answer.body.dump()
      const next = new URL(location, url)
      if (url.protocol === 'https:' && next.protocol !== 'https:' && !isLoopback(next.host)) {
        throw new StoreError('REGISTRY', `${url.host} leads from HTTPS to HTTP (${next.host}); not followed`)
      }
      url = next
    }
  }

  /** Returns the error that an answer about `object` means, in the registry's own words where it has any. */
  async failure(answer: Answer, object = 'such thing'): Promise<StoreError> {
    const { status } = answer
    const words = registryWords(await answer.body.text().catch(() => ''))
    const said = words === '' ? '' : `: ${words}`
    const host = this.domain
    const login = this.#credentials === undefined ? `; mica login ${host} may help` : ''
    const refuses = this.#credentials === undefined ? 'wants credentials' : 'refuses the credentials'
    if (status === 401) return new StoreError('DENIED', `${host} ${refuses} (401)${said}${login}`)
    if (status === 403) return new StoreError('DENIED', `${host} does not allow it (403)${said}${login}`)
    if (status === 404) return new StoreError('NOT_FOUND', `${host} has no ${object} (404)${said}`)
    if (status === 429)
      return new StoreError('REGISTRY', `${host} limits the rate (429)${said}; try again later`)
    return new StoreError('REGISTRY', `${host} answered ${status}${said}`)
  }

  #unreachable(error: unknown): unknown {
    if (error instanceof StoreError || !(error instanceof Error)) return error
    const { code = '', message } = (error.cause ?? error) as NodeJS.ErrnoException
    const host = this.domain
    const reasons: Record<string, string> = {
      ENOTFOUND: 'there is no such host',
      EAI_AGAIN: 'its name can not be looked up (no network?)',
      ECONNREFUSED: 'nobody answers there',
      ENETUNREACH: 'there is no network',
      EHOSTUNREACH: 'there is no way to it',
    }
    if (/CERT|SELF_SIGNED|ALTNAME|UNABLE_TO_VERIFY|DEPTH_ZERO/.test(code)) {
      return new StoreError(
        'REGISTRY',
        `${host}: its certificate is not trusted (${message}); --tls-verify=false goes on anyway`,
      )
    }
    if (/EPROTO|WRONG_VERSION/.test(code)) {
      return new StoreError('REGISTRY', `${host} does not speak TLS; --tls-verify=false allows plain HTTP`)
    }
    return new StoreError('REGISTRY', `${host}: ${reasons[code] ?? message}`, { cause: error })
  }
}

function basicOf({ username, password }: Credentials): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
}

function retryAfter({ headers }: Answer): number | undefined {
  const value = headers['retry-after']
  if (typeof value !== 'string' || !/^[0-9]+$/.test(value)) return undefined
  return Math.min(Number(value) * 1000, RETRY_AFTER_MAX_MS)
}

const WORDS_MAX = 300

/** Returns the messages of an error body (distribution-spec, "Error Codes"), or its text. */
function registryWords(text: string): string {
  try {
    const { errors, details, message } = JSON.parse(text) as {
      errors?: { code?: string; message?: string; detail?: unknown }[]
      details?: string
      message?: string
    }
    const words = errors?.map((each) => each.message || each.code).filter((each) => each !== undefined)
    return (words?.join('; ') ?? details ?? message ?? '').slice(0, WORDS_MAX)
  } catch {
    return text.trim().startsWith('<') ? '' : text.trim().replace(/\s+/g, ' ').slice(0, WORDS_MAX)
  }
}
