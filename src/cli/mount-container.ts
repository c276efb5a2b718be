// `mica mount NAME` and `mica umount NAME`: a container's tree for other programs. A name has no slash;
// whatever has one is a mount point, as ever.

import { mountContainer, unmountContainer } from '../mount/container.js'
import { findContainer } from '../store/containers.js'
import { withStore } from './store-command.js'

/** Returns what `mount [--root DIR] NAME` asks for; undefined when the arguments are of another kind. */
export function containerArguments(
  args: readonly string[],
): { name: string; root: string | undefined } | undefined {
  const rest = [...args]
  let root: string | undefined
  const at = rest.findIndex((arg) => arg === '--root' || arg.startsWith('--root='))
  if (at >= 0) {
    const [flag] = rest.splice(at, 1)
    root = flag!.startsWith('--root=') ? flag!.slice('--root='.length) : rest.splice(at, 1)[0]
  }
  const [name] = rest
  if (
    rest.length !== 1 ||
    name === undefined ||
    name.startsWith('-') ||
    /[/.]/.test(name[0]!) ||
    name.includes('/')
  ) {
    return undefined
  }
  return { name, root }
}

/** Mounts a container and prints its path. */
export async function mountByName(name: string, root: string | undefined): Promise<void> {
  const { path } = await withStore(root, name, ({ store }) =>
    mountContainer(store, findContainer(store, name)),
  )
  process.stdout.write(`${path}\n`)
}

/** Takes a container's mount off. */
export async function unmountByName(name: string, root: string | undefined, isLazy: boolean): Promise<void> {
  await withStore(root, name, ({ store }) => unmountContainer(store, findContainer(store, name), isLazy))
}
