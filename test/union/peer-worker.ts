// The thread behind peer.ts: a second worker of the union in `workerData`, which runs one method at a
// time when the first thread tells it to.

import { type MessagePort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import type { UnionState } from '../../src/union/state.js'
import { UnionFileSystem } from '../../src/union/union-fs.js'
import { createArena, IN, OUT } from '../../src/vfs/arena.js'
import type { Step } from './peer.js'

const { port, signal, state } = workerData as {
  port: MessagePort
  signal: SharedArrayBuffer
  state: UnionState
}
const words = new Int32Array(signal)
const arena = createArena()
const fs = new UnionFileSystem(state, arena)
fs.caller.uid = fs.caller.gid = 0

function put(place: number, text: string): number {
  const length = Buffer.from(arena.bytes.buffer).write(text, place)
  arena.bytes[place + length] = 0
  return length
}

function run(step: Step): number {
  const name = IN + 256
  const length = put(name, step.name ?? '')
  switch (step.verb) {
    case 'lookup': {
      const r = fs.lookup(step.node, name, length, OUT)
      return r < 0 ? r : arena.u32[OUT >> 2]!
    }
    case 'chmod':
      arena.u32.fill(0, IN >> 2, (IN >> 2) + 24)
      arena.u32[IN >> 2] = 1
      arena.u32[(IN >> 2) + 17] = step.mode!
      return fs.setattr(step.node, IN, OUT)
    case 'open': {
      const r = fs.open(step.node, step.flags!, 0)
      return r < 0 ? r : fs.opened.handle
    }
    case 'release':
      return fs.release(step.node, step.handle!)
    case 'forget':
      fs.forget(step.node, 1)
      return 0
    case 'unlink':
      return fs.unlink(step.node, name, length)
    case 'end':
      fs.destroy()
      return 0
  }
}

Atomics.store(words, 3, 1)
Atomics.notify(words, 3)
for (;;) {
  Atomics.wait(words, 0, 0)
  const message = receiveMessageOnPort(port)
  if (message === undefined) continue
  const step = message.message as Step
  words[2] = run(step)
  Atomics.store(words, 0, 0)
  Atomics.store(words, 1, 1)
  Atomics.notify(words, 1)
  if (step.verb === 'end') break
}
