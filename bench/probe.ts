// The compiled probe (probe.cc): built at the first use, run once per measured loop.

import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const FLAGS = ['-std=c++17', '-O2', '-pthread']
const TIMEOUT_MS = 600_000

function findPackageRoot(folder: string): string {
  return existsSync(join(folder, 'package.json')) ? folder : findPackageRoot(dirname(folder))
}

/** The package's own folder, from source and from dist alike. */
export const packageRoot = findPackageRoot(dirname(fileURLToPath(import.meta.url)))

/** What one measured loop says; times in nanoseconds, `ns` is the mean per operation. */
export type Reading = { ops: number; ns: number; p50?: number; p99?: number; max?: number }

/** Why a loop has no figure: what the program said. */
export class ProbeError extends Error {}

/** The user wants it to end. */
export class Interrupted extends Error {}

/** Returns what a program printed. Throws a ProbeError with what it said, Interrupted after a signal. */
export function runProgram(argv: readonly string[], cwd?: string, env?: NodeJS.ProcessEnv): string {
  const done = spawnSync(argv[0]!, argv.slice(1), {
    encoding: 'utf8',
    timeout: TIMEOUT_MS,
    killSignal: 'SIGKILL',
    maxBuffer: 1 << 28,
    ...(cwd === undefined ? {} : { cwd }),
    ...(env === undefined ? {} : { env: { ...process.env, ...env } }),
  })
  if (done.signal === 'SIGINT' || done.signal === 'SIGTERM') throw new Interrupted(done.signal)
  if (done.error) throw new ProbeError(`${argv[0]}: ${done.error.message}`)
  if (done.status !== 0) {
    const said = done.stderr.trim().split('\n').at(-1) ?? ''
    throw new ProbeError(said || `${argv[0]} ended with ${done.signal ?? done.status}`)
  }
  return done.stdout
}

export class Probe {
  readonly #path: string

  /** Compiles the program into `folder` unless it is there. */
  constructor(folder: string) {
    const source = join(packageRoot, 'bench/probe.cc')
    const hash = createHash('sha256').update(FLAGS.join()).update(readFileSync(source))
    this.#path = join(folder, `probe-${hash.digest('hex').slice(0, 12)}`)
    if (existsSync(this.#path)) return
    mkdirSync(folder, { recursive: true })
    const partial = `${this.#path}.${process.pid}`
    runProgram([process.env.CXX ?? 'g++', ...FLAGS, '-o', partial, source])
    renameSync(partial, this.#path)
  }

  /** Runs one measured loop. */
  measure(command: readonly (string | number)[], env?: NodeJS.ProcessEnv): Reading {
    return JSON.parse(runProgram([this.#path, ...command.map(String)], undefined, env)) as Reading
  }

  /** Runs a command that builds or touches something. */
  run(...command: (string | number)[]): void {
    runProgram([this.#path, ...command.map(String)])
  }
}
