// The xattrs suite (test/suites) on each driver that MICA_TEST_DRIVER asks for: mica by default.
import t from 'tap'
import { xattrs } from '../suites/xattrs.js'
import { runEverywhere } from '../support/suite.js'

await runEverywhere(t, xattrs)
