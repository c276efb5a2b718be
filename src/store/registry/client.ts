// One registry's HTTP conversation: authentication, retries, redirects, errors in the registry's own
// words. distribution-spec v1.1; distribution's token authentication. No image knowledge here.

import { setTimeout as sleep } from 'node:timers/promises'
import { StoreError } from '../errors.js'
import {
  bytesOf,
  dump,
  type HttpAnswer,
  HttpClient,
  isCertificateError,
  isNetworkError,
  networkReason,
} from '../http.js'
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

export type Answer = HttpAnswer & {
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
const ERROR_MAX = 64 * 1024
const TOKEN_MAX = 1 << 20
const RETRYABLE_STATUS = new Set([408, 429, 500, 502, 503, 504])
/** Tells whether a host is this machine, where plain HTTP is no risk. */
function isLoopback(domain: string): boolean {
  const host = domain.replace(/:[0-9]+$/, '')
  return host === 'localhost' || host === '[::1]' || /^127(?:\.[0-9]+){3}$/.test(host)
}

export class RegistryClient {
  readonly domain: string
  readonly #credentials: Credentials | undefined
  readonly #signal: AbortSignal | undefined
  readonly #http: HttpClient
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
    this.#http = new HttpClient({ ...tlsOptions(domain), rejectUnauthorized: tlsVerify })
  }

  close(): void {
    this.#http.close()
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
      const { body } = await this.#http.request(new URL(`https://${host}/v2/`), { signal: this.#signal })
      await dump(body)
      return true
    } catch (error) {
      this.#signal?.throwIfAborted()
      // Anything but a wrong certificate: the plain try will say what is wrong.
      return isCertificateError(error)
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
        await dump(answer.body)
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
    await dump(first.body)
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
    const { token, access_token } = JSON.parse((await bytesOf(answer.body, TOKEN_MAX)).toString()) as {
      token?: unknown
      access_token?: unknown
    }
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
      const answer = await this.#http.request(url, {
        method,
        signal: this.#signal,
        headers: {
          'user-agent': 'mica',
          ...headers,
          ...(length !== undefined && { 'content-length': String(length) }),
          // Never to another host: a blob's storage has its own signature in the URL.
          ...(authorization !== undefined && url.origin === first.origin && { authorization }),
        },
        ...(body !== undefined && { body: body() }),
      })
      const { location } = answer.headers
      const isRedirect = [301, 302, 303, 307, 308].includes(answer.status) && typeof location === 'string'
      if (!isRedirect || hops >= REDIRECTS_MAX || method === 'POST') return { ...answer, url }
      await dump(answer.body)
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
    const words = registryWords(await textOf(answer))
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
    const host = this.domain
    if (isCertificateError(error)) {
      return new StoreError(
        'REGISTRY',
        `${host}: its certificate is not trusted (${error.message}); --tls-verify=false goes on anyway`,
      )
    }
    if (/EPROTO|WRONG_VERSION/.test(String((error as NodeJS.ErrnoException).code))) {
      return new StoreError('REGISTRY', `${host} does not speak TLS; --tls-verify=false allows plain HTTP`)
    }
    return new StoreError('REGISTRY', `${host}: ${networkReason(error)}`, { cause: error })
  }
}

async function textOf({ body }: Answer): Promise<string> {
  try {
    return (await bytesOf(body, ERROR_MAX)).toString()
  } catch {
    return ''
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
