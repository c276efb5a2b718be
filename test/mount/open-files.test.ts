import t from 'tap'
import { openFiles } from '../suites/open-files.js'
import { runEverywhere } from '../support/suite.js'

await runEverywhere(t, openFiles)
