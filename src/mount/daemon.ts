// A mount's life in its process: open the layers, mount, answer INIT, serve, and after the unmount leave
// nothing behind. In which process that is, and who waits for it, is the caller's affair.
//
// Order: whatever is made is undone in the reverse order when a later step fails. What users may rely on
// (all data in the upper) is done when umount returns; the end of this process only tidies up.

import { stat } from 'node:fs'
import { errnoReason } from '../base/errno.js'
import type { Agreement } from '../fuse/negotiate.js'
import { createSessionShared } from '../fuse/session-shared.js'
import type { End, Transport } from '../fuse/transport.js'
import type { OpenIndex } from '../index/files.js'
import { native } from '../sys/native.js'
import { Trimmer } from '../union/trim.js'
import { createUnionState } from '../union/union-fs.js'
import type { MountRequest } from './arguments.js'
import { checkMountpoint, type MountedDevice, mountDevice } from './device.js'
import { startWorker, type WorkerHooks, type WorkerPlan } from './engine.js'
import { MountError, reasonOf, systemError } from './errors.js'
import { openIndex } from './index-files.js'
import { fdPath, type Layers, openLayers } from './layers.js'
import { libraryTransport, mountedByLibrary, withoutPassthrough } from './library-mount.js'
import type { Log } from './log.js'
import { deviceNumber, startTime } from './mount-info.js'
import type { MountOptions } from './options.js'
import { outerMounted, takeOuterDevice, withOuterIds } from './outer-device.js'
import { encodePath } from './path-bytes.js'
import { type Host, keyOfLayer } from './pristine-mount.js'
import { realDirectory } from './real-path.js'
import { type MountRecord, removeRecord, runtimeDir, writeRecord } from './runtime-dir.js'
import { type Crew, RingCrew, startClones, threads } from './threads.js'
import { chooseTransport, type TransportChoice } from './transports.js'
import { checkXattrPermissions, unionConfig } from './union-config.js'
import { VERSION } from './version.js'
import { markVolatile, refuseAfterCrash } from './volatile-mark.js'

/** How long a mount that is still in use after SIGTERM is served on. */
const LINGER_MS = 5000
/** With rings the device brings FORGETs only: they are taken together, this long apart. */
const FORGET_PAUSE_MS = 5
/** How often it is looked whether memory can be given back; done when nothing more became free meanwhile. */
const TRIM_LOOK_MS = 2000

export type LiveMount = {
  readonly record: MountRecord
  readonly agreement: Agreement
  readonly transport: 'dev-fuse' | 'io-uring' | 'fuse-native'
  /** Threads that answer requests. */
  readonly workers: number
  /** The session's counters, and the header of the union's tables. */
  readonly shared: SharedArrayBuffer
  readonly header: SharedArrayBuffer
  /** The fd of the FUSE device. */
  readonly device: number
  /** What others may find in it. */
  readonly host: Host
  /** Resolves when the mount is gone and everything is tidied up. */
  readonly whenEnded: Promise<End>
  /** Takes the mount off; `whenEnded` resolves after that. */
  stop(): void
}

/** Steps to undo, last one first. */
class Undo {
  readonly #steps: (() => void)[] = []
  add(step: () => void): void {
    this.#steps.push(step)
  }
  run(): void {
    for (const step of this.#steps.splice(0).reverse()) {
      try {
        step()
      } catch {
        // The remaining steps matter more.
      }
    }
  }
}

/** The process around a mount. */
export type House = {
  /** How many mounts there may be in it. */
  readonly mounts: number
  /** It may live on after the mount. */
  readonly isShared: boolean
}

const ALONE: House = { mounts: 1, isShared: false }

/**
 * Mounts and serves on this thread. Resolves when the mount is live; rejects with nothing changed.
 * `house`: the process, if it is or becomes a server (server.ts).
 */
export async function serve(request: MountRequest, log: Log, house: House = ALONE): Promise<LiveMount> {
  const undo = new Undo()
  try {
    return await bringUp(request, log, undo, house)
  } catch (error) {
    undo.run()
    throw error
  }
}

