// mica-launch: comes back when the daemon says "ok", says what it says, and leaves none behind.

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { built, sandbox } from './sandbox.js'

const { path } = sandbox()

const launcher = built('mica-launch')
const launch = (...args: string[]) => spawnSync(launcher, args, { encoding: 'utf8', timeout: 20000 })
const sh = (script: string) => launch('/bin/sh', '-c', script)

t.test('ok ends the launcher with 0 while the daemon lives on in its own session', async (t) => {
  const pidFile = join(path, 'pid')
  const run = sh(`echo $$ >${pidFile}; echo ok >&$MICA_STATUS_FD; exec sleep 30 >/dev/null 2>&1`)
  t.same([run.status, run.stderr], [0, ''])
  const pid = Number(readFileSync(pidFile, 'utf8'))
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  t.equal(Number(fields[3]), pid, 'it leads a session')
  process.kill(pid)
})

t.test('the daemon has an empty stdin and our stdout until then', async (t) => {
  const run = spawnSync(launcher, ['/bin/sh', '-c', 'cat; echo words; echo ok >&$MICA_STATUS_FD'], {
    input: 'not for the daemon',
    encoding: 'utf8',
  })
  t.same([run.status, run.stdout], [0, 'words\n'])
})

t.test('an error is printed and its number is the status', async (t) => {
  const run = sh('echo "error 32 mica: mount /x: not found" >&$MICA_STATUS_FD; exit 0')
  t.same([run.status, run.stderr], [32, 'mica: mount /x: not found\n'])
})

t.test('a daemon that ends without a word gives its own status', async (t) => {
  t.equal(sh('exit 7').status, 7)
  const silent = sh('exit 0')
  t.equal(silent.status, 1)
  t.match(silent.stderr, /ended before/)
  const killed = sh('kill -9 $$')
  t.equal(killed.status, 137)
  t.match(killed.stderr, /signal 9/)
})

t.test('a program that is not there is an error of one line', async (t) => {
  const run = launch(join(path, 'none'), 'script')
  t.equal(run.status, 127)
  t.match(run.stderr, /^mica: cannot run .*No such file or directory\n$/)
  t.equal(launch().status, 2)
})

t.test('an interrupted start ends the daemon', async (t) => {
  const run = spawn(launcher, ['/bin/sh', '-c', 'echo $$; exec sleep 30'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const [words] = (await once(run.stdout!, 'data')) as [Buffer]
  run.kill('SIGINT')
  const [status] = await once(run, 'exit')
  t.equal(status, 130)
  t.throws(() => process.kill(Number(words.toString()), 0))
})
