// The request path without a kernel: encoded requests into a session, through opcodes and union down to
// the layers' real system calls. Runs in a process of its own (dispatch-process.ts), fresh each round.

import { join } from 'node:path'
import { packageRoot, runProgram } from '../probe.js'
import type { Figure, Question, Samples } from '../question.js'
import { FILES } from '../sizes.js'

const KINDS = [
  ['lookup-first', 'LOOKUP, first'],
  ['lookup-again', 'LOOKUP, again'],
  ['lookup-missing', 'LOOKUP, missing'],
  ['getattr', 'GETATTR'],
  ['forget', 'FORGET'],
] as const

export const dispatch: Question = {
  id: 'dispatch',
  title: 'Requests without a kernel (per request)',
  isAlone: true,
  cases: ({ layers, requests }) =>
    layers.map((count) => ({
      id: String(count),
      title: `${count} ${count === 1 ? 'layer' : 'layers'}, ${requests} requests of each kind`,
      layers: count,
      figures: KINDS.flatMap(([id, title]): Figure[] => [
        { id, title, unit: 'ns' },
        { id: `${id}-bytes`, title: 'bytes', unit: 'bytes' },
      ]),
      tree: (fixtures) => fixtures.spread({ dirs: requests / FILES, files: FILES, bytes: 0 }, count),
      async measure({ tree }) {
        // A young generation that no pass fills: what is allocated stays countable.
        const node = [
          process.execPath,
          '--expose-gc',
          '--min-semi-space-size=256',
          '--max-semi-space-size=256',
        ]
        const program = join(packageRoot, 'dist/bench/dispatch-process.js')
        const said = runProgram([...node, program, String(requests / FILES), String(FILES), ...tree.lowers])
        return JSON.parse(said) as Samples
      },
    })),
}
