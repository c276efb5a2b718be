import t from 'tap'
import { dialects } from '../suites/dialects.js'
import { runEverywhere } from '../support/suite.js'

await runEverywhere(t, dialects)
