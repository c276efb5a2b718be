// WWW-Authenticate: which kinds of credentials a registry takes. RFC 9110, section 11.

export type Challenge = {
  readonly scheme: 'basic' | 'bearer'
  readonly parameters: Readonly<Record<string, string>>
}

const PART =
  /([A-Za-z][A-Za-z0-9_-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))|([A-Za-z][A-Za-z0-9-]*)(?=\s|$)/g

/** Returns the challenges of a header that we can answer, in its order. */
export function parseChallenges(header: string | readonly string[] | undefined): Challenge[] {
  const found: { scheme: string; parameters: Record<string, string> }[] = []
  for (const line of header === undefined ? [] : [header].flat()) {
    for (const [, name, quoted, plain, scheme] of (line as string).matchAll(PART)) {
      if (scheme !== undefined) found.push({ scheme: scheme.toLowerCase(), parameters: {} })
      else if (found.length > 0)
        found.at(-1)!.parameters[name!.toLowerCase()] = quoted?.replace(/\\(.)/g, '$1') ?? plain!
    }
  }
  return found.filter((each): each is Challenge => each.scheme === 'basic' || each.scheme === 'bearer')
}
