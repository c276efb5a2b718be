// The kernel-view suite (test/suites) on each driver that MICA_TEST_DRIVER asks for: mica by default.
import t from 'tap'
import { kernelView } from '../suites/kernel-view.js'
import { runEverywhere } from '../support/suite.js'

await runEverywhere(t, kernelView)
