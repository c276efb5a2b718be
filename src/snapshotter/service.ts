// The gRPC service: messages to verbs and back, errors to status codes. The messages are described in
// snapshots.proto.

import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import {
  type GrpcObject,
  loadPackageDefinition,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceClientConstructor,
  type ServiceDefinition,
  type StatusObject,
  type sendUnaryData,
  status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { SnapshotError } from './errors.js'
import type { Kind, Labels, Snapshot, Usage } from './snapshot.js'
import type { Snapshotter } from './snapshotter.js'
import { cleanup, commit, create, list, mounts, remove, stat, update, usage } from './verbs.js'

/** The same file beside the sources and in an installed package. */
const PROTO = fileURLToPath(new URL('../../../src/snapshotter/snapshots.proto', import.meta.url))
const KIND_NUMBERS: Readonly<Record<Kind, number>> = { view: 1, active: 2, committed: 3 }

type KeyRequest = { readonly key: string }
type CreateRequest = KeyRequest & { readonly parent: string; readonly labels: Labels }
type CommitRequest = KeyRequest & { readonly name: string; readonly labels: Labels }
type UpdateRequest = {
  readonly info: { readonly name: string; readonly labels: Labels } | null
  readonly update_mask: { readonly paths: readonly string[] } | null
}
type ListRequest = { readonly filters: readonly string[] }
type Timestamp = { readonly seconds: number; readonly nanos: number }
export type Info = {
  readonly name: string
  readonly parent: string
  readonly kind: number
  readonly created_at: Timestamp
  readonly updated_at: Timestamp
  readonly labels: Labels
}

/** Returns the client's constructor, which holds the service's definition too. */
export function loadService(): ServiceClientConstructor & { readonly service: ServiceDefinition } {
  const loaded = loadPackageDefinition(
    loadSync(PROTO, { keepCase: true, defaults: true, longs: Number, enums: Number }),
  )
  let at: GrpcObject = loaded
  for (const name of ['containerd', 'services', 'snapshots', 'v1']) at = at[name] as GrpcObject
  return at.Snapshots as ServiceClientConstructor & { readonly service: ServiceDefinition }
}

function timestamp(ms: number): Timestamp {
  const seconds = Math.floor(ms / 1000)
  return { seconds, nanos: (ms - seconds * 1000) * 1_000_000 }
}

function infoOf({ name, parent, kind, createdMs, updatedMs, labels }: Snapshot): Info {
  return {
    name,
    parent,
    kind: KIND_NUMBERS[kind],
    created_at: timestamp(createdMs),
    updated_at: timestamp(updatedMs),
    labels,
  }
}

function statusOf(error: unknown): Pick<StatusObject, 'code' | 'details'> {
  const details = error instanceof Error ? error.message : String(error)
  return { code: error instanceof SnapshotError ? status[error.code] : status.UNKNOWN, details }
}

function unary<Request, Reply>(work: (request: Request) => Reply | Promise<Reply>) {
  return (call: ServerUnaryCall<Request, Reply>, reply: sendUnaryData<Reply>): void => {
    const answer = async (): Promise<Reply> => work(call.request)
    answer().then(
      (value) => reply(null, value),
      (error: unknown) => reply(statusOf(error)),
    )
  }
}

async function stream(
  call: ServerWritableStream<ListRequest, { info: Info[] }>,
  pages: Iterable<Snapshot[]>,
): Promise<void> {
  for (const page of pages) {
    if (call.cancelled) return
    if (!call.write({ info: page.map(infoOf) }))
      await Promise.race([once(call, 'drain'), once(call, 'cancelled')])
  }
  call.end()
}

/** Returns the handlers of all methods for an open snapshotter. */
export function handlersOf(snapshotter: Snapshotter): UntypedServiceImplementation {
  const nothing = {}
  return {
    Prepare: unary(({ key, parent, labels }: CreateRequest) => ({
      mounts: create(snapshotter, 'active', key, parent, labels),
    })),
    View: unary(({ key, parent, labels }: CreateRequest) => ({
      mounts: create(snapshotter, 'view', key, parent, labels),
    })),
    Mounts: unary(({ key }: KeyRequest) => ({ mounts: mounts(snapshotter, key) })),
    Commit: unary(async ({ name, key, labels }: CommitRequest) => {
      await commit(snapshotter, name, key, labels)
      return nothing
    }),
    Remove: unary(({ key }: KeyRequest) => {
      remove(snapshotter, key)
      return nothing
    }),
    Stat: unary(({ key }: KeyRequest) => ({ info: infoOf(stat(snapshotter, key)) })),
    Update: unary(({ info, update_mask }: UpdateRequest) => ({
      info: infoOf(update(snapshotter, info?.name ?? '', info?.labels ?? {}, update_mask?.paths ?? [])),
    })),
    Usage: unary(({ key }: KeyRequest): Promise<Usage> => usage(snapshotter, key)),
    Cleanup: unary(async () => {
      await cleanup(snapshotter)
      return nothing
    }),
    List: (call: ServerWritableStream<ListRequest, { info: Info[] }>): void => {
      const answer = async (): Promise<void> => stream(call, list(snapshotter, call.request.filters))
      // grpc-js's way to end a stream with a status.
      answer().catch((error: unknown) => void call.emit('error', statusOf(error)))
    },
  }
}
