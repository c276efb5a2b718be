// The dialects suite (test/suites) on each driver that MICA_TEST_DRIVER asks for: mica by default.
import t from 'tap'
import { dialects } from '../suites/dialects.js'
import { runEverywhere } from '../support/suite.js'

await runEverywhere(t, dialects)
