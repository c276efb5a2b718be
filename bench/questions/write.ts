// A new file written through the mount, without fsync.

import { type Question, stepCase } from '../question.js'

export const write: Question = {
  id: 'write',
  title: 'Write of a new file (per write)',
  cases: ({ writeBytes, write4kBytes }) =>
    [
      { id: '128k', block: 131072, bytes: writeBytes, what: '128 KiB' },
      { id: '4k', block: 4096, bytes: write4kBytes, what: '4 KiB' },
    ].map(({ id, block, bytes, what }) =>
      stepCase({
        id,
        title: `${bytes >> 20} MiB by ${what}`,
        isChanging: true,
        tree: (fixtures) => fixtures.spread({ dirs: 1, files: 1, bytes: 0 }, 1),
        steps: [{ id: 'write', title: 'write', command: (path) => ['write', `${path}/new`, block, bytes] }],
      }),
    ),
}
