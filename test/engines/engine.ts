// podman and buildah in a world of their own, on one of the drivers that are compared: the kernel's overlayfs
// (the engine's own, without a program), mica-overlay, fuse-overlayfs.

import { writeFileSync } from 'node:fs'
import { micaOverlay, type RunOptions, World } from './world.js'

export type Backend = 'kernel' | 'mica' | 'fuse-overlayfs'

const PROGRAMS: Readonly<Record<Backend, string | undefined>> = {
  kernel: undefined,
  mica: micaOverlay,
  'fuse-overlayfs': '/usr/bin/fuse-overlayfs',
}

const CONTAINERS_CONF = `
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
netns = "none"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
`

export type EngineOptions = {
  readonly isRootless?: boolean
  /** Stores that are read only, for `additionalimagestores`. */
  readonly stores?: readonly string[]
  /** More lines for [storage.options.overlay]. */
  readonly overlay?: readonly string[]
  readonly program?: string
}

/** One engine on one driver. */
export class Engine {
  readonly backend: Backend
  readonly world: World

  constructor(backend: Backend, options: EngineOptions = {}) {
    this.backend = backend
    this.world = new World({ isRootless: options.isRootless ?? false })
    this.world.makeDir('store')
    this.world.makeDir('run')
    this.configure(options)
  }

  /** Writes the engine's configuration anew. */
  configure({ stores = [], overlay = [], program = PROGRAMS[this.backend] }: EngineOptions = {}): void {
    const { world } = this
    const put = (name: string, text: string): string => {
      writeFileSync(world.path(name), text)
      return world.path(name)
    }
    const list = stores.map((store) => JSON.stringify(store)).join(', ')
    const lines = [
      ...overlay,
      ...(program === undefined ? [] : [`mount_program = ${JSON.stringify(program)}`]),
    ]
    world.env.CONTAINERS_CONF = put('containers.conf', CONTAINERS_CONF)
    world.env.CONTAINERS_STORAGE_CONF = put(
      'storage.conf',
      `[storage]
driver = "overlay"
graphroot = "${world.path('store')}"
runroot = "${world.path('run')}"
rootless_storage_path = "${world.path('store')}"
[storage.options]
additionalimagestores = [${list}]
[storage.options.overlay]
${lines.join('\n')}
`,
    )
  }

  podman(...args: string[]): string {
    return this.world.mustRun('podman', args)
  }

  buildah(...args: string[]): string {
    return this.world.mustRun('buildah', args)
  }

  /** Runs podman where it may fail; returns the status and its words. */
  tryPodman(
    args: readonly string[],
    options?: RunOptions,
  ): { status: number | null; out: string; err: string } {
    const { status, stdout, stderr } = this.world.run('podman', args, options)
    return { status, out: stdout.toString(), err: stderr.toString() }
  }

  /** Runs a program among the mounts that podman makes as an ordinary user (`podman unshare`), or as root directly. */
  inside(program: string, args: readonly string[], input?: string | Buffer): Buffer {
    const words = this.world.isRootless ? ['podman', 'unshare', program, ...args] : [program, ...args]
    const { status, stdout, stderr } = this.world.run(
      words[0]!,
      words.slice(1),
      input === undefined ? {} : { input },
    )
    if (status !== 0) throw new Error(`${words.join(' ')}: ${status}\n${stderr}`)
    return stdout
  }

  end(): void {
    this.world.end()
  }
}