/** Rings take a thread for each CPU, each as big as a mount; who wants them for an engine's mounts says so. */
function ofHouse(options: MountOptions, { isShared }: House): MountOptions {
  return isShared && options.transport === 'auto' ? { ...options, transport: 'dev-fuse' } : options
}

async function bringUp(request: MountRequest, log: Log, undo: Undo, house: House): Promise<LiveMount> {
  const { given, mountpoint } = request
  const choice = chooseTransport(ofHouse(request.options, house))
  const outer = takeOuterDevice()
  const isLibrary = choice.transport === 'fuse-native'
  const options =
    outer !== undefined
      ? withOuterIds(request.options)
      : isLibrary
        ? withoutPassthrough(request.options)
        : request.options
  let record: MountRecord | undefined
  // The last step: who waits for the end of the mount looks at this.
  undo.add(() => record && removeRecord(record))
  const maxFds = native.raiseFileLimit()
  if (maxFds < 0) throw systemError(maxFds, 'limit of open files', '', 'setrlimit')
  const target = realDirectory('mount point', mountpoint)
  if (outer === undefined) checkMountpoint(target, mountpoint)
  checkXattrPermissions(options)
  // They take longer to start than all that is done here.
  const rings = choice.transport === 'io-uring' ? new RingCrew(choice.rings, log) : undefined
  if (rings !== undefined) undo.add(() => void rings.end())
  const layers = openLayers(options, target)
  undo.add(() => layers.close())
  prepareVolatile(options, layers, undo)
  if (choice.transport !== 'io-uring' && choice.warning !== undefined) log(choice.warning)

  const index = await openIndex(options, layers, log)
  if (index !== undefined) undo.add(() => native.close(index.fd))
  const isReadOnly = !layers.isWritable
  const mounted =
    outer !== undefined
      ? outerMounted(outer, target)
      : isLibrary
        ? mountedByLibrary(target)
        : mountDevice(target, options, isReadOnly, given)
  const makeTransport = isLibrary
    ? await libraryTransport(target, mounted.source, options, isReadOnly, given, log)
    : undefined
  // The device is closed first: then unmounting can't wait for answers that nobody gives.
  undo.add(() => mounted.detach())
  undo.add(() => native.close(mounted.fd))
  if (mounted.device !== '') layers.claim?.settle(mounted.device, mounted.source)

  const plan = makePlan(options, layers, mounted, choice, { maxFds, share: house.mounts }, index)
  rings?.give(plan)
  // Before the device goes, which they have too.
  if (rings !== undefined) undo.add(() => void rings.end())
  const { transport, agreement } = await startFirst(plan, log, makeTransport)
  const hasRings = await rings?.begin(agreement.isOverIoUring, () => transport.stop())
  if (hasRings) native.devFusePause(FORGET_PAUSE_MS)
  const device = await firstLook(target)
  if (device !== mounted.device) layers.claim?.settle(device, mounted.source)

  record = makeRecord(request, target, { device, source: mounted.source, isShared: house.isShared })
  try {
    writeRecord(record)
  } catch (error) {
    log(`no record in ${runtimeDir()}: ${(error as Error).message}`)
  }
  const others: Crew = hasRings
    ? rings!
    : startClones(plan, isLibrary ? 1 : Math.max(1, options.workers), log)
  const trimmer = new Trimmer(plan.state, native, index?.view.bytes)
  const trimming = setInterval(() => trimmer.look(), TRIM_LOOK_MS).unref()
  const whenEnded = transport.whenEnded.then(async (end) => {
    clearInterval(trimming)
    await others.end()
    undo.run()
    return end
  })
  return {
    record,
    agreement,
    transport: hasRings ? 'io-uring' : isLibrary ? 'fuse-native' : 'dev-fuse',
    workers: hasRings ? others.size : others.size + 1,
    shared: plan.shared,
    header: plan.state.header,
    device: plan.device,
    host: {
      mountpoint: target,
      device,
      options: request.options,
      isWritable: layers.isWritable,
      layers: layers.layers.map(({ stat }) => keyOfLayer(stat)),
      state: plan.state,
    },
    whenEnded,
    stop: () => stop(target, transport, log),
  }
}

