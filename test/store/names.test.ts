// Names, digests, platforms and configs: what comes in as text.

import t from 'tap'
import { detectCompression } from '../../src/store/compression.js'
import { applyChanges } from '../../src/store/config-change.js'
import { chainIds, digestOf, isDigest, parseDigest } from '../../src/store/digest.js'
import { nearest } from '../../src/store/nearest.js'
import { choosePlatform, parsePlatform } from '../../src/store/platform.js'
import { familiar, formatReference, parseReference, withDefaultTag } from '../../src/store/reference.js'
import { parseChallenges } from '../../src/store/registry/challenge.js'

const hex = 'a'.repeat(64)

t.test('names become what docker makes of them', async (t) => {
  const table: readonly (readonly [typed: string, full: string, shown: string])[] = [
    ['alpine', 'docker.io/library/alpine:latest', 'alpine:latest'],
    ['alpine:3.20', 'docker.io/library/alpine:3.20', 'alpine:3.20'],
    ['team/app', 'docker.io/team/app:latest', 'team/app:latest'],
    ['index.docker.io/alpine', 'docker.io/library/alpine:latest', 'alpine:latest'],
    ['docker.io/a/b/c', 'docker.io/a/b/c:latest', 'a/b/c:latest'],
    ['localhost/app', 'localhost/app:latest', 'localhost/app:latest'],
    ['localhost:5000/app:1', 'localhost:5000/app:1', 'localhost:5000/app:1'],
    ['quay.io/x/y', 'quay.io/x/y:latest', 'quay.io/x/y:latest'],
    ['[::1]:5000/x', '[::1]:5000/x:latest', '[::1]:5000/x:latest'],
    ['Host/app', 'Host/app:latest', 'Host/app:latest'],
    [`alpine@sha256:${hex}`, `docker.io/library/alpine@sha256:${hex}`, `alpine@sha256:${hex}`],
    [`h.io/a:1@sha256:${hex}`, `h.io/a:1@sha256:${hex}`, `h.io/a:1@sha256:${hex}`],
  ]
  for (const [typed, full, shown] of table) {
    const made = formatReference(withDefaultTag(parseReference(typed)))
    t.equal(made, full)
    t.equal(familiar(made), shown)
  }
})

t.test('what is no name is refused', async (t) => {
  const table = [
    ...[
      '',
      ':1',
      'a:',
      'UPPER',
      'a//b',
      '-a',
      'a_-b',
      'a/',
      '/a',
      'a b',
      'a:t:u',
      `a:${'t'.repeat(129)}`,
      hex,
    ],
    ...['a@sha256:12', 'a@md5:00', 'a/../b', 'h.io/', 'h.io:port/a', `${'a'.repeat(260)}`, 'a\n'],
  ]
  for (const text of table) t.throws(() => parseReference(text), { code: 'INVALID' }, JSON.stringify(text))
})

t.test('digests are checked, and chained as the specification says', async (t) => {
  t.ok(isDigest(`sha256:${hex}`))
  t.notOk(isDigest(`sha256:${hex}0`))
  t.notOk(isDigest(`sha256:${hex.toUpperCase()}`))
  t.notOk(isDigest(`sha256:../../${hex}`))
  t.throws(() => parseDigest(`sha512:${hex}${hex}`, 'x'), { code: 'UNSUPPORTED' })
  const [a, b] = [digestOf('a'), digestOf('b')]
  t.same(chainIds([a, b]), [a, digestOf(`${a} ${b}`)])
})

t.test('the exact variant of a platform comes before any other', async (t) => {
  const list = ['linux/arm/v6', 'linux/arm/v7', 'linux/arm64', 'linux/amd64'].map((text) => ({
    platform: parsePlatform(text),
  }))
  t.equal(choosePlatform(list, parsePlatform('linux/arm/v7')), list[1])
  t.equal(choosePlatform(list, parsePlatform('arm64')), list[2])
  t.equal(choosePlatform(list, parsePlatform('x86_64')), list[3])
  t.equal(choosePlatform(list, parsePlatform('linux/s390x')), undefined)
  t.throws(() => parsePlatform('a/b/c/d'), { code: 'INVALID' })
})

t.test('compression is told by content', async (t) => {
  t.equal(detectCompression(Buffer.from('1f8b08', 'hex')), 'gzip')
  t.equal(detectCompression(Buffer.from('28b52ffd', 'hex')), 'zstd')
  t.equal(detectCompression(Buffer.from('502a4d18', 'hex')), 'zstd', 'a skippable frame')
  t.equal(detectCompression(Buffer.from('hello')), 'none')
  t.equal(detectCompression(Buffer.alloc(0)), 'none')
  t.equal(detectCompression(Buffer.from('fd377a585a00', 'hex')), 'xz')
  t.throws(() => detectCompression(Buffer.from('504b0304', 'hex')), /zip/)
})

t.test('instructions change a config', async (t) => {
  const changed = applyChanges({ Env: ['A=1', 'B=2'], Cmd: ['x'] }, [
    'ENV A=3 C="a b"',
    'ENV D the rest',
    'CMD ["/bin/sh", "-c"]',
    'ENTRYPOINT run it',
    'LABEL x=y',
    'EXPOSE 80 53/udp',
    'VOLUME /a /b',
    'USER me',
    'WORKDIR /w',
  ])
  t.same(changed, {
    Env: ['A=3', 'B=2', 'C=a b', 'D=the rest'],
    Cmd: ['/bin/sh', '-c'],
    Entrypoint: ['/bin/sh', '-c', 'run it'],
    Labels: { x: 'y' },
    ExposedPorts: { '80/tcp': {}, '53/udp': {} },
    Volumes: { '/a': {}, '/b': {} },
    User: 'me',
    WorkingDir: '/w',
  })
  t.throws(() => applyChanges({}, ['FROM x']), /begin with one of/)
})

t.test('challenges are read in all their forms', async (t) => {
  t.same(parseChallenges('Bearer realm="https://a/t",service="r, s",scope="x:y:pull"'), [
    { scheme: 'bearer', parameters: { realm: 'https://a/t', service: 'r, s', scope: 'x:y:pull' } },
  ])
  t.same(parseChallenges(['Negotiate', 'Basic realm=plain']), [
    { scheme: 'basic', parameters: { realm: 'plain' } },
  ])
  t.same(parseChallenges('="broken'), [])
  t.same(parseChallenges(undefined), [])
})

t.test('near names are found', async (t) => {
  t.same(nearest('alpin', ['alpine:3', 'debian:1', 'alpine:latest']), ['alpine:latest', 'alpine:3'])
  t.same(nearest('zzz', ['alpine']), [])
})
