// Pull, push, login and search against a real docker-registry in all four set-ups.

import { randomBytes } from 'node:crypto'
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { needs, Sandbox } from './mica.js'
import { type Auth, PASSWORD, type RegistryServer, startRegistry, USER } from './registry-server.js'
import { makeLayout } from './sample-images.js'

t.setTimeout(600_000)

const skip = needs('docker-registry', 'skopeo', 'umoci', 'openssl')

async function withServer(
  auth: Auth,
  work: (server: RegistryServer, sandbox: Sandbox) => Promise<void> | void,
): Promise<void> {
  const sandbox = new Sandbox()
  const server = await startRegistry(sandbox.path('registry'), auth)
  try {
    await work(server, sandbox)
  } finally {
    await server.stop()
  }
}

/** The image ids in a store. */
async function ids(sandbox: Sandbox): Promise<string[]> {
  return (await sandbox.mica(['images', '-q', '--no-trunc'])).out.trim().split('\n')
}

for (const auth of ['none', 'basic', 'token', 'tls'] as const) {
  t.test(`an image goes to a registry and comes back the same (${auth})`, { skip }, async (t) => {
    await withServer(auth, async (server, sandbox) => {
      const layout = makeLayout(sandbox)
      const name = `${server.host}/team/app:1.0`
      t.equal((await sandbox.mica(['load', layout])).status, 0)
      t.equal((await sandbox.mica(['tag', 'layout:two', name])).status, 0)
      if (auth === 'tls') {
        const refused = await sandbox.mica(['push', name])
        t.equal(refused.status, 1)
        t.match(refused.err, /^mica: push .*certificate is not trusted/m)
        const dir = sandbox.path(`.config/containers/certs.d/${server.host}`)
        mkdirSync(dir, { recursive: true })
        copyFileSync(server.certificate!, join(dir, 'ca.crt'))
      }
      if (auth === 'basic' || auth === 'token') {
        const refused = await sandbox.mica(['push', name])
        t.equal(refused.status, 1)
        t.match(refused.err, /mica login/, 'a refusal names the way out')
        const wrong = await sandbox.mica(['login', '-u', USER, '--password-stdin', server.host], {
          input: 'wrong\n',
        })
        t.equal(wrong.status, 1, 'a wrong password is not kept')
        const right = await sandbox.mica(['login', '-u', USER, '--password-stdin', server.host], {
          input: `${PASSWORD}\n`,
        })
        t.match(right, { status: 0, out: /Login succeeded/ })
      }
      const pushed = await sandbox.mica(['push', name])
      t.match(pushed, { status: 0, out: /digest: sha256:[0-9a-f]{64}/ }, pushed.err)
      const before = await ids(sandbox)
      rmSync(sandbox.root, { recursive: true })
      const pulled = await sandbox.mica(['pull', name])
      t.equal(pulled.status, 0, pulled.err)
      t.ok(before.includes((await ids(sandbox))[0]!), 'the image has the same id')
      const again = await sandbox.mica(['pull', name])
      t.match(again.err, /Already exists/)
      t.notMatch(again.err, /Downloading|Unpacking/)
      const digest = /sha256:[0-9a-f]{64}/.exec(pushed.out)![0]
      t.equal((await sandbox.mica(['pull', `${server.host}/team/app@${digest}`])).status, 0, 'by digest')
      t.match((await sandbox.mica(['search', `${server.host}/app`])).out, `${server.host}/team/app`)
      t.match((await sandbox.mica(['search', '--list-tags', `${server.host}/team/app`])).out, name)
      if (auth === 'basic' || auth === 'token') {
        t.equal((await sandbox.mica(['logout', server.host])).status, 0)
        t.equal((await sandbox.mica(['pull', name])).status, 1)
      }
    })
  })
}

