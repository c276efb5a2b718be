// The signs on disk are those of the formats they come from.

import t from 'tap'
import * as markers from '../../src/format/markers.js'

t.test('our own attributes are hidden like all of the driver’s', async (t) => {
  const ours = [markers.INO, markers.LINKS, markers.OWN, markers.OPAQUE, markers.REDIRECT, markers.IMPURE]
  for (const name of ours) {
    for (const prefix of ['trusted.overlay.', 'user.overlay.']) {
      t.ok(markers.INTERNAL_PREFIXES.some((internal) => `${prefix}${name}`.startsWith(internal)))
    }
    t.notOk(name.startsWith(markers.ESCAPE), 'and are no user’s, stored one level deeper')
  }
})

t.test('all that can be escaped is hidden', async (t) => {
  for (const prefix of markers.ESCAPED_PREFIXES) t.ok(markers.INTERNAL_PREFIXES.includes(prefix))
})

t.test('the AUFS sign of an opaque directory is a whiteout by name', async (t) => {
  t.ok(markers.DOT_OPAQUE.startsWith(markers.DOT_WHITEOUT))
})

t.test('names of different signs differ', async (t) => {
  const names = [
    markers.OPAQUE,
    markers.REDIRECT,
    markers.IMPURE,
    markers.WHITEOUT,
    markers.METACOPY,
    markers.INO,
    markers.LINKS,
    markers.OWN,
  ]
  t.equal(new Set(names).size, names.length)
})
