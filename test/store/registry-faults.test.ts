// What goes wrong between a registry and the store: broken connections, refusals, lies. One line, a status
// that is not 0, and a store as it was.

import { randomBytes } from 'node:crypto'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { OCI_LAYER } from '../../src/store/media-types.js'
import {
  cutAfter,
  type Fault,
  type FaultRegistry,
  imageOf,
  indexOf,
  sayError,
  startFaultRegistry,
} from './fault-registry.js'
import { type Ran, Sandbox } from './mica.js'
import { digest } from './tar.js'

t.setTimeout(300_000)

const sandbox = new Sandbox()
const registry: FaultRegistry = await startFaultRegistry()
t.teardown(() => registry.close())
t.afterEach(() => {
  registry.fault = undefined
  registry.requests.length = 0
})

const big = imageOf([randomBytes(600_000).toString('hex'), 'small'])
const bigBlob = digest(big.layers[0]!)
registry.add('big', big)
registry.add('small', imageOf(['hello']))

const pull = (tag: string, ...options: string[]): Promise<Ran> =>
  sandbox.mica(['pull', ...options, `${registry.host}/app:${tag}`])
const empty = async (): Promise<boolean> => (await sandbox.mica(['images', '-aq'])).out === ''
const reset = (): Promise<Ran> => sandbox.mica(['prune', '-a', '-f'])
const isOneLine = (ran: Ran): boolean => ran.err.trim().split('\n').at(-1)!.startsWith('mica: pull ')
const ranges = (): string[] => registry.requests.filter((each) => each.includes('bytes='))

t.test('a download goes on where the connection broke', async (t) => {
  registry.fault = cutAfter(500_000)
  t.match(await pull('big'), { status: 0 })
  t.equal(ranges().length, 2)
  await reset()
})

t.test('a server that knows no ranges sends it again, and it is whole', async (t) => {
  let tries = 0
  const cut = cutAfter(700_000, { hasRanges: false })
  registry.fault = (request, response, body) => {
    delete request.headers.range
    return tries++ < 6 && cut(request, response, body)
  }
  t.match(await pull('big'), { status: 0 })
  t.equal((await sandbox.mica(['fsck', '-q'])).status, 0)
  await reset()
})

