// The same lookups by four threads at once, each in directories of its own.

import { type Question, stepCase } from '../question.js'
import { FILES } from '../sizes.js'
import { lookupSteps } from './lookup.js'

const THREADS = 4

export const lookupThreads: Question = {
  id: 'lookup-threads',
  title: `Lookup by ${THREADS} threads (wall time per stat)`,
  cases: ({ lookupDirs }) =>
    [1, 8].map((count) =>
      stepCase({
        id: String(count),
        title: `${count} ${count === 1 ? 'layer' : 'layers'}, ${THREADS} threads`,
        tree: (fixtures) => fixtures.spread({ dirs: lookupDirs, files: FILES, bytes: 0 }, count),
        steps: lookupSteps(lookupDirs, THREADS),
      }),
    ),
}
