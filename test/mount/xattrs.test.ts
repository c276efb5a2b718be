import t from 'tap'
import { xattrs } from '../suites/xattrs.js'
import { runEverywhere } from '../support/suite.js'

await runEverywhere(t, xattrs)
