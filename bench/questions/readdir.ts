// The names of one big directory: of one layer, and merged from eight.

import { type Question, stepCase } from '../question.js'

export const readdir: Question = {
  id: 'readdir',
  title: 'Readdir of one big directory (per name)',
  cases: ({ bigDir }) =>
    [1, 8].map((count) => {
      const command = (path: string) => ['readdir', `${path}/d0000`, bigDir]
      return stepCase({
        id: String(count),
        title: `${bigDir} names, ${count === 1 ? 'one layer' : `merged from ${count} layers`}`,
        tree: (fixtures) => fixtures.spread({ dirs: 1, files: bigDir, bytes: 0 }, count),
        steps: [
          { id: 'first', title: 'first', command },
          { id: 'again', title: 'again', command },
        ],
      })
    }),
}
