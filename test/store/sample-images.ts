// Images for tests, made by umoci and this machine's busybox: no network.

import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import type { Sandbox } from './mica.js'

const FIRST = `
mkdir -p bin etc tmp var/log usr/lib dev proc sys root
[ -x /bin/busybox ] && cp /bin/busybox bin/ && for a in sh ls cat echo env id sleep true false touch rm mv mkdir ln pwd kill; do ln -s busybox bin/$a; done
echo root:x:0:0:root:/root:/bin/sh > etc/passwd
echo user:x:1000:1000::/home/user:/bin/sh >> etc/passwd
echo root:x:0: > etc/group
chmod 1777 tmp
ln etc/passwd etc/passwd2
chown 5:6 var/log
touch -d '1960-01-01 00:00:00.5 UTC' etc/old
touch -d '2020-02-02 02:02:02.123456789 UTC' etc/new
mkfifo tmp/fifo
ln -s ../etc/passwd usr/link
printf 'a\\377b' > "$(printf 'etc/n\\351me')"
chmod 4755 etc/new
echo lower > usr/lib/gone; echo lower > usr/lib/kept
`
const SECOND = `
rm usr/lib/gone etc/old
rm -rf var/log; mkdir var/log; echo fresh > var/log/fresh
ln etc/group etc/group2
echo two > etc/two
chmod 700 usr/lib
`

/** Makes an OCI layout with the images `one` (a layer) and `two` (two layers); returns its path. */
export function makeLayout(sandbox: Sandbox): string {
  const layout = sandbox.path('layout')
  if (existsSync(layout)) return layout
  const bundle = sandbox.path('bundle')
  const rootfs = `${bundle}/rootfs`
  const sh = (script: string): void => void execFileSync('sh', ['-euc', script], { cwd: rootfs })
  sandbox.run('umoci', ['init', '--layout', layout])
  sandbox.run('umoci', ['new', '--image', `${layout}:empty`])
  sandbox.run('umoci', ['unpack', '--image', `${layout}:empty`, bundle])
  sh(FIRST)
  sandbox.run('umoci', ['repack', '--refresh-bundle', '--image', `${layout}:one`, bundle])
  sh(SECOND)
  sandbox.run('umoci', ['repack', '--refresh-bundle', '--image', `${layout}:two`, bundle])
  for (const tag of ['one', 'two']) {
    sandbox.run('umoci', [
      ...['config', '--image', `${layout}:${tag}`, '--config.cmd', '/bin/sh'],
      ...['--config.env', 'PATH=/bin', '--config.env', 'GREETING=hello', '--config.workingdir', '/root'],
    ])
  }
  sandbox.run('umoci', ['rm', '--image', `${layout}:empty`])
  return layout
}