t.test('what we push skopeo and umoci read, what skopeo pushes we read', { skip }, async (t) => {
  await withServer('none', async (server, sandbox) => {
    const layout = makeLayout(sandbox)
    await sandbox.mica(['load', layout])
    t.equal((await sandbox.mica(['push', 'layout:two', `${server.host}/ours:1`])).status, 0)
    sandbox.run('skopeo', [
      'copy',
      '--src-tls-verify=false',
      `docker://${server.host}/ours:1`,
      `oci:${sandbox.path('back')}:1`,
    ])
    sandbox.run('umoci', ['unpack', '--image', `${sandbox.path('back')}:1`, sandbox.path('back-bundle')])
    for (const format of ['v2s2', 'oci']) {
      const name = `${server.host}/theirs:${format}`
      sandbox.run('skopeo', [
        'copy',
        '--dest-tls-verify=false',
        '--format',
        format,
        `oci:${layout}:two`,
        `docker://${name}`,
      ])
      const pulled = await sandbox.mica(['pull', name])
      t.equal(pulled.status, 0, pulled.err)
    }
    const zstd = `${server.host}/theirs:zstd`
    sandbox.run('skopeo', [
      ...[
        'copy',
        '--dest-tls-verify=false',
        '--dest-compress-format',
        'zstd',
        '--dest-compress',
        '--format',
        'oci',
      ],
      ...[`oci:${layout}:one`, `docker://${zstd}`],
    ])
    const pulled = await sandbox.mica(['pull', zstd])
    t.equal(pulled.status, 0, pulled.err)
  })
})

t.test(
  'an unknown name, a wrong digest and a registry that is not there are one line each',
  { skip },
  async (t) => {
    await withServer('none', async (server, sandbox) => {
      const cases = [
        [`${server.host}/nothing:1`, /has no nothing:1/],
        [`${server.host}/nothing@sha256:${'0'.repeat(64)}`, /has no nothing@sha256/],
        ['127.0.0.1:1/nothing:1', /nobody answers there/],
        ['NoCapitals', /lower case/],
      ] as const
      for (const [name, words] of cases) {
        const { status, err, out } = await sandbox.mica(['pull', name])
        t.equal(status, 1, name)
        t.equal(out, '')
        t.match(err, words)
        t.equal(err.trim().split('\n').length, 1, 'one line')
      }
      t.equal((await ids(sandbox)).join(''), '', 'the store is as it was')
    })
  },
)

t.test('a blob that the registry has elsewhere is mounted, not sent', { skip }, async (t) => {
  await withServer('token', async (server, sandbox) => {
    await sandbox.mica(['load', makeLayout(sandbox)])
    await sandbox.mica(['login', '-u', USER, '--password-stdin', server.host], { input: PASSWORD })
    t.equal((await sandbox.mica(['push', 'layout:two', `${server.host}/a/app`])).status, 0)
    const second = await sandbox.mica(['push', 'layout:two', `${server.host}/b/app`])
    t.equal(second.status, 0, second.err)
    t.notMatch(second.err, /Pushing/)
    t.equal((await sandbox.mica(['pull', `${server.host}/b/app`])).status, 0)
  })
})

t.test('a blob of several chunks arrives whole', { skip }, async (t) => {
  await withServer('basic', async (server, sandbox) => {
    const bytes = randomBytes(20_000_000)
    writeFileSync(join(sandbox.dir('source'), 'f'), bytes)
    t.equal((await sandbox.mica(['import', sandbox.path('source'), 'large'])).status, 0)
    const login = ['--creds', `${USER}:${PASSWORD}`]
    const pushed = await sandbox.mica(['push', '-q', ...login, 'large', `${server.host}/large:1`])
    t.equal(pushed.status, 0, pushed.err)
    rmSync(sandbox.root, { recursive: true })
    t.match(await sandbox.mica(['pull', '-q', `${server.host}/large:1`]), { status: 1 }, 'kept nowhere')
    t.equal((await sandbox.mica(['pull', '-q', ...login, `${server.host}/large:1`])).status, 0)
    const [image] = JSON.parse((await sandbox.mica(['inspect', `${server.host}/large:1`])).out) as {
      Layers: { Path: string }[]
    }[]
    t.ok(readFileSync(join(image!.Layers[0]!.Path, 'f')).equals(bytes))
  })
})

