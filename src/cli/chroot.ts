// `mica chroot`: a command in a mounted image, with /proc, /sys and /dev in a mount namespace of its own.

import { Command } from 'commander'
import { defaultShell, enterRoot, imageEnvironment, runCommand } from '../mount/chroot.js'
import { showPath } from '../mount/path-bytes.js'
import { realDirectory } from '../mount/real-path.js'
import { needUserNamespace } from '../mount/user-namespace.js'
import { CommandError } from './command-error.js'

/** Our own failures; the command's own statuses are passed on. */
const OWN_FAILURE = 125

async function run(root: string, command: readonly string[]): Promise<void> {
  try {
    const real = realDirectory('root', root)
    needUserNamespace()
    for (const words of enterRoot(real)) process.stderr.write(`mica: chroot ${showPath(root)}: ${words}\n`)
    const env = imageEnvironment(process.env)
    process.exitCode = await runCommand(command.length === 0 ? [defaultShell()] : command, env)
  } catch (error) {
    throw new CommandError(showPath(root), error, undefined, OWN_FAILURE)
  }
}

/** Returns the command. */
export function chrootCommand(): Command {
  return new Command('chroot')
    .description('run a command (a shell by default) in a mounted image')
    .argument('<root>')
    .argument('[command...]')
    .passThroughOptions()
    .action(run)
}
