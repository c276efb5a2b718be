// containerd's filter language, as its documentation of `filters` gives it:
//
//   selectors := selector (',' selector)*          all must hold
//   selector  := fieldpath (operator value)?       alone: the field is there
//   fieldpath := field ('.' field)*
//   field     := quoted | [A-Za-z0-9_-]+
//   operator  := '==' | '!=' | '~='                the last one: a regular expression
//   value     := quoted | [^\s,]+
//   quoted    := "Go string" | /text/ | |text|
//
// A snapshot has the fields name, parent, kind and labels.KEY.

import { SnapshotError } from './errors.js'
import type { Snapshot } from './snapshot.js'

export type Filter = (snapshot: Snapshot) => boolean

/** Returns the filter that any of these makes; without any, all snapshots pass. Throws INVALID_ARGUMENT. */
export function parseFilters(texts: readonly string[]): Filter {
  if (texts.length === 0) return () => true
  const filters = texts.map((text) => (text === '' ? () => true : new Parser(text).parse()))
  return (snapshot) => filters.some((filter) => filter(snapshot))
}

function fieldOf(snapshot: Snapshot, [first, ...rest]: readonly string[]): string | undefined {
  if (first === 'name' || first === 'parent' || first === 'kind') return snapshot[first]
  const key = rest.join('.')
  return first === 'labels' && Object.hasOwn(snapshot.labels, key) ? snapshot.labels[key] : undefined
}

const ESCAPES: Readonly<Record<string, string>> = {
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
  '\\': '\\',
}
/** One escape of a Go string. */
const ESCAPE = /^(?:[0-7]{3}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})/

class Parser {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  parse(): Filter {
    const selectors: Filter[] = [this.#selector()]
    while (this.#take(',')) selectors.push(this.#selector())
    if (this.#at < this.#text.length) throw this.#error('a comma or the end is expected')
    return (snapshot) => selectors.every((selector) => selector(snapshot))
  }

  #error(words: string): SnapshotError {
    return new SnapshotError(
      'INVALID_ARGUMENT',
      `filter ${JSON.stringify(this.#text)}, character ${this.#at + 1}: ${words}`,
    )
  }

  #skipSpace(): void {
    while (/\s/.test(this.#text[this.#at] ?? '')) this.#at++
  }

  #take(text: string): boolean {
    this.#skipSpace()
    if (!this.#text.startsWith(text, this.#at)) return false
    this.#at += text.length
    return true
  }

  #match(pattern: RegExp): string | undefined {
    this.#skipSpace()
    pattern.lastIndex = this.#at
    const found = pattern.exec(this.#text)?.[0]
    this.#at += found?.length ?? 0
    return found
  }

  #selector(): Filter {
    const path = [this.#field()]
    while (this.#take('.')) path.push(this.#field())
    this.#skipSpace()
    if (this.#at === this.#text.length || this.#text[this.#at] === ',') {
      return (snapshot) => fieldOf(snapshot, path) !== undefined
    }
    const operator = this.#match(/[=!~]+/y)
    if (operator !== '==' && operator !== '!=' && operator !== '~=') {
      throw this.#error('==, != or ~= is expected')
    }
    const value = this.#quoted() ?? this.#match(/[^\s,]+/y)
    if (value === undefined) throw this.#error('a value is expected')
    if (operator === '==') return (snapshot) => fieldOf(snapshot, path) === value
    if (operator === '!=') return (snapshot) => fieldOf(snapshot, path) !== value
    const pattern = this.#pattern(value)
    return (snapshot) => pattern.test(fieldOf(snapshot, path) ?? '')
  }

  #field(): string {
    const field = this.#quoted() ?? this.#match(/[A-Za-z0-9_-]+/y)
    if (field === undefined) throw this.#error('a field is expected')
    return field
  }

  #quoted(): string | undefined {
    this.#skipSpace()
    const quote = this.#text[this.#at]
    if (quote !== '"' && quote !== '/' && quote !== '|') return undefined
    let value = ''
    for (let at = this.#at + 1; at < this.#text.length; at++) {
      const char = this.#text[at]!
      if (char === quote) {
        this.#at = at + 1
        return value
      }
      if (char !== '\\') {
        value += char
        continue
      }
      const next = this.#text[++at] ?? ''
      const code = ESCAPE.exec(this.#text.slice(at))?.[0]
      if (code !== undefined) {
        value += this.#codePoint(code)
        at += code.length - 1
      } else if (next === quote) value += quote
      else if (Object.hasOwn(ESCAPES, next)) value += ESCAPES[next]
      // Between / / or | | stands a pattern, whose own escapes stay as they are.
      else if (quote !== '"') value += `\\${next}`
      else throw this.#error(`\\${next} is no escape`)
    }
    throw this.#error(`the closing ${quote} is missing`)
  }

  #codePoint(code: string): string {
    const isOctal = code.length === 3 && /^[0-7]/.test(code)
    const point = isOctal ? Number.parseInt(code, 8) : Number.parseInt(code.slice(1), 16)
    if (point > 0x10ffff) throw this.#error(`\\${code} is no character`)
    return String.fromCodePoint(point)
  }

  /** Go's regular expressions, as far as JavaScript's differ in spelling. */
  #pattern(text: string): RegExp {
    const [head, flags = ''] = /^\(\?([ims]+)\)/.exec(text) ?? ['']
    const body = text
      .slice(head.length)
      .replace(/\\A/g, '(?<![\\s\\S])')
      .replace(/\\z/g, '(?![\\s\\S])')
      .replaceAll('(?P<', '(?<')
    try {
      return new RegExp(body, `u${flags}`)
    } catch {
      // Escapes that mean nothing, like \-, are an error under `u` alone.
      try {
        return new RegExp(body, flags)
      } catch {
        throw this.#error(`${JSON.stringify(text)} is no regular expression`)
      }
    }
  }
}
