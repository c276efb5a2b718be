import t from 'tap'
import { rename } from '../suites/rename.js'
import { runEverywhere } from '../support/suite.js'

await runEverywhere(t, rename)
