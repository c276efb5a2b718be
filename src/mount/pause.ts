// Holds a container's processes still while its upper is read: SIGSTOP to every process of its pid
// namespace but the first, which is ours and changes nothing. (A cgroup's freezer would need a cgroup of
// the container's own, which it does not have.)
//
// A shell knows who is stopped and lets them go on when its input ends: also when this process is killed.

import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { MountError } from './errors.js'

const LET_GO = 'all=; while read -r pid; do all="$all $pid"; done; [ -z "$all" ] || kill -CONT $all'
const PASSES_MAX = 100

function namespaceOf(pid: number | string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`)
  } catch {
    return undefined
  }
}

/** Tells whether a process runs: somebody else's stop is not ours to end. */
function canStop(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return !'TtZX'.includes(stat.slice(stat.lastIndexOf(')') + 2)[0]!)
  } catch {
    return false
  }
}

function members(first: number, namespace: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name) && Number(name) !== first && namespaceOf(name) === namespace)
    .map(Number)
}

/** Stops the processes of the container whose first one is `pid`; the result lets them go on. */
export async function pauseContainer(pid: number): Promise<() => Promise<void>> {
  const namespace = namespaceOf(pid)
  if (namespace === undefined) return async () => {}
  const keeper = spawn('/bin/sh', ['-c', LET_GO], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] })
  const ended = new Promise<void>((resolve, reject) => {
    keeper.on('error', (error) => reject(new MountError(`it can't be paused: ${error.message}`)))
    keeper.on('exit', () => resolve())
  })
  ended.catch(() => {})
  const letGo = async (): Promise<void> => {
    keeper.stdin!.end()
    await ended
  }
  try {
    const stopped = new Set<number>()
    // Those that were being forked meanwhile are seen by the next look.
    for (let pass = 0; pass < PASSES_MAX; pass++) {
      const found = members(pid, namespace).filter((each) => !stopped.has(each) && canStop(each))
      if (found.length === 0) break
      for (const each of found) await stop(keeper, each)
      for (const each of found) stopped.add(each)
    }
    return letGo
  } catch (error) {
    await letGo()
    throw error
  }
}

async function stop(keeper: ChildProcess, pid: number): Promise<void> {
  // The shell knows before it happens.
  await new Promise<void>((resolve, reject) =>
    keeper.stdin!.write(`${pid}\n`, (error) => (error ? reject(error) : resolve())),
  )
  try {
    process.kill(pid, 'SIGSTOP')
  } catch {
    // It has ended.
  }
}
