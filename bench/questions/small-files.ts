// Small files opened, read and closed.

import { type Question, stepCase } from '../question.js'
import { FILES } from '../sizes.js'

const BYTES = 1024

export const smallFiles: Question = {
  id: 'small-files',
  title: 'Small files: open, read, close (per file)',
  cases: ({ smallDirs }) =>
    [1, 4].map((threads) => {
      const command = (path: string) => ['open-read', path, smallDirs, FILES, BYTES, threads]
      return stepCase({
        id: threads === 1 ? 'one' : `threads-${threads}`,
        title: `${smallDirs * FILES} files of 1 KiB, ${threads === 1 ? 'one thread' : `${threads} threads`}`,
        tree: (fixtures) => fixtures.spread({ dirs: smallDirs, files: FILES, bytes: BYTES }, 1),
        steps: [
          { id: 'first', title: 'first', command },
          { id: 'again', title: 'again', command },
        ],
      })
    }),
}
