import t from 'tap'
import { mounting } from '../suites/mounting.js'
import { runEverywhere } from '../support/suite.js'

await runEverywhere(t, mounting)
