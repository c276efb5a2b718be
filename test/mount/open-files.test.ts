// The open-files suite (test/suites) on each driver that MICA_TEST_DRIVER asks for: mica by default.
import t from 'tap'
import { openFiles } from '../suites/open-files.js'
import { runEverywhere } from '../support/suite.js'

await runEverywhere(t, openFiles)
