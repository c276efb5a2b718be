// For the store's tests: the command as users run it, on a store of its own in a temporary folder.

import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { packageRoot } from '../support/package-root.js'
import { removedAtEnd } from '../support/temporary.js'

export const command = join(packageRoot, 'bin/mica')
const mainScript = join(packageRoot, 'dist/src/cli/main.js')

export type Ran = {
  readonly status: number | null
  readonly signal: NodeJS.Signals | null
  readonly out: string
  /** The output as it came. */
  readonly bytes: Buffer
  readonly err: string
}
export type RunOptions = { readonly input?: string | Buffer; readonly env?: NodeJS.ProcessEnv }
export type Started = {
  readonly pid: number
  kill(signal: NodeJS.Signals): void
  readonly ended: Promise<Ran>
}

type Chunks = [out: Buffer[], err: Buffer[]]

function collectOutput(child: ChildProcessWithoutNullStreams): Chunks {
  const chunks: Chunks = [[], []]
  child.stdout.on('data', (chunk: Buffer) => void chunks[0].push(chunk))
  child.stderr.on('data', (chunk: Buffer) => void chunks[1].push(chunk))
  return chunks
}

function ending(child: ChildProcessWithoutNullStreams, chunks: Chunks): Promise<Ran> {
  return new Promise<Ran>((resolve) => {
    child.on('close', (status, signal) => {
      const [bytes, err] = [Buffer.concat(chunks[0]), Buffer.concat(chunks[1]).toString()]
      resolve({ status, signal, bytes, out: bytes.toString(), err })
    })
  })
}

/** A temporary folder with a store in it; gone when the process ends. */
export class Sandbox {
  readonly folder = removedAtEnd(mkdtempSync(join(tmpdir(), 'mica-store-')))
  readonly root = join(this.folder, 'root')
  readonly env: NodeJS.ProcessEnv

  constructor(env: NodeJS.ProcessEnv = {}) {
    this.env = {
      ...process.env,
      HOME: this.folder,
      MICA_ROOT: this.root,
      REGISTRY_AUTH_FILE: join(this.folder, 'auth.json'),
      NO_COLOR: '1',
      ...env,
    }
    delete this.env.SOURCE_DATE_EPOCH
  }

  path(name: string): string {
    return join(this.folder, name)
  }

  dir(name: string): string {
    mkdirSync(this.path(name), { recursive: true })
    return this.path(name)
  }

  /** Runs mica to its end. */
  mica(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
    return this.start(args, options).ended
  }

  /** Runs mica without waiting. */
  start(args: readonly string[], { input = '', env }: RunOptions = {}): Started {
    return this.#start([command, ...args], input, env)
  }

  /** Runs mica's program without bin/mica, so that Node gets options; the test runner's own are left out. */
  past(nodeOptions: string, args: readonly string[]): Promise<Ran> {
    const words = ['env', `NODE_OPTIONS=${nodeOptions}`, process.execPath, mainScript, ...args]
    return this.#start(words, '').ended
  }

  /** Runs mica on a terminal that `before` has set up. `typed` is typed when the output says `type:`. */
  onTerminal(args: readonly string[], before: string, typed: string): Promise<Ran> {
    return this.atTerminal(args, before, [['type:', typed]])
  }

  /** Runs mica on a terminal that `before` has set up; each text is typed when its prompt has come. */
  async atTerminal(
    args: readonly string[],
    before: string,
    typed: readonly (readonly [prompt: string, text: string])[],
  ): Promise<Ran> {
    const quoted = [command, ...args].map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ')
    // exec: a shell that stays would be ended by the Ctrl-C that is mica's, and its status be ours.
    const child = spawn('script', ['-qec', `${before}; exec ${quoted}`, '/dev/null'], { env: this.env })
    const chunks = collectOutput(child)
    const waiting = [...typed]
    child.stdout.on('data', () => {
      if (waiting.length === 0 || !Buffer.concat(chunks[0]).includes(waiting[0]![0])) return
      child.stdin.write(waiting.shift()![1])
    })
    return ending(child, chunks)
  }

  #start([program, ...args]: readonly string[], input: string | Buffer, env?: NodeJS.ProcessEnv): Started {
    const child = spawn(program!, args, { env: { ...this.env, ...env } })
    const chunks = collectOutput(child)
    // It may end without reading what it is given.
    child.stdin.on('error', () => {})
    child.stdin.end(input)
    const ended = ending(child, chunks)
    return { pid: child.pid!, kill: (signal) => void child.kill(signal), ended }
  }

  /** Runs another program; throws with its words when it fails. */
  run(program: string, args: readonly string[], cwd = this.folder): string {
    const done = spawnSync(program, args, { cwd, env: this.env, maxBuffer: 1 << 28 })
    if (done.status !== 0) throw new Error(`${program} ${args.join(' ')}: ${done.stderr}${done.error ?? ''}`)
    return done.stdout.toString()
  }
}

/** Tells whether programs can be run; else returns the reason for skipping. */
export function needs(...programs: readonly string[]): string | false {
  for (const program of programs) {
    if (spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0) return `needs ${program}`
  }
  return false
}
