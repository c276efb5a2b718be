// `mica mount NAME` and `mica umount NAME`: a container's tree for other programs. A name has no slash;
// whatever has one is a mount point, as ever.

import { holderOf, isRunning, mountContainer, unmountContainer } from '../mount/container.js'
import { MountError } from '../mount/errors.js'
import { findContainer } from '../store/containers.js'
import { mindOutput } from './lost-output.js'
import { type StoreContext, withLayers, withStore } from './store-command.js'

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

/** Mounts a container where everybody sees it, and prints its path. */
export async function mountByName(name: string, root: string | undefined): Promise<void> {
  const { path } = await withStore(root, name, ({ store }) => {
    if (holderOf(store, [name]) !== undefined) {
      throw new MountError('a command that runs has it; mica exec and mica cp reach it', 'EBUSY')
    }
    return mountContainer(store, findContainer(store, name))
  })
  mindOutput()
  process.stdout.write(`${path}\n`)
}

/** Takes a container's mount off. */
export async function unmountByName(name: string, root: string | undefined, isLazy: boolean): Promise<void> {
  const unmount = async ({ store }: StoreContext): Promise<void> => {
    const container = findContainer(store, name)
    if (isRunning(container) && !isLazy) throw new MountError('it runs; end it, or mica rm -f', 'EBUSY')
    await unmountContainer(store, container, isLazy)
  }
  const isHeld = await withStore(root, name, ({ store }) => holderOf(store, [name]) !== undefined)
  await (isHeld ? withLayers(root, name, unmount, [name]) : withStore(root, name, unmount))
}
