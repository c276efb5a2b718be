// `mica setup`: what this machine could give to mica and does not, and the switch for it. Changes nothing
// unless an option asks for it.

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { Command } from 'commander'
import pc from 'picocolors'
import { MountError, UsageError } from '../mount/errors.js'
import { chooseTransport, ENABLE_URING, readEnableUring, readHost } from '../mount/transports.js'
import { CommandError } from './command-error.js'

const MODULE = '/sys/module/fuse'
const BOOT_FILE = '/etc/modprobe.d/mica.conf'
const BOOT_TEXT =
  '# Written by mica setup: FUSE requests may come over io_uring.\noptions fuse enable_uring=1\n'
/** The same by the kernel's command line, for kernels with FUSE built in. */
const BOOT_PARAMETER = 'fuse.enable_uring=1'

const WHAT = `Over io_uring the kernel hands each request to a thread on the CPU that it comes from; the answer
needs no other CPU to be woken. First looks at files get two to five times faster than through /dev/fuse
on an idle machine, and several programs at once are answered side by side. What the kernel has cached is as fast either way.
Mounts that live already stay as they are.`

function isKeptAtBoot(): boolean {
  try {
    return readFileSync(BOOT_FILE, 'utf8') === BOOT_TEXT
  } catch {
    return false
  }
}

function isOnCommandLine(): boolean {
  try {
    return /\bfuse\.enable_uring=(1|[yY])/.test(readFileSync('/proc/cmdline', 'latin1'))
  } catch {
    return false
  }
}

function show(): void {
  const host = readHost()
  const state = { Y: 'on', N: 'off' }[host.enableUring ?? ''] ?? 'not in this kernel'
  const kept = isOnCommandLine() ? `by ${BOOT_PARAMETER}` : isKeptAtBoot() ? `by ${BOOT_FILE}` : 'no'
  const choice = chooseTransport({ transport: 'io-uring', workers: 0 }, host)
  const lines = [pc.bold('FUSE over io_uring'), `  switched on      ${state}`]
  if (host.enableUring !== undefined) lines.push(`  kept at boot     ${kept}`)
  if (choice.transport === 'io-uring') {
    lines.push(`  workers          ${choice.rings.length} for ${host.possible.length} CPUs`)
    lines.push(`  chosen by itself ${host.isRoot ? 'yes' : 'only for root; or with --transport io-uring'}`)
  } else if (host.enableUring !== 'N') {
    lines.push(`  not to be had    ${choice.warning?.replace(/; requests come.*/, '')}`)
  }
  lines.push('', WHAT)
  if (host.enableUring === 'N') lines.push('', 'As root: mica setup --enable-uring')
  process.stdout.write(`${lines.join('\n')}\n`)
}

/** Only a module that was loaded has a state of loading. */
function isBuiltIn(): boolean {
  return existsSync(MODULE) && !existsSync(`${MODULE}/initstate`)
}

function howToKeep(): string {
  return isBuiltIn()
    ? `boot with the kernel parameter ${BOOT_PARAMETER}`
    : `mica setup --enable-uring --at-boot, which writes ${BOOT_FILE}`
}

function keepAtBoot(): void {
  mkdirSync(dirname(BOOT_FILE), { recursive: true })
  write(BOOT_FILE, BOOT_TEXT)
}

function write(path: string, text: string): void {
  try {
    writeFileSync(path, text)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const isDenied = code === 'EACCES' || code === 'EPERM' || code === 'EROFS'
    throw new MountError(
      isDenied ? `no permission to write ${path}; run as root` : `cannot write ${path}: ${code}`,
      code,
    )
  }
}

function enable(isKept: boolean): void {
  if (!existsSync(MODULE))
    throw new MountError('there is no FUSE; load the fuse module (modprobe fuse)', 'ENODEV')
  if (readEnableUring() === undefined) {
    throw new MountError('this kernel has no FUSE over io_uring; Linux 6.14 or later has', 'ENOSYS')
  }
  if (isKept && isBuiltIn()) {
    throw new MountError(
      `FUSE is built into this kernel: it stays on when booted with ${BOOT_PARAMETER}`,
      'EINVAL',
    )
  }
  write(ENABLE_URING, 'Y')
  if (isKept) keepAtBoot()
  const words = [
    'FUSE over io_uring is on; new mounts of root use it.',
    isKept ? `${BOOT_FILE} keeps it on.` : `Until the next boot. To keep it on: ${howToKeep()}.`,
    'To undo: mica setup --enable-uring --undo',
  ]
  process.stdout.write(`${words.join('\n')}\n`)
}

function disable(): void {
  if (readEnableUring() !== undefined) write(ENABLE_URING, 'N')
  const wasKept = isKeptAtBoot()
  if (wasKept) rmSync(BOOT_FILE)
  const words = `FUSE over io_uring is off${wasKept ? `, and ${BOOT_FILE} is gone` : ''}; live mounts keep what they have.`
  process.stdout.write(`${words}\n`)
}

type Options = { enableUring?: boolean; atBoot?: boolean; undo?: boolean }

function run({ enableUring = false, atBoot = false, undo = false }: Options): void {
  try {
    if (undo && atBoot) throw new UsageError('--undo and --at-boot exclude each other; --undo undoes both')
    if (!enableUring && (undo || atBoot)) {
      throw new UsageError(`${undo ? '--undo' : '--at-boot'} is for --enable-uring`)
    }
    if (!enableUring) show()
    else if (undo) disable()
    else enable(atBoot)
  } catch (error) {
    throw new CommandError('', error)
  }
}

/** Returns the command. */
export function setupCommand(): Command {
  return new Command('setup')
    .description('say what would make mounts faster, and switch it on')
    .option('--enable-uring', 'let FUSE requests come over io_uring, for every FUSE server of this machine')
    .option('--at-boot', `also after the next boot (writes ${BOOT_FILE})`)
    .option('--undo', 'switch it off again')
    .action(run)
}
