// `mica-overlay` where the native launcher is missing: starts the daemon and waits until it is live.

import { exitStatusOf, reasonOf } from '../mount/errors.js'
import { launch } from '../mount/launch.js'
import { processArguments } from '../mount/path-bytes.js'

try {
  await launch({ args: ['--overlay', ...processArguments()] })
  process.exit(0)
} catch (error) {
  process.stderr.write(`mica-overlay: ${reasonOf(error)}\n`)
  process.exit(exitStatusOf(error))
}
