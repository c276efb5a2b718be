// One big lower file that is in the page cache of the layer's file system: in order, at random, mapped.

import { type Question, type Step, stepCase } from '../question.js'

export const read: Question = {
  id: 'read',
  title: 'Read of a big lower file (per operation)',
  cases: ({ readBytes, randomReads }) => {
    const mib = readBytes >> 20
    const ask = (id: string, title: string, command: (path: string) => (string | number)[]) => {
      const steps: Step[] = [
        { id: 'first', title: 'first', command },
        { id: 'again', title: 'again', command },
      ]
      return stepCase({ id, title, tree: (fixtures) => fixtures.bigFile(readBytes), steps })
    }
    return [
      ask('sequential', `${mib} MiB in order by 128 KiB`, (path) => ['read', `${path}/big`, 131072]),
      ask('random', `${randomReads} x 4 KiB at random in ${mib} MiB`, (path) => [
        'read-random',
        `${path}/big`,
        randomReads,
      ]),
      ask('mapped', `${mib} MiB mapped, per page`, (path) => ['read-mapped', `${path}/big`]),
    ]
  },
}
