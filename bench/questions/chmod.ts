// Another mode for lower files.

import { type Question, stepCase } from '../question.js'
import { unsynced } from './copy-up.js'

const COUNT = 100

export const chmod: Question = {
  id: 'chmod',
  title: 'Chmod of lower files (per file)',
  cases: () =>
    [false, true].map((isVolatile) =>
      stepCase({
        id: isVolatile ? 'volatile' : 'synced',
        title: `${COUNT} files of 1 KiB, ${isVolatile ? 'volatile' : 'synced'}`,
        isVolatile,
        isChanging: true,
        excuse: isVolatile ? () => undefined : unsynced,
        tree: (fixtures) => fixtures.spread({ dirs: 1, files: COUNT, bytes: 1024 }, 1),
        steps: [{ id: 'chmod', title: 'chmod', command: (path) => ['chmod', path, 1, COUNT] }],
      }),
    ),
}
