// Random bytes behind plausible headers: nothing is thrown, nothing outside the reply is touched.
//
// `MICA_SEED` repeats a run, `MICA_FUZZ` sets the number of requests.

import t from 'tap'
import { ARENA_BYTES, CTL_DATA, IN, IN_CAPACITY, OUT, OUT_CAPACITY } from '../../src/vfs/arena.js'
import { NO_REPLY, PARKED } from '../../src/vfs/file-system.js'
import { createWire, initBody, kernelFlags, type Method, passthrough, type Wire } from './wire.js'

const REQUESTS = Number(process.env.MICA_FUZZ ?? 50_000)
const SEED = Number(process.env.MICA_SEED ?? Date.now() % 2 ** 31)
const CANARY = 0xc5

/** xorshift32: returns numbers below `n`. */
function createRandom(seed: number): (n: number) => number {
  let state = seed | 1
  return (n) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % n
  }
}

/** Arguments that are a name's offset and length, by method. */
const nameArgs: Partial<Record<Method, [at: number, length: number][]>> = {
  lookup: [[1, 2]],
  mknod: [[1, 2]],
  mkdir: [[1, 2]],
  symlink: [[1, 2]],
  unlink: [[1, 2]],
  rmdir: [[1, 2]],
  link: [[2, 3]],
  create: [[1, 2]],
  rename: [
    [1, 2],
    [4, 5],
  ],
}

/** Arguments that are a place to write at and the room there; -n stands for n bytes. */
const outArgs: Partial<Record<Method, [at: number, capacity: number]>> = {
  lookup: [3, -152],
  getattr: [2, -112],
  setattr: [2, -112],
  readlink: [1, 2],
  mknod: [5, -152],
  mkdir: [4, -152],
  symlink: [4, -152],
  link: [4, -152],
  create: [6, -152],
  tmpfile: [4, -152],
  read: [4, 3],
  lseek: [4, -8],
  copyFileRange: [7, -8],
  ioctl: [5, 6],
  readdir: [2, 3],
  readdirplus: [2, 3],
  getxattr: [2, 3],
  listxattr: [1, 2],
  statfs: [1, -80],
  statx: [2, -112],
}

/** Arguments that are a place to read from and a length. */
const inArgs: Partial<Record<Method, [at: number, length: number]>> = {
  setattr: [1, -88],
  write: [4, 3],
  ioctl: [3, 4],
  setxattr: [2, 3],
}

/** Makes the file system check its arguments, scribble over its whole room, and answer anything. */
function arm(wire: Wire, random: (n: number) => number, end: () => number): string[] {
  const { bytes } = wire.arena
  const wrong: string[] = []
  const place = (args: number[], [at, size]: [number, number]) =>
    [args[at]!, size < 0 ? -size : args[size]!] as const
  const methods = Object.keys(wire.fs).filter(
    (key) => typeof wire.fs[key as Method] === 'function',
  ) as Method[]
  for (const method of methods) {
    wire.fs.answers[method] = (...args: number[]) => {
      for (const pair of nameArgs[method] ?? []) {
        const [at, length] = place(args, pair)
        const isSound =
          at >= IN + 40 && length > 0 && length < 256 && at + length < end() && bytes[at + length] === 0
        if (!isSound) wrong.push(`${method}: name at ${at}, ${length} bytes, request ends at ${end()}`)
        if (bytes.subarray(at, at + length).includes(0x2f)) wrong.push(`${method}: a slash in a name`)
      }
      const input = inArgs[method]
      if (input !== undefined) {
        const [at, length] = place(args, input)
        if (at < IN + 40 || at + length > end()) wrong.push(`${method}: input at ${at}, ${length} bytes`)
      }
      if (args.slice(1).some((value) => typeof value === 'number' && !Number.isSafeInteger(value))) {
        wrong.push(`${method}: ${args.join(' ')}`)
      }
      let room = 0
      const output = outArgs[method]
      if (output !== undefined) {
        const [at, size] = place(args, output)
        if (at < OUT || at + size > OUT + OUT_CAPACITY)
          wrong.push(`${method}: output at ${at}, ${size} bytes`)
        else bytes.fill(random(256), at, at + Math.min(size, 4096))
        room = output[1] < 0 ? 0 : size
      }
      const dice = random(20)
      if (dice === 0) throw new Error(`thrown by ${method}`)
      if (dice === 1) return PARKED
      if (dice < 5) return -1 - random(133)
      Object.assign(wire.fs.opened, { handle: random(1000), flags: random(256), backingId: random(100) })
      return room === 0 ? 0 : random(room + 1)
    }
  }
  return wrong
}

