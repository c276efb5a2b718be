import t from 'tap'
import { whiteouts } from '../suites/whiteouts.js'
import { runEverywhere } from '../support/suite.js'

await runEverywhere(t, whiteouts)
