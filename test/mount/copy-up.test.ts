// The copy-up suite (test/suites) on each driver that MICA_TEST_DRIVER asks for: mica by default.
import t from 'tap'
import { copyUp } from '../suites/copy-up.js'
import { runEverywhere } from '../support/suite.js'

await runEverywhere(t, copyUp)