function prepareVolatile(options: MountOptions, layers: Layers, undo: Undo): void {
  if (!layers.isWritable) return
  refuseAfterCrash(fdPath(layers.workFd), options.upper!, options.work!)
  if (options.volatile) undo.add(markVolatile(fdPath(layers.workFd)))
}

function makePlan(
  options: MountOptions,
  layers: Layers,
  mounted: MountedDevice,
  choice: TransportChoice,
  files: { readonly maxFds: number; readonly share: number },
  index: OpenIndex | undefined,
): WorkerPlan {
  // Worker 0 has the device, also where the others have rings.
  const workers =
    choice.transport === 'io-uring' ? 1 + Math.max(choice.rings.length, options.workers) : choice.workers
  const config = unionConfig(options, layers, mounted.fd, workers, files, index)
  return {
    state: createUnionState(config),
    shared: createSessionShared(workers),
    worker: 0,
    isAlone: choice.transport !== 'dev-fuse' || choice.workers === 1,
    device: mounted.fd,
    data: options.data,
    hasAcl: options.acl,
    timeoutMs: options.timeout * 1000,
    isTraced: options.debug,
    transport: choice.transport,
  }
}

/** Starts worker 0 here; resolves when it has agreed with the kernel. */
function startFirst(
  plan: WorkerPlan,
  log: Log,
  makeTransport: WorkerHooks['makeTransport'],
): Promise<{ transport: Transport; agreement: Agreement }> {
  return new Promise((resolve, reject) => {
    const transport = startWorker(plan, {
      log,
      ...(makeTransport === undefined ? {} : { makeTransport }),
      onInit(outcome) {
        // The answer itself goes out after this call.
        setImmediate(() => {
          if (typeof outcome === 'string') reject(new MountError(outcome, 'EPROTO'))
          else resolve({ transport, agreement: outcome })
        })
      },
    })
    void transport.whenEnded.then((end) => {
      reject(new MountError(`the mount ended before it began (${JSON.stringify(end)})`, 'EIO'))
    })
  })
}

/** Returns the device number that users see at the mount point. A round trip through the whole mount. */
function firstLook(target: string): Promise<string> {
  return new Promise((resolve, reject) => {
    stat(encodePath(target), { bigint: true }, (error, result) => {
      if (error !== null) {
        reject(new MountError(`the mount does not answer: ${reasonOf(error)}`, error.code ?? 'EIO'))
        return
      }
      resolve(deviceNumber(result.dev))
    })
  })
}

function makeRecord(
  { options, given }: MountRequest,
  target: string,
  mount: Pick<MountRecord, 'device' | 'source' | 'isShared'>,
): MountRecord {
  const shown: Record<string, unknown> = {}
  for (const name of given) {
    if (!(name in LAYER_OPTIONS)) shown[name] = (options as Record<string, unknown>)[name]
  }
  return {
    mountpoint: target,
    lowers: options.lower.map((path) => resolvePath(path)),
    upper: options.upper === null ? null : resolvePath(options.upper),
    work: options.work === null ? null : resolvePath(options.work),
    pid: process.pid,
    startTime: startTime('self'),
    since: new Date().toISOString(),
    ...mount,
    options: shown,
    version: VERSION,
  }
}

const LAYER_OPTIONS = { lower: true, upper: true, work: true, foreground: true } as const

/** Returns a path made absolute, with its `..` and symbolic links as they are. */
function resolvePath(path: string): string {
  return path.startsWith('/') ? path : `${process.cwd()}/${path}`
}

/** Takes the mount off; when somebody still uses it, serves on for a while and then ends all the same. */
function stop(target: string, transport: Transport, log: Log): void {
  const thread = new (threads().Worker)(new URL('./unmount-thread.js', import.meta.url), {
    workerData: target,
  })
  thread.on('message', (result: number) => {
    if (result < 0) log(`unmount ${target}: ${errnoReason(result)}`)
  })
  thread.on('error', (error) => log(`unmount ${target}: ${error.stack}`))
  setTimeout(() => transport.stop(), LINGER_MS).unref()
}
