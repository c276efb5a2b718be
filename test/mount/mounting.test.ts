// The mounting suite (test/suites) on each driver that MICA_TEST_DRIVER asks for: mica by default.
import t from 'tap'
import { mounting } from '../suites/mounting.js'
import { runEverywhere } from '../support/suite.js'

await runEverywhere(t, mounting)
