// Rename of a big directory of the lower. The kernel's overlayfs refuses by default (EXDEV): mv then copies.

import { type Question, stepCase } from '../question.js'

export const rename: Question = {
  id: 'rename',
  title: 'Rename of a lower directory (per rename)',
  cases: ({ bigDir }) => [
    stepCase({
      id: 'big',
      title: `a directory of ${bigDir} files`,
      isChanging: true,
      tree: (fixtures) => fixtures.spread({ dirs: 1, files: bigDir, bytes: 0 }, 1),
      steps: [
        {
          id: 'rename',
          title: 'rename',
          command: (path) => ['rename', `${path}/d0000`, `${path}/moved`, `${path}/moved/entry-0001.conf`],
        },
      ],
    }),
  ],
}
