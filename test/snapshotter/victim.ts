// Does one thing to a snapshotter's root and is killed at the step that is asked for.
// node victim.js ROOT STEP

import { openSnapshotter } from '../../src/snapshotter/snapshotter.js'
import { commit, create, remove, update } from '../../src/snapshotter/verbs.js'

const [root = '', fatal = ''] = process.argv.slice(2)
const snapshotter = openSnapshotter({
  root,
  onStep(step) {
    if (step === fatal) process.kill(process.pid, 'SIGKILL')
  },
})
const verb = fatal.split(':')[0]
if (verb === 'create') create(snapshotter, 'active', 'new', 'base', { a: 'b' })
else if (verb === 'commit') await commit(snapshotter, 'done', 'work', { a: 'b' })
else if (verb === 'remove') remove(snapshotter, 'leaf')
else update(snapshotter, 'base', { a: 'b' }, ['labels'])
