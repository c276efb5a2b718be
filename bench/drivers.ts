// What can show a union, one row each: the plain directory, the kernel, other FUSE programs, and mica in
// each of its modes. A new transport or mode is a new row; whether this machine and this build have it
// is found out by a trial mount.

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from './probe.js'

export type MountSpec = {
  /** Absolute, top first. */
  readonly lowers: readonly string[]
  /** The directory that all lowers are in, when they share one. */
  readonly folder: string
  readonly upper: string
  readonly work: string
  readonly path: string
  readonly isVolatile: boolean
  /** A directory that outlives mounts, for what a driver keeps between them. */
  readonly keep: string
}

export type Invocation = { readonly argv: readonly string[]; readonly cwd?: string }

/** What mica must say of itself (mica stats), so that no row measures something else by fallback. */
export type Claim = {
  readonly transport: string
  readonly hasPassthrough?: boolean
  readonly index?: 'used'
  readonly workers?: number
}

export type Driver = {
  readonly id: string
  readonly title: string
  /** directory: a merged copy, no mount; kernel: no process; process: a daemon serves it. */
  readonly serves: 'directory' | 'kernel' | 'process'
  /** A copied-up file may be lost or empty after power loss: it is renamed into place without a sync. */
  readonly hasUnsyncedCopyUp?: boolean
  readonly claim?: Claim
  readonly version?: readonly string[]
  /** Why it can't be tried, undefined when it can. */
  absence?(): string | undefined
  mount?(spec: MountSpec): Invocation
  unmount?(path: string): Invocation
}

const mica = join(packageRoot, 'bin/mica')

function program(name: string): () => string | undefined {
  return () => {
    const isThere = (process.env.PATH ?? '').split(':').some((dir) => existsSync(join(dir, name)))
    return isThere ? undefined : `${name} is not installed`
  }
}

/** Lowers relative to their folder where they have one: mount(2) takes a page of options. */
function relativeLowers({ lowers, folder }: MountSpec): string {
  return lowers.map((path) => path.slice(folder.length + 1)).join(':')
}

function overlayOptions(spec: MountSpec, lowers: string, more: readonly string[] = []): string {
  const { upper, work, isVolatile } = spec
  const options = [`lowerdir=${lowers}`, `upperdir=${upper}`, `workdir=${work}`, ...more]
  if (isVolatile) options.push('volatile')
  return options.join(',')
}

function uringAbsence(): string | undefined {
  const parameter = '/sys/module/fuse/parameters/enable_uring'
  if (!existsSync(parameter)) return 'this kernel has no FUSE over io_uring'
  return /^[Y1]/.test(readFileSync(parameter, 'utf8')) ? undefined : `${parameter} is N`
}

type MicaRow = {
  readonly id: string
  readonly title: string
  readonly flags: readonly string[] | ((spec: MountSpec) => readonly string[])
  readonly claim: Claim
  readonly absence?: () => string | undefined
}

const MICA_ROWS: readonly MicaRow[] = [
  {
    id: 'mica',
    title: 'mica (dev-fuse, passthrough)',
    flags: ['--transport', 'dev-fuse'],
    claim: { transport: 'dev-fuse', hasPassthrough: true },
  },
  {
    id: 'mica-cache',
    title: 'mica (dev-fuse, cache)',
    flags: ['--transport', 'dev-fuse', '--data', 'cache'],
    claim: { transport: 'dev-fuse', hasPassthrough: false },
  },
  {
    id: 'mica-no-open',
    title: 'mica (dev-fuse, no-open)',
    flags: ['--transport', 'dev-fuse', '--data', 'no-open'],
    claim: { transport: 'dev-fuse', hasPassthrough: false },
  },
  {
    id: 'mica-2w',
    title: 'mica (dev-fuse, 2 workers)',
    flags: ['--transport', 'dev-fuse', '--workers', '2'],
    claim: { transport: 'dev-fuse', workers: 2 },
  },
  {
    id: 'mica-index',
    title: 'mica (dev-fuse, indexed)',
    flags: ({ keep }) => ['--transport', 'dev-fuse', '--index', join(keep, 'index')],
    claim: { transport: 'dev-fuse', index: 'used' },
  },
  {
    id: 'mica-uring',
    title: 'mica (io-uring, passthrough)',
    flags: ['--transport', 'io-uring'],
    claim: { transport: 'io-uring', hasPassthrough: true },
    absence: uringAbsence,
  },
  {
    id: 'mica-uring-no-open',
    title: 'mica (io-uring, no-open)',
    flags: ['--transport', 'io-uring', '--data', 'no-open'],
    claim: { transport: 'io-uring', hasPassthrough: false },
    absence: uringAbsence,
  },
  {
    id: 'mica-uring-index',
    title: 'mica (io-uring, indexed)',
    flags: ({ keep }) => ['--transport', 'io-uring', '--index', join(keep, 'index')],
    claim: { transport: 'io-uring', index: 'used' },
    absence: uringAbsence,
  },
  {
    id: 'mica-fuse-native',
    title: 'mica (fuse-native)',
    flags: ['--transport', 'fuse-native'],
    claim: { transport: 'fuse-native' },
  },
]

function micaDriver({ id, title, flags, claim, absence }: MicaRow): Driver {
  return {
    id,
    title,
    serves: 'process',
    claim,
    version: [mica, '--version'],
    ...(absence === undefined ? {} : { absence }),
    mount(spec) {
      const argv = [mica, 'mount', ...spec.lowers.flatMap((path) => ['--lower', path])]
      argv.push('--upper', spec.upper, '--work', spec.work)
      argv.push(...(typeof flags === 'function' ? flags(spec) : flags))
      if (spec.isVolatile) argv.push('--volatile')
      return { argv: [...argv, spec.path] }
    },
  }
}

/** The yardstick of the ratios. */
export const REFERENCE = 'overlayfs'

/** All drivers, in the order of each round. */
export const DRIVERS: readonly Driver[] = [
  { id: 'plain', title: 'plain directory', serves: 'directory' },
  {
    id: REFERENCE,
    title: 'kernel overlayfs',
    serves: 'kernel',
    mount: (spec) => ({
      argv: ['mount', '-t', 'overlay', 'bench', '-o', overlayOptions(spec, relativeLowers(spec)), spec.path],
      cwd: spec.folder,
    }),
  },
  {
    id: 'fuse-overlayfs',
    title: 'fuse-overlayfs',
    serves: 'process',
    hasUnsyncedCopyUp: true,
    version: ['fuse-overlayfs', '--version'],
    absence: program('fuse-overlayfs'),
    mount: (spec) => ({
      argv: [
        'fuse-overlayfs',
        '-o',
        overlayOptions(spec, spec.lowers.join(':'), ['allow_other', 'dev', 'suid']),
        spec.path,
      ],
    }),
  },
  {
    id: 'unionfs-fuse',
    title: 'unionfs-fuse',
    serves: 'process',
    hasUnsyncedCopyUp: true,
    version: ['unionfs-fuse', '--version'],
    absence: program('unionfs-fuse'),
    mount: ({ lowers, upper, path }) => ({
      argv: [
        'unionfs-fuse',
        '-o',
        'cow,hide_meta_files,allow_other,use_ino',
        [`${upper}=RW`, ...lowers.map((lower) => `${lower}=RO`)].join(':'),
        path,
      ],
    }),
  },
  ...MICA_ROWS.map(micaDriver),
]

/** Stands for mica's own code without a mount. */
export const IN_PROCESS: Driver = { id: 'in-process', title: 'in process', serves: 'directory' }
