// What does a name cost: the first time, again, and when it is not there; over the number of layers, all
// of which have all the directories.

import { type Question, type Step, stepCase } from '../question.js'
import { FILES } from '../sizes.js'

/** The four loops over `dirs` directories. */
export function lookupSteps(dirs: number, threads: number): Step[] {
  const loop = (id: string, title: string, command: string): Step => ({
    id,
    title,
    command: (path) => [command, path, dirs, FILES, threads],
  })
  return [
    loop('first', 'first', 'stat'),
    loop('again', 'again', 'stat'),
    loop('missing-first', 'missing, first', 'missing'),
    loop('missing-again', 'missing, again', 'missing'),
  ]
}

export const lookup: Question = {
  id: 'lookup',
  title: 'Lookup of a name (per stat)',
  cases: ({ layers, lookupDirs }) =>
    layers.map((count) =>
      stepCase({
        id: String(count),
        title: `${count} ${count === 1 ? 'layer' : 'layers'}, ${lookupDirs * FILES} files`,
        layers: count,
        tree: (fixtures) => fixtures.spread({ dirs: lookupDirs, files: FILES, bytes: 0 }, count),
        steps: lookupSteps(lookupDirs, 1),
      }),
    ),
}
