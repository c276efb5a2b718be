// `mica mount`: the options are the daemon's affair (mount/options.ts); this waits until it is live.

import { Command } from 'commander'
import { parseMountArguments } from '../mount/arguments.js'
import { launch } from '../mount/launch.js'
import { helpText, manPage } from '../mount/option-help.js'
import { showPath } from '../mount/path-bytes.js'
import { VERSION } from '../mount/version.js'
import { CommandError } from './command-error.js'
import { mindOutput } from './lost-output.js'

/** Mounts as the arguments say; returns when the mount is live. */
export async function runMount(args: readonly string[]): Promise<void> {
  // A lone word without a slash is a container; what it takes is loaded for nothing else.
  if (args.length > 0 && args.length <= 3 && !args.at(-1)!.includes('/')) {
    const { containerArguments, mountByName } = await import('./mount-container.js')
    const container = containerArguments(args)
    if (container !== undefined) return mountByName(container.name, container.root)
  }
  if (args.some((arg) => arg.startsWith('oci:'))) {
    const { imageArguments, mountImage } = await import('./mount-image.js')
    return mountImage(imageArguments(args)!)
  }
  const request = parseMountArguments(args)
  if (request.instead !== undefined) {
    const text = { help: helpText, man: () => manPage(VERSION), version: () => `${VERSION}\n` }[
      request.instead
    ]
    mindOutput()
    process.stdout.write(text())
    return
  }
  if (request.options.foreground || request.options.debug) {
    // The daemon's own program, in this process: it reads the same arguments after the command's name.
    process.argv.splice(2, process.argv.length, ...args)
    await import('../mount/daemon-main.js')
    return
  }
  try {
    await launch({ args })
  } catch (error) {
    throw new CommandError(showPath(request.mountpoint), error)
  }
}

/** Returns the command's entry in the help. */
export function mountCommand(): Command {
  return new Command('mount')
    .description('merge layers at a mount point; or show where a container’s files are')
    .usage(
      '--lower DIR… [--upper DIR --work DIR] [OPTIONS] MOUNTPOINT, or: mica mount oci:DIR:TAG MOUNTPOINT, or: mica mount CONTAINER',
    )
    .action(() => runMount(['--help']))
}
