// `mica chroot`: a command in a mounted image, with /proc, /sys and /dev in a mount namespace of its own.

import { spawnSync } from 'node:child_process'
import { constants as osConstants } from 'node:os'
import { Command } from 'commander'
import { defaultShell, enterRoot, imageEnvironment, runCommand } from '../mount/chroot.js'
import { MountError } from '../mount/errors.js'
import { showPath } from '../mount/path-bytes.js'
import { realDirectory } from '../mount/real-path.js'
import { CommandError } from './command-error.js'

/** Our own failures; the command's own statuses are passed on. */
const OWN_FAILURE = 125

/** Runs the same command as root of a user namespace: an ordinary user may do all this there. */
function runInUserNamespace(): number {
  const args = ['--user', '--map-root-user', '--mount', '--', process.execPath, ...process.argv.slice(1)]
  const done = spawnSync('unshare', args, { stdio: 'inherit', env: { ...process.env, MICA_IN_USERNS: '1' } })
  if (done.error !== undefined)
    throw new MountError('this takes root, or unshare (util-linux) and user namespaces')
  return done.signal === null ? (done.status ?? 1) : 128 + osConstants.signals[done.signal]
}

async function run(root: string, command: readonly string[]): Promise<void> {
  try {
    const real = realDirectory('root', root)
    if (process.geteuid!() !== 0 && process.env.MICA_IN_USERNS === undefined) {
      process.exitCode = runInUserNamespace()
      return
    }
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
