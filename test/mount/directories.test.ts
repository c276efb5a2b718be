import t from 'tap'
import { directories } from '../suites/directories.js'
import { runEverywhere } from '../support/suite.js'

await runEverywhere(t, directories)
