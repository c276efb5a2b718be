// Which transport a mount gets, and for io_uring which of its workers serves which of the kernel's queues.
// Reads what the kernel says of itself under /sys; changes nothing.

import { readFileSync } from 'node:fs'
import { errnoReason } from '../base/errno.js'
import type { RingQueue } from '../fuse/io-uring.js'
import { native } from '../sys/native.js'
import type { MountOptions } from './options.js'

export const ENABLE_URING = '/sys/module/fuse/parameters/enable_uring'
const CPUS = '/sys/devices/system/cpu'
/** More workers than this cost memory without an end; with more CPUs, each serves several. */
const WORKERS_MAX = 16
/** Requests of one CPU that can be worked on or parked at a time. */
const DEPTH = 32
/** The same for a CPU that is not there, but may be plugged in. */
const ABSENT_DEPTH = 4
/** Entries of one worker: each has 1 MiB of address space. */
const ENTRIES_MAX = 1024

/** One worker's part: its queues, and the CPU to stay on (-1: any). */
export type RingShare = { readonly cpu: number; readonly queues: readonly RingQueue[] }

export type TransportChoice =
  | { readonly transport: 'dev-fuse' | 'fuse-native'; readonly workers: number; readonly warning?: string }
  | { readonly transport: 'io-uring'; readonly rings: readonly RingShare[] }

/** What decides; read from the system by readHost(). */
export type Host = {
  /** Y, N, or undefined when the kernel has no such switch. */
  readonly enableUring: string | undefined
  /** Why this process can make no ring; undefined when it can. */
  readonly ringError: string | undefined
  readonly isRoot: boolean
  readonly possible: readonly number[]
  readonly online: readonly number[]
  /** CPUs on which this process may run. */
  readonly allowed: readonly number[]
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1').trim()
  } catch {
    return undefined
  }
}

/** Returns the numbers of a list as the kernel writes it: `0-3,8`. */
export function parseCpuList(text: string): number[] {
  const cpus: number[] = []
  for (const part of text.split(',')) {
    const [, first, last] = /^(\d+)(?:-(\d+))?$/.exec(part.trim()) ?? []
    if (first === undefined) continue
    for (let cpu = Number(first); cpu <= Number(last ?? first); cpu++) cpus.push(cpu)
  }
  return cpus
}

/** Returns the module's switch: Y, N, or undefined. */
export function readEnableUring(): string | undefined {
  return readText(ENABLE_URING)
}

export function readHost(): Host {
  const enableUring = readEnableUring()
  const online = parseCpuList(readText(`${CPUS}/online`) ?? '0')
  const status = readText('/proc/self/status') ?? ''
  const allowed = parseCpuList(/^Cpus_allowed_list:\s*(\S+)/m.exec(status)?.[1] ?? '')
  const ring = enableUring === 'Y' ? native.uringProbe() : 0
  return {
    enableUring,
    ringError: ring < 0 ? errnoReason(ring) : undefined,
    isRoot: process.geteuid!() === 0,
    possible: parseCpuList(readText(`${CPUS}/possible`) ?? '0'),
    online,
    allowed: allowed.length > 0 ? allowed : online,
  }
}

/** Returns why io_uring can't be had, undefined when it can. */
function obstacle(host: Host): string | undefined {
  if (host.enableUring === undefined) return 'this kernel has no FUSE over io_uring (Linux 6.14 or later has)'
  if (host.enableUring !== 'Y') {
    return 'FUSE over io_uring is switched off (mica setup --enable-uring switches it on)'
  }
  return host.ringError === undefined ? undefined : `this process can make no io_uring: ${host.ringError}`
}

/**
 * Returns each worker's share of the queues. The kernel has one for every possible CPU and waits until
 * all have somebody, so that CPUs which are not there are served as well.
 */
export function shareQueues(host: Host, workers: number): RingShare[] {
  const count = Math.max(1, host.possible.length)
  const isOnline = new Set(host.online)
  const all = Array.from({ length: count }, (_, queue) => queue)
  const present = all.filter((queue) => isOnline.has(queue))
  if (present.length === 0) present.push(0)
  const absent = all.filter((queue) => !present.includes(queue))
  const wanted = workers > 0 ? workers : Math.min(host.allowed.length, WORKERS_MAX)
  const shares = Array.from({ length: Math.max(1, Math.min(wanted, present.length)) }, () => ({
    present: [] as number[],
    absent: [] as number[],
  }))
  // A CPU that we may not use gets a worker of its own only when there are more workers than others.
  const byUse = [...present].sort(
    (a, b) => Number(host.allowed.includes(b)) - Number(host.allowed.includes(a)),
  )
  byUse.forEach((queue, i) => {
    shares[i % shares.length]!.present.push(queue)
  })
  absent.forEach((queue, i) => {
    shares[i % shares.length]!.absent.push(queue)
  })
  return shares.map(({ present, absent }) => {
    const absentDepth = absent.length * ABSENT_DEPTH * 2 > ENTRIES_MAX ? 1 : ABSENT_DEPTH
    const room = Math.floor((ENTRIES_MAX - absent.length * absentDepth) / present.length)
    const depth = Math.max(2, Math.min(DEPTH, room))
    return {
      cpu: present.length === 1 && host.allowed.includes(present[0]!) ? present[0]! : -1,
      queues: [
        ...present.map((queue) => ({ queue, depth })),
        ...absent.map((queue) => ({ queue, depth: absentDepth })),
      ],
    }
  })
}

/** Returns the transport for these options, as far as the host allows. */
export function chooseTransport(
  options: Pick<MountOptions, 'transport' | 'workers'>,
  host = readHost(),
): TransportChoice {
  if (options.transport === 'fuse-native') {
    const one = { transport: 'fuse-native', workers: 1 } as const
    return options.workers > 1 ? { ...one, warning: 'one worker serves, as fuse-native has but one' } : one
  }
  const classic = { transport: 'dev-fuse', workers: Math.max(1, options.workers) } as const
  const isAsked = options.transport === 'io-uring'
  if (!isAsked && !(options.transport === 'auto' && host.isRoot)) return classic
  const reason = obstacle(host)
  if (reason !== undefined) {
    return isAsked ? { ...classic, warning: `${reason}; requests come through /dev/fuse` } : classic
  }
  return { transport: 'io-uring', rings: shareQueues(host, options.workers) }
}
