// `--change`: Dockerfile instructions that alter a config's `config` member, as commit and import take them.

import { StoreError } from './errors.js'

type Config = Record<string, unknown>

/** Returns a copy of an image's `config` with the instructions applied. Throws INVALID. */
export function applyChanges(config: unknown, instructions: readonly string[]): Config {
  const result: Config = structuredClone((config ?? {}) as Config)
  for (const instruction of instructions) {
    const [, name, rest] = /^\s*([A-Za-z]+)\s+(.*)$/s.exec(instruction) ?? []
    const change = name === undefined ? undefined : CHANGES[name.toUpperCase()]
    if (change === undefined) {
      const known = Object.keys(CHANGES).join(', ')
      throw new StoreError('INVALID', `--change ${JSON.stringify(instruction)}: begin with one of ${known}`)
    }
    change(result, rest!.trim())
  }
  return result
}

/** A command line: JSON list, or words for the shell. */
function commandLine(text: string): string[] {
  if (text.startsWith('[')) {
    try {
      const value: unknown = JSON.parse(text)
      if (Array.isArray(value) && value.every((each) => typeof each === 'string')) return value
    } catch {
      // Not JSON: a line for the shell, as docker takes it.
    }
  }
  return ['/bin/sh', '-c', text]
}

/** `name=value name="a value"`, or the old `name the rest`. */
function pairs(text: string): [string, string][] {
  if (!/^[^\s=]+=/.test(text)) {
    const [, name, value] = /^(\S+)\s+(.*)$/s.exec(text) ?? []
    if (name === undefined) throw new StoreError('INVALID', `--change: ${JSON.stringify(text)} has no =`)
    return [[name, value!]]
  }
  return [...text.matchAll(/([^\s=]+)=("(?:[^"\\]|\\.)*"|\S*)/g)].map(([, name, value]) => [
    name!,
    value!.startsWith('"') ? value!.slice(1, -1).replace(/\\(.)/g, '$1') : value!,
  ])
}

function list(text: string): string[] {
  return text.startsWith('[') ? commandLine(text) : text.split(/\s+/)
}

function addMembers(config: Config, member: string, names: readonly string[]): void {
  const set = { ...(config[member] as Record<string, unknown> | undefined) }
  for (const name of names) set[name] = {}
  config[member] = set
}

const CHANGES: Readonly<Record<string, (config: Config, rest: string) => void>> = {
  CMD: (config, rest) => {
    config.Cmd = commandLine(rest)
  },
  ENTRYPOINT: (config, rest) => {
    config.Entrypoint = commandLine(rest)
  },
  ENV: (config, rest) => {
    const env = new Map(((config.Env ?? []) as string[]).map((each) => [each.split('=', 1)[0]!, each]))
    for (const [name, value] of pairs(rest)) env.set(name, `${name}=${value}`)
    config.Env = [...env.values()]
  },
  LABEL: (config, rest) => {
    config.Labels = {
      ...(config.Labels as Record<string, string> | undefined),
      ...Object.fromEntries(pairs(rest)),
    }
  },
  USER: (config, rest) => {
    config.User = rest
  },
  WORKDIR: (config, rest) => {
    config.WorkingDir = rest
  },
  STOPSIGNAL: (config, rest) => {
    config.StopSignal = rest
  },
  EXPOSE: (config, rest) =>
    addMembers(
      config,
      'ExposedPorts',
      rest.split(/\s+/).map((port) => (port.includes('/') ? port : `${port}/tcp`)),
    ),
  VOLUME: (config, rest) => addMembers(config, 'Volumes', list(rest)),
}
