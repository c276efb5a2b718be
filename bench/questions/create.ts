// New empty files in a directory of the lower, and their removal; by one thread, and by four in
// directories of their own.

import { type Question, stepCase } from '../question.js'

export const create: Question = {
  id: 'create',
  title: 'Create and unlink (per file)',
  cases: ({ created }) =>
    [1, 4].map((threads) => {
      const loop = (command: string) => (path: string) => [command, path, threads, created / threads, threads]
      return stepCase({
        id: threads === 1 ? 'one' : `threads-${threads}`,
        title: `${created} files, ${threads === 1 ? 'one thread' : `${threads} threads`}`,
        isChanging: true,
        tree: (fixtures) => fixtures.spread({ dirs: 4, files: 10, bytes: 0 }, 1),
        steps: [
          { id: 'create', title: 'create', command: loop('create') },
          { id: 'unlink', title: 'unlink', command: loop('unlink') },
        ],
      })
    }),
}
