// HTTP servers as they are: those that close after each answer, redirect, break off, or stand behind a proxy.

import { randomBytes } from 'node:crypto'
import { createServer as createHttpServer, type Server } from 'node:http'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import t from 'tap'
import { imageOf, startFaultRegistry } from './fault-registry.js'
import { Sandbox } from './mica.js'
import { archive, dir, file } from './tar.js'

t.setTimeout(300_000)

const sandbox = new Sandbox()
// More than any buffer on the way holds.
const rootfs = archive(dir('./'), file('big', randomBytes(30 << 20).toString('latin1')))

async function listen(server: {
  listen(port: number, host: string): unknown
  address(): unknown
}): Promise<number> {
  server.listen(0, '127.0.0.1')
  await new Promise((resolve) => (server as Server).once('listening', resolve))
  return (server.address() as AddressInfo).port
}

/** A server of HTTP/1.0: it says all that it has, and closes. */
function oldServer(head: string, body: Buffer): ReturnType<typeof createServer> {
  return createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => {
      socket.write(`HTTP/1.0 200 OK\r\n${head}\r\n`)
      socket.end(body)
    })
  })
}

t.test('an archive comes from a server that closes, with and without a length', async (t) => {
  for (const head of [`Content-Length: ${rootfs.length}\r\n`, '']) {
    const server = oldServer(head, rootfs)
    const port = await listen(server)
    t.match(await sandbox.mica(['import', `http://127.0.0.1:${port}/x`, 'x']), { status: 0, err: '' })
    server.close()
  }
  t.match((await sandbox.mica(['fsck', '-q'])).out, 'all is well')
  const short = oldServer(`Content-Length: ${rootfs.length + 1}\r\n`, rootfs)
  const url = `http://127.0.0.1:${await listen(short)}/x`
  t.match(await sandbox.mica(['import', url]), {
    status: 1,
    err: `mica: import ${url}: the connection broke\n`,
  })
  short.close()
  t.match(await sandbox.mica(['import', url]), {
    status: 1,
    err: `mica: import ${url}: nobody answers there\n`,
  })
})

t.test('redirects are followed, not for ever', async (t) => {
  const server = createHttpServer((request, response) => {
    if (request.url === '/there') response.end(rootfs)
    else response.writeHead(302, { location: request.url === '/here' ? '/there' : '/round' }).end()
  })
  const host = `http://127.0.0.1:${await listen(server)}`
  t.match(await sandbox.mica(['import', `${host}/here`, 'y']), { status: 0, err: '' })
  t.match(await sandbox.mica(['import', `${host}/round`]), { status: 1, err: /the server answered 302/ })
  server.close()
  server.closeAllConnections()
})

t.test('a registry that closes after each answer, and one behind a proxy', async (t) => {
  const registry = await startFaultRegistry()
  registry.add('big', imageOf([randomBytes(10 << 20).toString('latin1'), 'small']))
  registry.fault = (_, response) => {
    response.setHeader('connection', 'close')
    return false
  }
  const name = `${registry.host}/app:big`
  t.match(await sandbox.mica(['pull', '-q', name]), { status: 0, err: '' })
  await sandbox.mica(['rmi', name])
  const asked: string[] = []
  const proxy = createHttpServer()
  proxy.on('connect', (request, client: Socket) => {
    asked.push(request.url!)
    const server = connect(Number(registry.host.split(':')[1]), '127.0.0.1', () => {
      client.write('HTTP/1.1 200 OK\r\n\r\n')
      server.pipe(client).pipe(server)
    })
    for (const each of [server, client]) each.on('error', () => {})
  })
  const env = {
    HTTP_PROXY: `http://127.0.0.1:${await listen(proxy)}`,
    http_proxy: '',
    HTTPS_PROXY: '',
    NO_PROXY: '',
  }
  const far = 'registry.invalid:80/app:big'
  t.match(await sandbox.mica(['pull', '-q', '--tls-verify=false', far], { env }), { status: 0, err: '' })
  t.ok(asked.includes('registry.invalid:80'))
  await sandbox.mica(['rmi', far])
  const direct = { ...env, NO_PROXY: '127.0.0.1', HTTP_PROXY: 'http://127.0.0.1:1' }
  t.match(await sandbox.mica(['pull', '-q', name], { env: direct }), { status: 0, err: '' })
  registry.close()
  proxy.close()
  proxy.closeAllConnections()
})
