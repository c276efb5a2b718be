// A registry of a few documents on loopback that misbehaves as a test tells it to.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import { OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST } from '../../src/store/media-types.js'
import { archive, digest, file } from './tar.js'

/** Handles a request before the registry does; true when it has answered it. */
export type Fault = (request: IncomingMessage, response: ServerResponse, body: Buffer | undefined) => boolean

export type FaultRegistry = {
  readonly host: string
  /** Method, path and range of each request. */
  readonly requests: string[]
  fault: Fault | undefined
  /** Adds an image; returns its parts. */
  add(tag: string, image: ImageParts): Buffer
  close(): void
}

export type ImageParts = {
  readonly layers: readonly Buffer[]
  readonly config: object
  readonly manifest: Buffer
}

/** Returns an image of layers with one file each; `change` bends its manifest. */
export function imageOf(
  contents: readonly string[],
  { architecture = 'amd64', change = (manifest: object): object => manifest } = {},
): ImageParts {
  const tars = contents.map((content, at) => archive(file(`file${at}`, content)))
  const layers = tars.map((tar) => gzipSync(tar, { level: 0 }))
  const config = {
    architecture,
    os: 'linux',
    config: {},
    rootfs: { type: 'layers', diff_ids: tars.map(digest) },
  }
  const bytes = Buffer.from(JSON.stringify(config))
  const manifest = {
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: { mediaType: OCI_CONFIG, digest: digest(bytes), size: bytes.length },
    layers: layers.map((layer) => ({
      mediaType: `${OCI_LAYER}+gzip`,
      digest: digest(layer),
      size: layer.length,
    })),
  }
  return { layers, config, manifest: Buffer.from(JSON.stringify(change(manifest))) }
}

/** Returns an index of images for platforms. */
export function indexOf(images: Readonly<Record<string, ImageParts>>): Buffer {
  const manifests = Object.entries(images).map(([architecture, { manifest }]) => ({
    mediaType: OCI_MANIFEST,
    digest: digest(manifest),
    size: manifest.length,
    platform: { os: 'linux', architecture },
  }))
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests }))
}

export async function startFaultRegistry(): Promise<FaultRegistry> {
  const blobs = new Map<string, Buffer>()
  const manifests = new Map<string, Buffer>()
  const server = createServer((request, response) => {
    const path = new URL(request.url!, 'http://x').pathname
    registry.requests.push(`${request.method} ${path} ${request.headers.range ?? ''}`.trim())
    const [, kind, name] = /^\/v2\/app\/(manifests|blobs)\/(.+)$/.exec(path) ?? []
    const body = kind === 'manifests' ? manifests.get(name!) : blobs.get(name ?? '')
    if (registry.fault?.(request, response, body) === true) return
    if (path === '/v2/') response.end('{}')
    else if (body === undefined) sayError(response, 404, 'MANIFEST_UNKNOWN', 'manifest unknown')
    else sendBody(request, response, body, kind === 'manifests')
  })
  server.listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const registry: FaultRegistry = {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests: [],
    fault: undefined,
    add(tag, image) {
      const config = Buffer.from(JSON.stringify(image.config))
      for (const blob of [...image.layers, config]) blobs.set(digest(blob), blob)
      manifests.set(tag, image.manifest)
      manifests.set(digest(image.manifest), image.manifest)
      return image.manifest
    },
    close() {
      server.close()
      server.closeAllConnections()
    },
  }
  return registry
}

function sendBody(
  request: IncomingMessage,
  response: ServerResponse,
  body: Buffer,
  isManifest: boolean,
): void {
  if (isManifest) response.setHeader('content-type', JSON.parse(body.toString()).mediaType)
  const from = rangeStart(request)
  if (from > 0) {
    response.statusCode = 206
    response.setHeader('content-range', `bytes ${from}-${body.length - 1}/${body.length}`)
  }
  response.setHeader('content-length', body.length - from)
  response.end(body.subarray(from))
}

export function rangeStart(request: IncomingMessage): number {
  return Number(/^bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0)
}

/** Answers as the distribution specification words errors. */
export function sayError(response: ServerResponse, status: number, code: string, message: string): void {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(JSON.stringify({ errors: [{ code, message }] }))
}

/** Sends the beginning of a blob and breaks the connection, or leaves it open (`isHanging`). */
export function cutAfter(count: number, { hasRanges = true, isHanging = false } = {}): Fault {
  return (request, response, body) => {
    if (body === undefined || !request.url!.includes('/blobs/') || body.length < count) return false
    const from = hasRanges ? rangeStart(request) : 0
    if (from > 0) {
      response.statusCode = 206
      response.setHeader('content-range', `bytes ${from}-${body.length - 1}/${body.length}`)
    }
    response.setHeader('content-length', body.length - from)
    response.write(body.subarray(from, from + count), () => {
      if (isHanging) return
      if (from + count >= body.length) response.end()
      else setTimeout(() => response.destroy(), 20)
    })
    return true
  }
}
