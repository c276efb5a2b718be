// A stand-in for /dev/fuse: one end of a local socket. The transport reads requests from it and
// writes replies to it as to the device; the test plays the kernel at the other end. A stream keeps
// no borders, so the kernel's side sends one request at a time; and it takes some 200 KiB at once.

import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'

export type Reply = { unique: number; error: number; body: Buffer }

export type FakeDevice = {
  /** The fd that the transport gets. */
  readonly fd: number
  send(bytes: Uint8Array): void
  /** Sends a request and resolves with the next reply. */
  ask(bytes: Uint8Array): Promise<Reply>
  next(): Promise<Reply>
  /** How many replies came that nobody waited for. */
  readonly left: number
  close(): void
}

/** Returns a request: header and body. */
export function request(
  opcode: number,
  unique: number,
  body: Uint8Array = Buffer.alloc(0),
  length?: number,
): Buffer {
  const bytes = Buffer.alloc(40 + body.length)
  bytes.writeUInt32LE(length ?? bytes.length, 0)
  bytes.writeUInt32LE(opcode, 4)
  bytes.writeBigUInt64LE(BigInt(unique), 8)
  bytes.writeBigUInt64LE(1n, 16)
  bytes.set(body, 40)
  return bytes
}

let made = 0

export async function fakeDevice(dir: string): Promise<FakeDevice> {
  const path = join(dir, `socket${made++}`)
  const server = createServer({ pauseOnConnect: true })
  server.listen(path)
  await once(server, 'listening')
  const kernel = connect(path)
  const [device] = (await once(server, 'connection')) as [Socket]
  server.close()
  kernel.on('error', () => undefined)
  const fd = (device as unknown as { _handle: { fd: number } })._handle.fd

  let pending = Buffer.alloc(0)
  const replies: Reply[] = []
  const waiting: ((reply: Reply) => void)[] = []
  kernel.on('data', (bytes) => {
    pending = Buffer.concat([pending, bytes])
    while (pending.length >= 16 && pending.length >= pending.readUInt32LE(0)) {
      const length = pending.readUInt32LE(0)
      const reply = {
        unique: Number(pending.readBigUInt64LE(8)),
        error: pending.readInt32LE(4),
        body: Buffer.from(pending.subarray(16, length)),
      }
      pending = pending.subarray(length)
      const waiter = waiting.shift()
      if (waiter) waiter(reply)
      else replies.push(reply)
    }
  })
  const next = () => {
    const reply = replies.shift()
    return reply ? Promise.resolve(reply) : new Promise<Reply>((resolve) => waiting.push(resolve))
  }
  return {
    fd,
    send: (bytes) => void kernel.write(bytes),
    ask: (bytes) => {
      kernel.write(bytes)
      return next()
    },
    next,
    get left() {
      return replies.length
    },
    close: () => {
      kernel.destroy()
      device.destroy()
    },
  }
}

export const pause = (ms = 20): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
