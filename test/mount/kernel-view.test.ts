import t from 'tap'
import { kernelView } from '../suites/kernel-view.js'
import { runEverywhere } from '../support/suite.js'

await runEverywhere(t, kernelView)
