import t from 'tap'
import { hardLinks } from '../suites/links.js'
import { runEverywhere } from '../support/suite.js'

await runEverywhere(t, hardLinks)
