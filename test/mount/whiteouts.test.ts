// The whiteouts suite (test/suites) on each driver that MICA_TEST_DRIVER asks for: mica by default.
import t from 'tap'
import { whiteouts } from '../suites/whiteouts.js'
import { runEverywhere } from '../support/suite.js'

await runEverywhere(t, whiteouts)
