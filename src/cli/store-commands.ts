// The commands of the image store: one row each. Only the one that is asked for is loaded, as the
// database and the registry client take their time.

import type { Command } from 'commander'

type Load = () => Promise<() => Command>

export const STORE_COMMANDS: Readonly<Record<string, Load>> = {
  pull: async () => (await import('./pull.js')).pullCommand,
  push: async () => (await import('./push.js')).pushCommand,
  load: async () => (await import('./load.js')).loadCommand,
  save: async () => (await import('./save.js')).saveCommand,
  import: async () => (await import('./import.js')).importCommand,
  export: async () => (await import('./export.js')).exportCommand,
  images: async () => (await import('./images.js')).imagesCommand,
  inspect: async () => (await import('./inspect.js')).inspectCommand,
  history: async () => (await import('./history.js')).historyCommand,
  tree: async () => (await import('./tree.js')).treeCommand,
  tag: async () => (await import('./tag.js')).tagCommand,
  rmi: async () => (await import('./rmi.js')).rmiCommand,
  prune: async () => (await import('./prune.js')).pruneCommand,
  df: async () => (await import('./df.js')).dfCommand,
  fsck: async () => (await import('./fsck.js')).fsckCommand,
  run: async () => (await import('./run.js')).runCommand,
  exec: async () => (await import('./exec.js')).execCommand,
  create: async () => (await import('./create.js')).createCommand,
  ps: async () => (await import('./ps.js')).psCommand,
  rm: async () => (await import('./rm.js')).rmCommand,
  diff: async () => (await import('./diff.js')).diffCommand,
  commit: async () => (await import('./commit.js')).commitCommand,
  cp: async () => (await import('./cp.js')).cpCommand,
  search: async () => (await import('./search.js')).searchCommand,
  login: async () => (await import('./login.js')).loginCommand,
  logout: async () => (await import('./login.js')).logoutCommand,
  snapshotter: async () => (await import('./snapshotter.js')).snapshotterCommand,
}

/** Returns the command of this name; all of them when there is none. */
export async function loadStoreCommands(name: string | undefined): Promise<Command[]> {
  const one = Object.hasOwn(STORE_COMMANDS, name ?? '') ? STORE_COMMANDS[name!] : undefined
  const loads = one === undefined ? Object.values(STORE_COMMANDS) : [one]
  const commands = await Promise.all(loads.map((load) => load()))
  return commands.map((command) => command())
}
