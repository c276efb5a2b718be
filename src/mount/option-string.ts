// The parser of -o strings as mount helpers and container engines write them.
//
// Commas separate options, and may be trailing or doubled. `\,` `\:` `\\` and `\"` stand for the
// character itself; any other backslash is a backslash. A value may stand in double quotes, which
// hold commas. Colons separate the paths of lowerdir.

import { UsageError } from './errors.js'
import { applyOption, findSpelling, nearestSpelling } from './option-values.js'
import type { MountOptions } from './options.js'

/** Returns the parts of `text` between unescaped separators outside quoted values; escapes stay. */
export function splitOptions(text: string): string[] {
  const parts: string[] = []
  let part = ''
  for (let at = 0; at < text.length; at++) {
    const char = text[at]!
    if (char === '\\' && at + 1 < text.length) {
      part += char + text[++at]
    } else if (char === '"' && part.endsWith('=') && part.indexOf('=') === part.length - 1) {
      const end = closingQuote(text, at)
      part += text.slice(at, end + 1)
      at = end
    } else if (char === ',') {
      if (part !== '') parts.push(part)
      part = ''
    } else {
      part += char
    }
  }
  if (part !== '') parts.push(part)
  return parts
}

/** Returns where the quotation that starts at `from` ends; `from` itself when it never does. */
function closingQuote(text: string, from: number): number {
  for (let at = from + 1; at < text.length; at++) {
    if (text[at] === '\\') at++
    else if (text[at] === '"') return at + 1 === text.length || text[at + 1] === ',' ? at : from
  }
  return from
}

/** Returns the paths of a lowerdir value. */
export function splitPaths(text: string): string[] {
  const paths: string[] = []
  let path = ''
  for (let at = 0; at < text.length; at++) {
    const char = text[at]!
    if (char === '\\' && at + 1 < text.length) path += char + text[++at]
    else if (char === ':') {
      paths.push(unescapeValue(path))
      path = ''
    } else path += char
  }
  paths.push(unescapeValue(path))
  return paths
}

/** Returns a value without its escapes. */
export function unescapeValue(text: string): string {
  return text.replace(/\\([\\,:"])/g, '$1')
}

/** What to do about an option that no row knows. */
export type OnUnknown = (name: string, nearest: string | undefined) => void

/** The unknown option as an error, with the nearest known one. */
export const refuseUnknown: OnUnknown = (name, nearest) => {
  const head = name.startsWith('-') ? `unknown option ${name}` : `unknown option '${name}' in -o`
  throw new UsageError(
    nearest === undefined ? `${head}; see mica mount --help` : `${head}; did you mean ${nearest}?`,
  )
}

/** Sets the options of one -o string. `given` collects the names of the options that were set. */
export function applyOptionString(
  options: MountOptions,
  given: Set<string>,
  text: string,
  onUnknown: OnUnknown = refuseUnknown,
): void {
  for (const part of splitOptions(text)) {
    const equals = part.indexOf('=')
    const name = equals < 0 ? part : part.slice(0, equals)
    const raw = equals < 0 ? undefined : part.slice(equals + 1)
    const spelling = name.startsWith('-') ? undefined : findSpelling(name)
    if (spelling === undefined) {
      // x-* options belong to other programs by the convention of mount(8).
      if (!/^x-/i.test(name)) onUnknown(name, nearestSpelling(name))
      continue
    }
    const isQuoted = raw !== undefined && raw.length > 1 && raw.startsWith('"') && raw.endsWith('"')
    const value = isQuoted ? raw.slice(1, -1) : raw
    const isList = spelling.row.kind === 'paths' && value !== undefined && value !== ''
    applyOption(
      options,
      given,
      spelling,
      name,
      isList ? splitPaths(value) : value === undefined ? undefined : unescapeValue(value),
    )
  }
}
