// How long until a mount is live: from the start of the mounting program until a file of the tree has
// answered stat.

import type { Question } from '../question.js'
import { FILES } from '../sizes.js'

export const mountTime: Question = {
  id: 'mount-time',
  title: 'Time to a live mount',
  cases: ({ layers, lookupDirs }) =>
    layers.map((count) => ({
      id: String(count),
      title: `${count} ${count === 1 ? 'layer' : 'layers'}`,
      layers: count,
      figures: [{ id: 'live', title: 'live', unit: 'ns' }],
      tree: (fixtures) => fixtures.spread({ dirs: lookupDirs, files: FILES, bytes: 0 }, count),
      excuse: (driver) => (driver.serves === 'directory' ? 'nothing to mount' : undefined),
      async measure(stage) {
        return { live: stage.mountMeasured('d0000/entry-0000.conf') }
      },
    })),
}
