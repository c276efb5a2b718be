// The links suite (test/suites) on each driver that MICA_TEST_DRIVER asks for: mica by default.
import t from 'tap'
import { hardLinks } from '../suites/links.js'
import { runEverywhere } from '../support/suite.js'

await runEverywhere(t, hardLinks)
