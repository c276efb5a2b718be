// Command lines to mount options, in the two dialects: `mica mount` refuses what it does not
// know, `mica-overlay` (called by container engines) warns about it and goes on.

import { UsageError } from './errors.js'
import { applyOptionString, type OnUnknown, refuseUnknown } from './option-string.js'
import { applyOption, findSpelling, nearestSpelling, type Spelling } from './option-values.js'
import { defaultOptions, type MountOptions, OPTION_ROWS, type OptionRow } from './options.js'

/** A parsed command line. `given` names the options that were set; the rest have their defaults. */
export type MountRequest = {
  mountpoint: string
  options: MountOptions
  given: Set<string>
  warnings: string[]
  /** What was asked for in place of a mount. */
  instead?: 'help' | 'version' | 'man'
}

/** Returns what `mica mount ARGS…` asks for. Throws UsageError. */
export function parseMountArguments(args: readonly string[]): MountRequest {
  const request = newRequest()
  const positionals = parse(args, request, refuseUnknown)
  if (request.instead !== undefined) return request
  if (positionals.length === 0) {
    throw new UsageError('no mount point given; mica mount --lower DIR [--upper DIR --work DIR] MOUNTPOINT')
  }
  if (positionals.length > 1) throw new UsageError(`one mount point is enough, not also ${positionals[1]}`)
  request.mountpoint = positionals[0]!
  checkTogether(request.options)
  return request
}

/**
 * Returns what `mica-overlay [SOURCE] MOUNTPOINT -o OPTIONS` asks for: with two positionals the
 * first is mount(8)'s source and says nothing. Throws UsageError.
 */
export function parseOverlayArguments(args: readonly string[]): MountRequest {
  const request = newRequest()
  const positionals = parse(args, request, (name) => {
    request.warnings.push(`unknown option ${name} ignored`)
  })
  if (request.instead !== undefined) return request
  if (positionals.length === 0)
    throw new UsageError('no mount point given; mica-overlay -o OPTIONS MOUNTPOINT')
  if (positionals.length > 2) throw new UsageError(`more than a source and a mount point: ${positionals[2]}`)
  request.mountpoint = positionals.at(-1)!
  checkTogether(request.options)
  return request
}

function newRequest(): MountRequest {
  return { mountpoint: '', options: defaultOptions(), given: new Set(), warnings: [] }
}

function parse(args: readonly string[], request: MountRequest, onUnknown: OnUnknown): string[] {
  const positionals: string[] = []
  for (let at = 0; at < args.length; at++) {
    const arg = args[at]!
    if (arg === '--') {
      positionals.push(...args.slice(at + 1))
      break
    }
    if (!arg.startsWith('-') || arg === '-') {
      positionals.push(arg)
    } else if (arg === '-h' || arg === '--help') {
      request.instead = 'help'
    } else if (arg === '-V' || arg === '--version') {
      request.instead = 'version'
    } else if (arg === '--man') {
      request.instead = 'man'
    } else if (arg.startsWith('-o')) {
      const text = arg.length > 2 ? arg.slice(2).replace(/^=/, '') : args[++at]
      if (text === undefined) throw new UsageError('-o needs options after it')
      applyOptionString(request.options, request.given, text, onUnknown)
    } else {
      at += parseFlag(args, at, request, onUnknown)
    }
  }
  return positionals
}

/** Sets the option at args[at]; returns how many arguments after it belong to it. */
function parseFlag(args: readonly string[], at: number, request: MountRequest, onUnknown: OnUnknown): number {
  const arg = args[at]!
  const equals = arg.startsWith('--') ? arg.indexOf('=') : -1
  const name = equals < 0 ? arg : arg.slice(0, equals)
  const spelling = findSpelling(name)
  if (spelling === undefined) {
    onUnknown(name, nearestSpelling(name))
    return 0
  }
  if (equals >= 0) {
    applyOption(request.options, request.given, spelling, name, arg.slice(equals + 1))
    return 0
  }
  if (spelling.row.kind === 'flag') {
    applyOption(request.options, request.given, spelling, name, undefined)
    return 0
  }
  // `--xino` alone means on, so that both the flag and the mode can be written.
  if (spelling.row.name === 'xino' && !spelling.row.choices!.includes(args[at + 1] ?? '')) {
    applyOption(request.options, request.given, spelling, name, 'on')
    return 0
  }
  const value = args[at + 1]
  if (value === undefined) throw new UsageError(`${name} needs a value: ${name} ${valueName(spelling)}`)
  applyOption(request.options, request.given, spelling, name, value)
  return 1
}

function valueName({ row }: Spelling): string {
  return row.choices?.join('|') ?? row.value ?? 'VALUE'
}

/** Throws UsageError for options that do not go together. */
export function checkTogether(options: MountOptions): void {
  if (options.lower.length === 0 && options.upper === null) {
    throw new UsageError('no layers given; add --lower DIR (or -o lowerdir=DIR)')
  }
  if (options.lower.length === 0) {
    throw new UsageError('an upper alone makes no union; add --lower DIR (an empty directory will do)')
  }
  if (options.lower.length > 500) {
    throw new UsageError(`${options.lower.length} lowers are too many; 500 is the limit`)
  }
  if (options.upper !== null && options.work === null && !options.readOnly) {
    throw new UsageError('an upper needs a workdir beside it; add --work DIR (or -o workdir=DIR)')
  }
}

/** Returns the arguments that make parseMountArguments() give these options again. */
export function formatArguments(mountpoint: string, options: Partial<MountOptions>): string[] {
  const args: string[] = []
  const values = options as Record<string, unknown>
  for (const name of Object.keys(values)) {
    const row = (OPTION_ROWS as readonly OptionRow[]).find(
      (each) => each.name === name && each.kind !== 'ignored',
    )
    if (row === undefined) throw new UsageError(`unknown option ${name}`)
    const value = values[name]
    if (value === undefined || value === null) continue
    const flag = row.names[0]!
    if (row.kind === 'paths') for (const path of value as string[]) args.push(`${flag}=${path}`)
    else if (row.kind === 'mapping') {
      for (const { inside, outside, count } of value as MountOptions['uidMapping']) {
        args.push(`${flag}=${inside}:${outside}:${count}`)
      }
    } else if (row.kind === 'flag') args.push(`${flag}=${value === true ? 'on' : 'off'}`)
    else args.push(`${flag}=${String(value)}`)
  }
  return [...args, '--', mountpoint]
}
