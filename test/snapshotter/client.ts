// A snapshotter on a root of its own and a gRPC client to it, as containerd has one.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ClientReadableStream, credentials, type ServiceError, status } from '@grpc/grpc-js'
import { type Serving, serve } from '../../src/snapshotter/server.js'
import { type Info, loadService } from '../../src/snapshotter/service.js'
import { type Options, openSnapshotter, type Snapshotter } from '../../src/snapshotter/snapshotter.js'

export type Labels = Record<string, string>
export type MountMessage = { type: string; source: string; target: string; options: string[] }
type Unary = (request: object, callback: (error: ServiceError | null, reply: unknown) => void) => void

/** One method of the service; rejects with gRPC's error. */
export class Client {
  readonly #client

  constructor(socket: string) {
    const Service = loadService()
    this.#client = new Service(`unix:${socket}`, credentials.createInsecure())
  }

  call<T = unknown>(method: string, request: object = {}): Promise<T> {
    const client = this.#client as unknown as Record<string, Unary>
    return new Promise((done, fail) => {
      client[method]!({ snapshotter: 'mica', ...request }, (error, reply) => {
        if (error) fail(error)
        else done(reply as T)
      })
    })
  }

  async create(
    method: 'Prepare' | 'View',
    key: string,
    parent = '',
    labels: Labels = {},
  ): Promise<MountMessage[]> {
    return (await this.call<{ mounts: MountMessage[] }>(method, { key, parent, labels })).mounts
  }

  async mounts(key: string): Promise<MountMessage[]> {
    return (await this.call<{ mounts: MountMessage[] }>('Mounts', { key })).mounts
  }

  commit(name: string, key: string, labels: Labels = {}): Promise<unknown> {
    return this.call('Commit', { name, key, labels })
  }

  async stat(key: string): Promise<Info> {
    return (await this.call<{ info: Info }>('Stat', { key })).info
  }

  async update(name: string, labels: Labels, paths?: string[]): Promise<Info> {
    const request = { info: { name, labels }, ...(paths && { update_mask: { paths } }) }
    return (await this.call<{ info: Info }>('Update', request)).info
  }

  usage(key: string): Promise<{ size: number; inodes: number }> {
    return this.call('Usage', { key })
  }

  /** The messages of a List, each with some snapshots. */
  pages(...filters: string[]): Promise<Info[][]> {
    const client = this.#client as unknown as Record<
      string,
      (request: object) => ClientReadableStream<{ info: Info[] }>
    >
    return new Promise((done, fail) => {
      const pages: Info[][] = []
      const stream = client.List!({ snapshotter: 'mica', filters })
      stream.on('data', ({ info }: { info: Info[] }) => void pages.push(info))
      stream.on('error', fail)
      stream.on('end', () => done(pages))
    })
  }

  async names(...filters: string[]): Promise<string[]> {
    return (await this.pages(...filters)).flat().map(({ name }) => name)
  }

  close(): void {
    this.#client.close()
  }
}

/** Returns the status code's name that a call ends with, and its words. */
export async function refusal(call: Promise<unknown>): Promise<[string, string]> {
  try {
    await call
    return ['OK', '']
  } catch (error) {
    const { code, details } = error as ServiceError
    return [status[code]!, details]
  }
}

export class Bench {
  readonly folder = mkdtempSync(join(tmpdir(), 'mica-snapshotter-'))
  readonly root = join(this.folder, 'root')
  readonly socket = join(this.folder, 'mica.sock')
  readonly said: string[] = []
  client!: Client
  snapshotter!: Snapshotter
  #serving: Serving | undefined

  async open(options: Partial<Options> = {}): Promise<this> {
    this.snapshotter = openSnapshotter({
      root: this.root,
      say: (line) => void this.said.push(line),
      ...options,
    })
    this.#serving = await serve(this.snapshotter, this.socket)
    this.client = new Client(this.socket)
    return this
  }

  async shut(): Promise<void> {
    this.client.close()
    await this.#serving?.close()
    await this.snapshotter.close()
  }

  async close(): Promise<void> {
    await this.shut()
    rmSync(this.folder, { recursive: true, force: true })
  }
}
