// Find with attributes over a whole tree: every directory read, every entry asked for its attributes.

import { type Question, stepCase } from '../question.js'
import { FILES } from '../sizes.js'

const MANY = 2000

export const find: Question = {
  id: 'find',
  title: 'Find with attributes (per entry)',
  cases: ({ findDirs }) => {
    const whole = findDirs * FILES
    const shapes = [
      { layers: 1, files: FILES, dirs: findDirs },
      { layers: 8, files: FILES, dirs: findDirs },
      { layers: 1, files: MANY, dirs: Math.ceil(whole / MANY) },
      { layers: 1, files: 2, dirs: findDirs * 10 },
    ]
    return shapes.map(({ layers, files, dirs }) => {
      const command = (path: string) => ['walk', path, dirs * (files + 1)]
      return stepCase({
        id: files === FILES ? String(layers) : `${layers}-${files}`,
        title: `${layers} ${layers === 1 ? 'layer' : 'layers'}, ${dirs} directories of ${files} files`,
        tree: (fixtures) => fixtures.spread({ dirs, files, bytes: 0 }, layers),
        steps: [
          { id: 'first', title: 'first', command },
          { id: 'again', title: 'again', command },
        ],
      })
    })
  },
}
