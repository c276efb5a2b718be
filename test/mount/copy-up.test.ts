import t from 'tap'
import { copyUp } from '../suites/copy-up.js'
import { runEverywhere } from '../support/suite.js'

await runEverywhere(t, copyUp)