const interesting = [
  0, 1, 2, 4, 5, 0x7fffffff, 0x80000000, 0xffffffff, 0x200000, 0x80086601, 0x40086602, 64, 4096,
]

function fillRequest(wire: Wire, random: (n: number) => number): number {
  const { bytes, u32 } = wire.arena
  const size = random(8) === 0 ? random(3000) : random(160)
  bytes.fill(0, IN, IN + 40 + size + 8)
  let at = IN + 40
  const end = at + size
  while (at < end) {
    const kind = random(4)
    if (kind === 0) bytes[at++] = random(256)
    else if (kind === 1) at += 4 + random(5)
    else if (kind === 2) for (let n = random(12); n > 0 && at < end; n--) bytes[at++] = 0x61 + random(26)
    else {
      at = (at + 3) & ~3
      if (at + 4 <= end) u32[at >> 2] = interesting[random(interesting.length)]!
      at += 4
    }
  }
  const length = 40 + size
  const head = IN >> 2
  u32[head] = random(50) === 0 ? random(200) : length
  u32[head + 1] = random(30) === 0 ? random(2 ** 31) : random(56)
  u32[head + 2] = random(2 ** 31)
  u32[head + 4] = random(20) === 0 ? random(2 ** 32) : 1 + random(50)
  u32[head + 5] = random(50) === 0 ? 1 : 0
  u32[head + 6] = random(2 ** 16)
  u32[CTL_DATA] = random(2) === 0 ? 0 : IN + 80
  return random(50) === 0 ? random(length + 1) : length
}

function isUntouched(bytes: Uint8Array, from: number, to: number): boolean {
  for (let at = from; at < to; at++) if (bytes[at] !== CANARY) return false
  return true
}

for (const data of ['passthrough', 'no-open'] as const) {
  t.test(`${REQUESTS} random requests do no harm (${data}, seed ${SEED})`, async (t) => {
    const random = createRandom(SEED)
    const wire = createWire({ ...passthrough, data })
    const { bytes } = wire.arena
    wire.send(26, initBody(7, 45, kernelFlags['7.45'], true), { node: 0 })
    bytes.fill(CANARY, IN + 8192, OUT)
    bytes.fill(CANARY, OUT + OUT_CAPACITY, ARENA_BYTES)
    let end = 0
    const wrong = arm(wire, random, () => end)
    let served = 0
    const results = new Map<number, number>()
    for (let i = 0; i < REQUESTS && wrong.length === 0; i++) {
      const length = fillRequest(wire, random)
      end = IN + length
      wire.fs.calls = []
      const result = wire.session.dispatch(length)
      served += wire.fs.calls.length
      results.set(Math.min(result, 0), (results.get(Math.min(result, 0)) ?? 0) + 1)
      const isSound = result === PARKED || result === NO_REPLY || (result >= -4095 && result <= OUT_CAPACITY)
      if (!Number.isInteger(result) || !isSound) wrong.push(`request ${i}: result ${result}`)
    }
    t.strictSame(wrong, [])
    t.ok(isUntouched(bytes, IN + 8192, OUT), 'nothing is written between the request and the reply')
    t.ok(isUntouched(bytes, OUT + OUT_CAPACITY, ARENA_BYTES), 'nothing is written behind the reply')
    t.ok(served > REQUESTS / 5, `${served} calls got through`)
    t.ok((results.get(-22) ?? 0) > REQUESTS / 100, `${results.get(-22)} were refused as malformed`)
    t.ok(
      wire.log.every((line) => line.includes('thrown by')),
      'only what was thrown is in the log',
    )
    t.ok(wire.log.length > 0)
  })
}

t.test('the arena is laid out as the test assumes', async (t) => {
  t.ok(IN + IN_CAPACITY < OUT && OUT + OUT_CAPACITY < ARENA_BYTES)
})
