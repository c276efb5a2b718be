// rm -r of a tree that is all in the lowers.

import { type Question, stepCase } from '../question.js'
import { FILES } from '../sizes.js'

export const remove: Question = {
  id: 'remove',
  title: 'Rm -r of a lower tree (per entry)',
  cases: ({ copied }) => {
    const files = copied / 2
    return [1, 8].map((count) =>
      stepCase({
        id: String(count),
        title: `${files} files in a directory of ${count === 1 ? 'one layer' : `${count} layers`}`,
        isChanging: true,
        tree: (fixtures) => fixtures.spread({ dirs: 2, files, bytes: 0 }, count),
        steps: [
          { id: 'remove', title: 'remove', command: (path) => ['remove', `${path}/d0001`, files + 1] },
          {
            id: 'missing',
            title: 'missing afterwards',
            command: (path) => ['missing', path, 1, FILES, 1],
          },
        ],
      }),
    )
  },
}
