// The `mica` command: one row per command, and the one place that prints errors and sets the exit status.

import { Command } from 'commander'
import { exitStatusOf, reasonOf } from '../mount/errors.js'
import { processArguments } from '../mount/path-bytes.js'
import { VERSION } from '../mount/version.js'
import { chrootCommand } from './chroot.js'
import { CommandError } from './command-error.js'
import { mindOutput } from './lost-output.js'
import { lsCommand } from './ls.js'
import { mountCommand, runMount } from './mount.js'
import { setupCommand } from './setup.js'
import { statsCommand } from './stats.js'
import { umountCommand } from './umount.js'

const COMMANDS = [mountCommand, umountCommand, lsCommand, chrootCommand, statsCommand, setupCommand]

async function main(args: readonly string[]): Promise<void> {
  // Its options are not commander's to understand.
  if (args[0] === 'mount') return runMount(args.slice(1))
  mindOutput()
  const program = new Command('mica')
    .description('Mounts layers of container images as one file system')
    .version(VERSION, '-V, --version')
    .helpCommand(true)
    .showHelpAfterError(false)
    .enablePositionalOptions()
    .configureOutput({ outputError: () => {} })
    .exitOverride()
  for (const command of COMMANDS) program.addCommand(command())
  if (
    !program.commands.some((command) => command.name() === args[0] || command.aliases().includes(args[0]!))
  ) {
    const { loadStoreCommands } = await import('./store-commands.js')
    for (const command of await loadStoreCommands(args[0])) program.addCommand(command)
  }
  for (const command of program.commands) command.exitOverride().configureOutput({ outputError: () => {} })
  if (args.length === 0) {
    program.outputHelp()
    return
  }
  await program.parseAsync(args, { from: 'user' })
}

function fail(verb: string, error: unknown): never {
  const code = (error as { code?: unknown }).code
  if (typeof code === 'string' && code.startsWith('commander.')) {
    const { exitCode, message } = error as { exitCode: number; message: string }
    if (exitCode === 0) process.exit(0)
    // Commander's suggestion stands in brackets on a line of its own.
    const line = message
      .replace(/^error: /, '')
      .replace(/\s*\n\s*/g, ' ')
      .replace(/\.?\s*$/, '')
    const isCommand = code === 'commander.unknownCommand'
    process.stderr.write(
      `mica: ${isCommand ? '' : `${verb}: `}${line}; see mica ${isCommand ? '' : `${verb} `}--help\n`,
    )
    process.exit(2)
  }
  const object = error instanceof CommandError && error.object !== '' ? ` ${error.object}` : ''
  const status = error instanceof CommandError ? error.status : exitStatusOf(error)
  if (process.env.MICA_DEBUG !== undefined) console.error(error)
  process.stderr.write(`mica: ${verb}${object}: ${reasonOf(error).replace(/\s*\n\s*/g, '; ')}\n`)
  process.exit(status)
}

const args = processArguments()
try {
  await main(args)
} catch (error) {
  fail(args.find((arg) => !arg.startsWith('-')) ?? '', error)
}
