// `mica snapshotter`: snapshots for containerd, on a socket, until it is told to end.

import { spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, isAbsolute, join } from 'node:path'
import { Command, Option } from 'commander'
import type { UnpackMode } from '../snapshotter/mounts.js'
import { serve } from '../snapshotter/server.js'
import { openSnapshotter } from '../snapshotter/snapshotter.js'
import { CommandError } from './command-error.js'

type Options = {
  root: string
  address: string
  mountProgram: string
  unpack: UnpackMode | 'auto'
  sync?: boolean
  index: boolean
}

const say = (line: string): void => void process.stderr.write(`mica: snapshotter: ${line}\n`)

function isInPath(program: string): boolean {
  const dirs = isAbsolute(program) ? [''] : (process.env.PATH ?? '').split(delimiter)
  return dirs.some((dir) => {
    try {
      accessSync(join(dir, program), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

/** Tells a service manager that waits for it (sd_notify(3)). */
function notifyReady(): void {
  if (process.env.NOTIFY_SOCKET === undefined) return
  spawn('systemd-notify', ['--ready'], { stdio: 'ignore' }).on('error', () => {})
}

/** Ends with the first signal that asks for it, from now on. */
function untilTold(): Promise<void> {
  // A terminal that closes is no reason to end.
  process.on('SIGHUP', () => {})
  return new Promise((done) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => done())
  })
}

async function run({ root, address, mountProgram, unpack, sync = false, index }: Options): Promise<void> {
  const told = untilTold()
  try {
    const snapshotter = openSnapshotter({ root, program: mountProgram, unpack, sync, indexes: index, say })
    try {
      const serving = await serve(snapshotter, address)
      for (const program of ['mount.fuse3', mountProgram]) {
        if (!isInPath(program)) say(`${program} is not in PATH; containerd can't mount without it`)
      }
      say(`serving ${address} from ${root}`)
      notifyReady()
      await told
      await serving.close()
    } finally {
      await snapshotter.close()
    }
  } catch (error) {
    throw new CommandError(root, error)
  }
}

/** Returns the command. */
export function snapshotterCommand(): Command {
  return new Command('snapshotter')
    .description('serve containerd as a snapshotter')
    .option('--root <dir>', 'where snapshots are', '/var/lib/mica-snapshotter')
    .option('--address <socket>', 'what containerd connects to', '/run/mica-snapshotter/snapshotter.sock')
    .option('--mount-program <program>', "its name in containerd's PATH, or its path", 'mica-overlay')
    .addOption(
      new Option(
        '--unpack <mode>',
        'how containerd unpacks layers: into the upper itself, or through a mount',
      )
        .choices(['auto', 'direct', 'mount'])
        .default('auto'),
    )
    .option('--no-index', 'make no indexes of layers, and have mounts do without')
    .option('--sync', 'write a layer to disk before it counts as committed')
    .action(run)
}
