// `mica mount [--root STORE] oci:DIR[:TAG] [OPTIONS] MOUNTPOINT`: the image of an OCI layout, as skopeo and umoci
// write them. It comes into the store like with `mica load` (layers that are there already are not unpacked
// again) and its layers take the place of --lower.

import { spawnSync } from 'node:child_process'
import { resolve } from 'node:path'
import { MountError } from '../mount/errors.js'
import { launch } from '../mount/launch.js'
import { launchForUser } from '../mount/user-mount.js'
import { userNamespace } from '../mount/user-namespace.js'
import { lowersOf } from '../store/containers.js'
import { findImage } from '../store/image-table.js'
import { loadFromLayout } from '../store/load.js'
import { CommandError } from './command-error.js'
import { withLayers, withStore } from './store-command.js'

const SCHEME = 'oci:'

export type ImageMount = {
  readonly layout: string
  readonly tag: string | undefined
  readonly root: string | undefined
  /** The arguments of `mica mount` beside the image. */
  readonly rest: readonly string[]
}

/** Returns what `oci:DIR[:TAG]` names; undefined for anything else. */
export function parseLayout(text: string): { layout: string; tag: string | undefined } | undefined {
  if (!text.startsWith(SCHEME)) return undefined
  const [, layout = '', tag] = /^(.*?)(?::([^/:]+))?$/s.exec(text.slice(SCHEME.length)) ?? []
  return { layout, tag }
}

/** Returns what the arguments ask for; undefined when they name no image. */
export function imageArguments(args: readonly string[]): ImageMount | undefined {
  const image = args.find((arg) => arg.startsWith(SCHEME))
  if (image === undefined) return undefined
  const rest = args.filter((arg) => arg !== image)
  let root: string | undefined
  const at = rest.findIndex((arg) => arg === '--root' || arg.startsWith('--root='))
  if (at >= 0) {
    const [flag] = rest.splice(at, 1)
    root = flag!.includes('=') ? flag!.slice(flag!.indexOf('=') + 1) : rest.splice(at, 1)[0]
  }
  return { ...parseLayout(image)!, root, rest }
}

/** Brings the image into the store and mounts it; returns when the mount is live. */
export async function mountImage({ layout, tag, root, rest }: ImageMount): Promise<void> {
  const shown = `${SCHEME}${layout}${tag === undefined ? '' : `:${tag}`}`
  try {
    const lowers =
      userNamespace() === undefined
        ? await lowersByOther(shown, root)
        : await withLayers(root, shown, ({ store, operate }) =>
            operate(async (operation) => {
              const [image] = await loadFromLayout(operation, resolve(layout), tag)
              return lowersOf(store, image!.id)
            }),
          )
    const args = [...lowers.map((lower) => `--lower=${lower}`), ...rest]
    await (userNamespace() === undefined ? launchForUser(args) : launch({ args }))
  } catch (error) {
    throw error instanceof CommandError ? error : new CommandError(shown, error)
  }
}

/** An ordinary user's layers are unpacked in a namespace, where no mount can be made that is seen out here. */
async function lowersByOther(source: string, root: string | undefined): Promise<string[]> {
  const options = root === undefined ? [] : ['--root', root]
  const args = [process.argv[1]!, 'load', '--quiet', ...options, '--', source]
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const words = stderr.trim().split('\n')
  if (status !== 0) throw new MountError(words.pop()!.replace(`mica: load ${source}: `, ''))
  process.stderr.write(stderr)
  const name = stdout.trim().split(' ').pop()!
  return withStore(root, source, ({ store }) => lowersOf(store, findImage(store, name).id))
}