t.test('an image is not kept by the digests of repositories that have lost it', { skip }, async (t) => {
  await withServer('none', async (server, sandbox) => {
    const mica = async (...args: string[]): Promise<string> => {
      const { status, out, err } = await sandbox.mica(args)
      if (status !== 0) throw new Error(err)
      return out
    }
    const listed = (...args: string[]): Promise<string> =>
      mica('images', '--format', '{{.Repository}}:{{.Tag}}', ...args)
    const app = `${server.host}/app`
    await mica('load', '-q', makeLayout(sandbox))
    await mica('push', '-q', 'layout:one', `${app}:1`)
    t.notMatch(await listed(), app, 'what is sent somewhere has no name of there')
    t.match(await listed('-a'), `${app}:<none>`)
    await mica('rmi', 'layout:one')
    await mica('pull', '-q', `${app}:1`)
    await mica('push', '-q', 'layout:two', `${app}:1`)
    await mica('pull', '-q', `${app}:1`)
    await mica('rmi', 'layout:two')
    t.equal(await listed('-f', 'dangling=true'), '<none>:<none>\n', 'what the tag meant before')
    t.match(await mica('prune'), /^deleted image sha256:/)
    const [image] = JSON.parse(await mica('inspect', `${app}:1`)) as { RepoDigests: string[] }[]
    t.equal(image!.RepoDigests.length, 1)
    await mica('rmi', `${app}:1`)
    await mica('pull', '-q', image!.RepoDigests[0]!)
    await mica('prune')
    t.equal(await listed(), `${app}:<none>\n`, 'one that was pulled by digest is')
    await mica('create', image!.RepoDigests[0]!, 'user')
    t.match(await mica('rmi', '-f', image!.RepoDigests[0]!), `Untagged: ${image!.RepoDigests[0]!}\n`)
    t.equal(await listed(), '<none>:<none>\n')
    await mica('rm', 'user')
    t.match(await mica('prune'), /^deleted image/)
  })
})

t.test('login asks at a terminal, and shows no password', { skip: skip || needs('script') }, async (t) => {
  await withServer('basic', async (server, sandbox) => {
    const login = (...typed: (readonly [string, string])[]) =>
      sandbox.atTerminal(['login', server.host], 'stty cols 90', typed)
    const done = await login(['Username: ', `${USER}\r`], ['Password: ', `${PASSWORD}\r`])
    t.match(done, { status: 0, out: /Login succeeded/ })
    t.notMatch(done.out, PASSWORD)
    const lastErased = done.out.lastIndexOf('\x1b[0J')
    t.ok(done.out.lastIndexOf('Username: ') > lastErased, 'the question stays to be seen')
    for (const [prompt, ...before] of [
      ['Username: '],
      ['Password: ', ['Username: ', `${USER}\r`]],
    ] as const) {
      const gone = await login(...before, [prompt, '\x03'])
      t.match(gone, { status: 130, out: /mica: login [^\n]+: interrupted\r\n$/ })
    }
    for (const limit of ['x', '0', '-1'])
      t.match(await sandbox.mica(['search', '--limit', limit, `${server.host}/app`]), {
        status: 2,
        err: /^mica: search: .*it is a number from 1 on; see mica search --help\n$/,
      })
  })
})

t.test('two pulls of one image at a time download it once', { skip }, async (t) => {
  await withServer('none', async (server, sandbox) => {
    await sandbox.mica(['load', makeLayout(sandbox)])
    const name = `${server.host}/app:1`
    await sandbox.mica(['push', 'layout:two', name])
    rmSync(sandbox.root, { recursive: true })
    const both = await Promise.all([sandbox.start(['pull', name]).ended, sandbox.start(['pull', name]).ended])
    t.same(
      both.map(({ status }) => status),
      [0, 0],
      both.map(({ err }) => err).join(),
    )
    const downloads = both.map(({ err }) => err.match(/Downloading/g)?.length ?? 0)
    t.equal(downloads[0]! + downloads[1]!, 2, 'two layers, each downloaded by one of them')
  })
})
