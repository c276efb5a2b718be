// `mica mount [--root STORE] oci:DIR[:TAG] [OPTIONS] MOUNTPOINT`: the image of an OCI layout, as skopeo and umoci
// write them. It comes into the store like with `mica load` (layers that are there already are not unpacked
// again) and its layers take the place of --lower.

import { resolve } from 'node:path'
import { launch } from '../mount/launch.js'
import { lowersOf } from '../store/containers.js'
import { loadFromLayout } from '../store/load.js'
import { withOperation } from '../store/store.js'
import { CommandError } from './command-error.js'
import { withStore } from './store-command.js'

const SCHEME = 'oci:'

export type ImageMount = {
  readonly layout: string
  readonly tag: string | undefined
  readonly root: string | undefined
  /** The arguments of `mica mount` beside the image. */
  readonly rest: readonly string[]
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
  const [, layout, tag] = /^(.*?)(?::([^/:]+))?$/s.exec(image.slice(SCHEME.length)) ?? []
  return { layout: layout ?? '', tag, root, rest }
}

/** Brings the image into the store and mounts it; returns when the mount is live. */
export async function mountImage({ layout, tag, root, rest }: ImageMount): Promise<void> {
  const shown = `${SCHEME}${layout}${tag === undefined ? '' : `:${tag}`}`
  try {
    const lowers = await withStore(root, shown, ({ store, signal }) =>
      withOperation(store, { signal, onProgress: () => {} }, async (operation) => {
        const [image] = await loadFromLayout(operation, resolve(layout), tag)
        return lowersOf(store, image!.id)
      }),
    )
    await launch({ args: [...lowers.map((lower) => `--lower=${lower}`), ...rest] })
  } catch (error) {
    throw error instanceof CommandError ? error : new CommandError(shown, error)
  }
}
