// The kernel's switch for FUSE over io_uring, which tests share: it is on while one of them holds it,
// and gets its former value back when the last one lets go.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pause } from './driver.js'

const SWITCH = '/sys/module/fuse/parameters/enable_uring'
const shared = join(tmpdir(), 'mica-test-uring')

/** Why rings can't be tested here, false when they can. */
export function noUring(): string | false {
  if (process.getuid?.() !== 0) return 'mounting and the switch for io_uring need root'
  try {
    readFileSync(SWITCH)
  } catch {
    return 'this kernel has no FUSE over io_uring'
  }
  const isBarred = (path: string) => {
    try {
      return readFileSync(path, 'latin1').trim() === '2'
    } catch {
      return false
    }
  }
  return isBarred('/proc/sys/kernel/io_uring_disabled') && 'io_uring is disabled (kernel.io_uring_disabled)'
}

export const uringSwitch = (): string => readFileSync(SWITCH, 'latin1').trim()

/** Only one process at a time between taking and giving up the lock. */
function locked(action: () => void): void {
  const lock = `${shared}.lock`
  for (let i = 0; ; i++) {
    try {
      mkdirSync(lock)
      break
    } catch {
      // Left by a process that was killed meanwhile.
      if (i > 1000) rmSync(lock, { recursive: true, force: true })
      pause(5)
    }
  }
  try {
    action()
  } finally {
    rmSync(lock, { recursive: true })
  }
}

const isRunning = (pid: string) => {
  try {
    process.kill(Number(pid), 0)
    return true
  } catch {
    return false
  }
}

/** Switches it on; the result undoes that, once. */
export function holdUring(): () => void {
  const mine = join(shared, String(process.pid))
  locked(() => {
    mkdirSync(shared, { recursive: true })
    const names = readdirSync(shared)
    if (!names.includes('former')) writeFileSync(join(shared, 'former'), uringSwitch())
    writeFileSync(mine, '')
    writeFileSync(SWITCH, 'Y')
  })
  let isHeld = true
  const release = () => {
    if (!isHeld) return
    isHeld = false
    locked(() => {
      rmSync(mine, { force: true })
      const names = readdirSync(shared)
      if (names.some((name) => name !== 'former' && isRunning(name))) return
      writeFileSync(SWITCH, readFileSync(join(shared, 'former')))
      rmSync(shared, { recursive: true })
    })
  }
  process.once('exit', release)
  return release
}

/** Runs `action` with the switch at N. Needs: held. */
export async function withoutUring<T>(action: () => Promise<T>): Promise<T> {
  writeFileSync(SWITCH, 'N')
  try {
    return await action()
  } finally {
    writeFileSync(SWITCH, 'Y')
  }
}
