// Find with attributes over a whole tree: every directory read, every entry asked for its attributes.

import { type Question, stepCase } from '../question.js'
import { FILES } from '../sizes.js'

export const find: Question = {
  id: 'find',
  title: 'Find with attributes (per entry)',
  cases: ({ findDirs }) =>
    [1, 8].map((count) => {
      const command = (path: string) => ['walk', path, findDirs * (FILES + 1)]
      return stepCase({
        id: String(count),
        title: `${count} ${count === 1 ? 'layer' : 'layers'}, ${findDirs * FILES} files`,
        tree: (fixtures) => fixtures.spread({ dirs: findDirs, files: FILES, bytes: 0 }, count),
        steps: [
          { id: 'first', title: 'first', command },
          { id: 'again', title: 'again', command },
        ],
      })
    }),
}
