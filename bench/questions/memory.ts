// Memory of the serving processes: when idle, after a walk over everything, and after the kernel dropped
// its caches; and how much an inode takes. Needs root to drop caches.

import { writeFileSync } from 'node:fs'
import { pause, residentBytes, statsOf } from '../mounted.js'
import type { Question, Sample } from '../question.js'

const FILES = 1000
/** How long the server may take to hear of what the kernel forgot, and to give memory back at leisure. */
const SETTLE_MS = 40_000
/** Without a change for so long it has settled. */
const STILL_MS = 6000
const LOOK_MS = 500

export const memory: Question = {
  id: 'memory',
  title: 'Memory of the serving processes',
  cases: ({ walkedDirs }) => [
    {
      id: 'walk',
      title: `walk over ${walkedDirs * FILES} files in ${walkedDirs} directories`,
      figures: [
        { id: 'idle', title: 'idle', unit: 'bytes' },
        { id: 'walked', title: 'after the walk', unit: 'bytes' },
        { id: 'dropped', title: 'caches dropped', unit: 'bytes' },
        { id: 'per-inode', title: 'per inode', unit: 'bytes' },
        { id: 'inodes-walked', title: 'inodes walked', unit: 'count' },
        { id: 'inodes-dropped', title: 'inodes dropped', unit: 'count' },
      ],
      tree: (fixtures) => fixtures.spread({ dirs: walkedDirs, files: FILES, bytes: 0 }, 1),
      excuse: (driver) => (driver.serves === 'process' ? undefined : 'no process serves it'),
      async measure(stage) {
        const mounted = stage.mount()
        const inodes = async (): Promise<Sample> => ({
          value: (await statsOf(mounted))?.inodes ?? Number.NaN,
        })
        const entries = walkedDirs * (FILES + 1)
        pause(500)
        const idle = residentBytes(mounted.pids)
        stage.probe.run('walk', mounted.path, entries)
        const walked = residentBytes(mounted.pids)
        const inodesWalked = await inodes()
        writeFileSync('/proc/sys/vm/drop_caches', '2')
        let dropped = residentBytes(mounted.pids)
        for (let waited = 0, still = 0; waited < SETTLE_MS && still < STILL_MS; waited += LOOK_MS) {
          pause(LOOK_MS)
          const now = residentBytes(mounted.pids)
          still = now === dropped ? still + LOOK_MS : 0
          dropped = now
        }
        return {
          idle: { value: idle },
          walked: { value: walked },
          dropped: { value: dropped },
          'per-inode': { value: (walked - idle) / entries },
          'inodes-walked': inodesWalked,
          'inodes-dropped': await inodes(),
        }
      },
    },
  ],
}
