// `mica snapshotter` as a program: sockets, one snapshotter a root, its end.
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../support/package-root.js'
import { Client } from './client.js'

const folder = mkdtempSync(join(tmpdir(), 'mica-snapshotter-command-'))
const children: ChildProcess[] = []
t.teardown(() => {
  for (const child of children) child.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})
const path = (name: string): string => join(folder, name)

type Ended = { readonly status: number | null; readonly err: string }
type Command = {
  readonly child: ChildProcess
  readonly serving: Promise<void>
  readonly ended: Promise<Ended>
}

function command(...args: readonly string[]): Command {
  const main = join(packageRoot, 'dist/src/cli/main.js')
  const child = spawn(process.execPath, [main, 'snapshotter', ...args], {
    stdio: ['ignore', 'inherit', 'pipe'],
  })
  children.push(child)
  let err = ''
  const serving = new Promise<void>((done, fail) => {
    child.stderr.on('data', (text: Buffer) => {
      err += text
      if (err.includes('serving ')) done()
    })
    child.once('close', () => fail(new Error(err)))
  })
  serving.catch(() => {})
  const ended = new Promise<Ended>((done) => void child.once('close', (status) => done({ status, err })))
  return { child, serving, ended }
}

t.test('a snapshotter ends on SIGTERM and leaves no socket', async (t) => {
  const it = command('--root', path('r'), '--address', path('new/dir/s'))
  await it.serving
  t.equal(statSync(path('new/dir/s')).mode & 0o077, 0, 'the socket is private')
  t.equal(statSync(path('r')).mode & 0o077, 0, 'so is the root')
  it.child.kill('SIGTERM')
  t.equal((await it.ended).status, 0)
  t.strictSame(readdirSync(path('new/dir')), [])
})

t.test('one snapshotter serves a root, one a socket', async (t) => {
  const it = command('--root', path('one'), '--address', path('s1'))
  await it.serving
  const second = await command('--root', path('one'), '--address', path('s2')).ended
  t.equal(second.status, 1)
  const words = `mica: snapshotter ${path('one')}: another snapshotter (pid ${it.child.pid}) serves this root\n`
  t.equal(second.err, words)
  t.notOk(existsSync(path('s2')))
  const third = await command('--root', path('three'), '--address', path('s1')).ended
  t.strictSame(third, {
    status: 1,
    err: `mica: snapshotter ${path('three')}: ${path('s1')} is served by another process\n`,
  })
  const client = new Client(path('s1'))
  t.strictSame(await client.names(), [], 'the first one serves on')
  client.close()

  it.child.kill('SIGKILL')
  await it.ended
  t.ok(existsSync(path('s1')), 'killed, it leaves its socket')
  const next = command('--root', path('one'), '--address', `unix://${path('s1')}`)
  await next.serving
  next.child.kill('SIGINT')
  t.equal((await next.ended).status, 0)
})

t.test('what can\u2019t be served is said in one line', async (t) => {
  writeFileSync(path('file'), '')
  mkdirSync(path('dir'))
  const long = path('x'.repeat(120))
  const cases: [string[], number, RegExp][] = [
    [['--root', path('a'), '--address', path('file')], 1, /file is there and is no socket$/],
    [['--root', path('a'), '--address', path('dir')], 1, /dir is there and is no socket$/],
    [['--root', path('a'), '--address', long], 1, /too long for a socket: 107 bytes are the limit$/],
    [['--root', path('a'), '--address', path('file/s')], 1, /^mica: snapshotter \S+: .*(directory|exists)/],
    [['--root', path('file'), '--address', path('s')], 1, /^mica: snapshotter \S+file: /],
    [['--root', path('a,b'), '--address', path('s')], 1, /no good in its path$/],
    [['--unpack', 'fast'], 2, /^mica: snapshotter: .*--unpack/],
    [['--root'], 2, /^mica: snapshotter: .*--root/],
  ]
  for (const [args, status, words] of cases) {
    const ended = await command(...args).ended
    t.equal(ended.status, status, args.join(' '))
    t.match(ended.err.trimEnd(), words)
    t.equal(ended.err.trimEnd().split('\n').length, 1, ended.err)
  }
  t.ok(existsSync(path('file')))
})

t.test('a root of a newer mica is left alone', async (t) => {
  const { default: Database } = await import('better-sqlite3')
  mkdirSync(path('newer'))
  const db = new Database(join(path('newer'), 'metadata.db'))
  db.pragma('user_version = 99')
  db.close()
  const ended = await command('--root', path('newer'), '--address', path('s')).ended
  t.match(ended, { status: 1, err: /has format 99, made by a newer mica/ })
})
