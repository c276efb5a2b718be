// containerd's filter language.
import t from 'tap'
import { SnapshotError } from '../../src/snapshotter/errors.js'
import { parseFilters } from '../../src/snapshotter/filter.js'
import type { Snapshot } from '../../src/snapshotter/snapshot.js'

const snapshot: Snapshot = {
  id: 1,
  name: 'default/1/sha256:ab.c',
  parent: '',
  kind: 'active',
  createdMs: 0,
  updatedMs: 0,
  labels: { foo: 'bar', 'a.b/c d': 'x,"y"', 'containerd.io/gc.root': '', é: 'ü' },
}

const cases: readonly [text: string, matches: boolean][] = [
  ['', true],
  ['name', true],
  ['nothing', false],
  ['labels', false],
  ['labels.foo', true],
  ['labels.foo==bar', true],
  ['labels.foo == bar', true],
  ['labels.foo!=bar', false],
  ['labels.none!=bar', true],
  ['labels."foo"==bar', true],
  ['labels."a.b/c d"=="x,\\"y\\""', true],
  ['labels."containerd.io/gc.root"', true],
  ['labels."\\u00e9"=="\\xfc"', true],
  ['labels.|foo|==/bar/', true],
  ['kind==active', true],
  ['kind==Active', false],
  ['kind==committed', false],
  ['name==default/1/sha256:ab.c', true],
  ['name~=sha256', true],
  ['name~="^default/[0-9]+/"', true],
  ['name~=/^default\\/\\d+\\//', true],
  ['name~="(?i)SHA256"', true],
  ['name~="\\\\Adefault.*c\\\\z"', true],
  ['name~="(?P<ns>default)"', true],
  ['name~=^sha', false],
  ['parent==""', true],
  ['kind==active,labels.foo==bar', true],
  ['kind==active,labels.foo==baz', false],
  ['kind==view,labels.foo==bar', false],
]
const wrong = [
  '==',
  'name=',
  'name=x',
  'name===x',
  'name==x y',
  'name==,',
  ',name',
  'name,',
  'labels.',
  '"open',
  'name=="x',
  'name~="("',
  'name<x',
  '"\\q"',
  '"\\U00ffffff"',
]

t.test('a filter lets through what containerd would', async (t) => {
  for (const [text, matches] of cases) {
    t.equal(parseFilters([text])(snapshot), matches, text)
  }
})

t.test('of several filters one is enough', async (t) => {
  t.equal(parseFilters(['kind==view', 'labels.foo'])(snapshot), true)
  t.equal(parseFilters(['kind==view', 'labels.none'])(snapshot), false)
  t.equal(parseFilters([])(snapshot), true)
})

t.test('what is no filter is refused with the place', async (t) => {
  for (const text of wrong) {
    t.throws(() => parseFilters([text]), SnapshotError, text)
  }
  t.throws(() => parseFilters(['name==x y']), { code: 'INVALID_ARGUMENT', message: /character 9/ })
})