for (const signal of ['SIGKILL', 'SIGINT'] as const) {
  t.test(`after ${signal} the next pull goes on from there, in another process`, async (t) => {
    registry.fault = cutAfter(800_000, { isHanging: true })
    const first = sandbox.start(['pull', `${registry.host}/app:big`])
    const until = Date.now() + 20_000
    let seen = ''
    while (Date.now() < until && !/unfinished download .*\([1-9]/.test(seen))
      seen = (await sandbox.mica(['prune', '--dry-run'])).out
    t.match(seen, new RegExp(`would delete unfinished download ${bigBlob}`))
    first.kill(signal)
    const { status, err } = await first.ended
    if (signal === 'SIGINT') t.match({ status, err }, { status: 130, err: /: interrupted\n$/ })
    t.ok(await empty())
    registry.fault = undefined
    registry.requests.length = 0
    t.match(await pull('big'), { status: 0 })
    t.match(ranges(), [/bytes=[1-9]\d{4,}-$/])
    t.notMatch((await sandbox.mica(['prune', '--dry-run'])).out, /unfinished/)
    await reset()
  })
}

t.test('a connection that breaks at every try ends the pull', async (t) => {
  registry.fault = (request, response) => {
    if (!request.url!.includes(bigBlob)) return false
    response.destroy()
    return true
  }
  const ran = await pull('big')
  t.match(ran, { status: 1, out: '', err: /^mica: pull .*127\.0\.0\.1/m })
  t.ok(await empty())
})

const answers: [name: string, status: number, body: string, words: RegExp][] = [
  [
    '401',
    401,
    '{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}',
    /401.*authentication required.*mica login/,
  ],
  [
    '403',
    403,
    '{"errors":[{"code":"DENIED","message":"requested access is denied"}]}',
    /403.*requested access is denied/,
  ],
  [
    '404',
    404,
    '{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}',
    /has no app:small.*manifest unknown/,
  ],
  [
    '429',
    429,
    '{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}',
    /limits the rate \(429\): You have reached your pull rate limit.*later/,
  ],
  ['500', 500, 'internal error', /answered 500: internal error/],
  ['502 in HTML', 502, '<html><body><h1>Bad Gateway</h1></body></html>', /answered 502$/m],
  ['418', 418, '{"message":"teapot"}', /answered 418: teapot/],
]
for (const [name, status, body, words] of answers) {
  t.test(`an answer ${name} is told of in the registry's words`, async (t) => {
    registry.fault = (request, response) => {
      if (request.url === '/v2/') return false
      response.writeHead(status, { 'retry-after': '0' }).end(body)
      return true
    }
    const ran = await pull('small')
    t.match(ran, { status: 1, out: '', err: words })
    t.ok(isOneLine(ran))
    t.ok(await empty())
  })
}

t.test('where there is no catalogue to search in, that is the answer', async (t) => {
  const plain = (host: string): RegExp =>
    new RegExp(`^mica: search .*: ${host} has no catalogue to search in\n$`)
  for (const status of [404, 405]) {
    registry.fault = (request, response) => {
      if (!request.url!.includes('_catalog')) return false
      response.writeHead(status).end()
      return true
    }
    const ran = await sandbox.mica(['search', `${registry.host}/app`])
    t.match(ran, { status: 1, out: '', err: plain(registry.host) })
  }
  t.match(await sandbox.mica(['search', 'debian']), { status: 1, out: '', err: plain('docker.io') })
})

t.test('429 and 503 that pass are waited out', async (t) => {
  let refusals = 2
  registry.fault = (request, response) => {
    if (!request.url!.includes('/manifests/') || refusals-- <= 0) return false
    response.writeHead(refusals === 1 ? 429 : 503, { 'retry-after': '0' }).end('')
    return true
  }
  t.match(await pull('small'), { status: 0 })
  await reset()
})

t.test('some layers come at a time, not all', async (t) => {
  registry.add('wide', imageOf(Array.from({ length: 8 }, (_, at) => `layer ${at}`)))
  let [open, most] = [0, 0]
  registry.fault = (request, response, body) => {
    if (body === undefined || !request.url!.includes('/blobs/')) return false
    most = Math.max(most, ++open)
    setTimeout(() => {
      open--
      response.end(body)
    }, 60)
    return true
  }
  t.match(await pull('wide'), { status: 0 })
  t.ok(most > 1 && most < 5, `${most} at a time`)
  await reset()
})

/** Serves other bytes than the digest says, of the same length. */
const lie: Fault = (request, response, body) => {
  if (body === undefined || !request.url!.includes(digest(imageOf(['hello']).layers[0]!))) return false
  response.end(Buffer.from(body).fill(0x41, 20, 30))
  return true
}

t.test('a blob of another content is refused', async (t) => {
  registry.fault = lie
  const ran = await pull('small')
  t.match(ran, { status: 1, err: /wrong digest: asked for sha256:/ })
  t.ok(isOneLine(ran))
  t.notMatch((await sandbox.mica(['prune', '--dry-run'])).out, /unfinished/)
})

t.test('a manifest that lacks a layer of the config, and a layer that the registry lacks', async (t) => {
  registry.add(
    'short',
    imageOf(['one', 'two'], {
      change: (manifest) => ({ ...manifest, layers: (manifest as { layers: object[] }).layers.slice(1) }),
    }),
  )
  t.match(await pull('short'), { status: 1, err: /the config names 2 layers, the manifest has 1/ })
  const gone = imageOf(['will be gone'])
  registry.add('gone', { ...gone, layers: [] })
  const ran = await pull('gone')
  t.match(ran, { status: 1, err: /404/ })
  t.ok(await empty())
})

t.test('layers that registries may not give out are refused by name', async (t) => {
  const mediaType = OCI_LAYER.replace('layer.v1', 'layer.nondistributable.v1')
  const change = (manifest: object): object => ({
    ...manifest,
    layers: (manifest as { layers: object[] }).layers.map((layer) => ({ ...layer, mediaType })),
  })
  registry.add('foreign', imageOf(['x'], { change }))
  const ran = await pull('foreign')
  t.match(ran, { status: 1, err: /foreign|non-?distributable/i })
  t.ok(isOneLine(ran))
})

t.test('of several platforms the one asked for comes', async (t) => {
  const images = { amd64: imageOf(['for amd64']), arm64: imageOf(['for arm64'], { architecture: 'arm64' }) }
  for (const image of Object.values(images)) registry.add('each', image)
  registry.add('many', { ...images.amd64, manifest: indexOf(images) })
  t.match(await pull('many', '--platform', 'linux/arm64'), { status: 0 })
  t.match(JSON.parse((await sandbox.mica(['inspect', `${registry.host}/app:many`])).out), [
    { Architecture: 'arm64' },
  ])
  const ran = await pull('many', '--platform', 'linux/s390x')
  t.match(ran, { status: 1, err: /linux\/s390x.*linux\/amd64.*linux\/arm64/ })
  t.ok(isOneLine(ran))
  t.match(await pull('small', '--platform', 'linux/arm64'), { status: 1, err: /linux\/amd64/ })
  t.match(await pull('many', '--platform', 'nonsense/'), { status: 1, err: /platform/ })
  await reset()
})

t.test("credentials come from docker's file, and from a helper that it names", async (t) => {
  const bin = sandbox.dir('bin')
  const log = sandbox.path('helper.log')
  writeFileSync(
    join(bin, 'docker-credential-test'),
    `#!/bin/sh\nread -r host\necho "$1 $host" >> ${log}\necho '{"ServerURL":"x","Username":"bob","Secret":"from helper"}'\n`,
  )
  chmodSync(join(bin, 'docker-credential-test'), 0o755)
  mkdirSync(sandbox.path('.docker'), { recursive: true })
  const wanted = `Basic ${Buffer.from('bob:from helper').toString('base64')}`
  registry.fault = (request, response) => {
    if (request.headers.authorization === wanted) return false
    response.setHeader('www-authenticate', 'Basic realm="test"')
    sayError(response, 401, 'UNAUTHORIZED', 'who are you?')
    return true
  }
  t.match(await pull('small'), { status: 1, err: /who are you\?/ })
  const env = { PATH: `${bin}:${process.env.PATH}`, REGISTRY_AUTH_FILE: '' }
  const auth = Buffer.from('bob:from helper').toString('base64')
  for (const content of [
    { credHelpers: { [registry.host]: 'test' } },
    { credsStore: 'test' },
    { auths: { [registry.host]: { auth } } },
  ]) {
    writeFileSync(sandbox.path('.docker/config.json'), JSON.stringify(content))
    t.match(await sandbox.mica(['pull', `${registry.host}/app:small`], { env }), { status: 0 })
    await reset()
  }
})
