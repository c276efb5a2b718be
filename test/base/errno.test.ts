// The errno values are the system's, and have names and words.

import { constants } from 'node:os'
import { getSystemErrorName } from 'node:util'
import t from 'tap'
import * as errno from '../../src/base/errno.js'

const values: [string, number][] = []
for (const [name, value] of Object.entries(errno)) if (typeof value === 'number') values.push([name, value])

t.test('every value is what the system calls by that name', async (t) => {
  t.ok(values.length > 30)
  for (const [name, value] of values) {
    const own = (constants.errno as Record<string, number>)[name]
    if (own !== undefined) t.equal(value, own, name)
    else t.equal(getSystemErrorName(-value), name)
  }
})

t.test('every value has its name and words, whatever its sign', async (t) => {
  for (const [name, value] of values) {
    t.equal(errno.errnoName(value), name)
    t.equal(errno.errnoName(-value), name)
    t.match(errno.errnoReason(-value), /^[a-z/ -]+$/)
  }
  t.equal(errno.errnoName(-4000), 'errno 4000')
})

t.test('absent is what has no such name, not what could not be looked at', async (t) => {
  for (const [name, value] of values) {
    t.equal(errno.isAbsent(-value), ['ENOENT', 'ENAMETOOLONG', 'ENOTDIR'].includes(name), name)
  }
  t.notOk(errno.isAbsent(0))
  t.notOk(errno.isAbsent(errno.ENOENT), 'a positive number is a result')
})
