// The rename suite (test/suites) on each driver that MICA_TEST_DRIVER asks for: mica by default.
import t from 'tap'
import { rename } from '../suites/rename.js'
import { runEverywhere } from '../support/suite.js'

await runEverywhere(t, rename)
