// What `run` and `exec` have in common: options to a request for the container's first process.

import { readFileSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Command } from 'commander'
import type { InitRequest, Volume } from '../mount/container-init.js'
import { UsageError } from '../mount/errors.js'
import type { RunConfig } from '../store/image-config.js'

export type RunOptions = {
  root?: string
  env?: readonly string[]
  envFile?: readonly string[]
  user?: string
  workdir?: string
  interactive?: boolean
  tty?: boolean
  volume?: readonly string[]
  readOnly?: boolean
  entrypoint?: string
  hostname?: string
}

function collect(value: string, before: readonly string[] = []): string[] {
  return [...before, value]
}

/** Adds the options that `run` and `exec` share. */
export function addRunOptions(command: Command): Command {
  return command
    .option('-e, --env <name=value>', 'set a variable; a name alone takes the value from here', collect)
    .option('--env-file <file>', 'variables from a file, one a line', collect)
    .option('-u, --user <user[:group]>', "instead of the image's")
    .option('-w, --workdir <dir>', "instead of the image's; made if it is not there")
    .option('-i, --interactive', 'keep standard input')
    .option('-t, --tty', 'a terminal of its own, shown on this one')
}

/** Returns a `SRC:DST[:ro]`. Throws UsageError. */
export function parseVolume(text: string): Volume {
  const parts = text.split(':')
  const [source, target, mode = 'rw'] = parts
  if (parts.length < 2 || parts.length > 3 || source === '' || !target?.startsWith('/')) {
    throw new UsageError(`-v ${text}: write SOURCE:/PLACE or SOURCE:/PLACE:ro`)
  }
  if (!mode.split(',').every((word) => ['rw', 'ro', 'z', 'Z', 'rbind'].includes(word))) {
    throw new UsageError(`-v ${text}: ${mode} is unknown; there are ro and rw`)
  }
  const path = resolve(source!)
  if (statSync(path, { throwIfNoEntry: false }) === undefined)
    throw new UsageError(`-v ${text}: there is no ${path}`)
  return { source: path, target, isReadOnly: mode.split(',').includes('ro') }
}

function variables(options: RunOptions): string[] {
  const fromFiles = (options.envFile ?? []).flatMap((path) =>
    readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#')),
  )
  return [...fromFiles, ...(options.env ?? [])].flatMap((each) => {
    if (each.includes('=')) return [each]
    const value = process.env[each]
    return value === undefined ? [] : [`${each}=${value}`]
  })
}

/** Returns the command to run: the image's entrypoint with the words given, or with its own. */
export function commandOf(
  config: RunConfig,
  given: readonly string[],
  entrypoint: string | undefined,
): string[] {
  if (entrypoint !== undefined) return [...(entrypoint === '' ? [] : [entrypoint]), ...given]
  return [...config.Entrypoint, ...(given.length > 0 ? given : config.Cmd)]
}

/** Returns what the container's first process is told, but where its root is. */
export function requestOf(
  hostname: string,
  config: RunConfig,
  given: readonly string[],
  options: RunOptions,
): Omit<InitRequest, 'root'> {
  return {
    hostname: options.hostname ?? hostname,
    command: commandOf(config, given, options.entrypoint),
    env: [...config.Env, ...variables(options)],
    user: options.user ?? config.User,
    workingDir: options.workdir ?? config.WorkingDir,
    isReadOnly: options.readOnly === true,
    isInteractive: options.interactive === true,
    hasTerminal: options.tty === true,
    volumes: (options.volume ?? []).map(parseVolume),
  }
}

export { collect }
