// An image as an OCI archive, for engines to import: layers are given as tar archives, base first.

import { writeFileSync } from 'node:fs'
import { archive, digest, file } from '../store/tar.js'

const platform = { architecture: process.arch === 'arm64' ? 'arm64' : 'amd64', os: 'linux' }

/** Writes the archive and returns the chain id of its top layer. The image runs `command`. */
export function writeOciArchive(
  path: string,
  name: string,
  layers: readonly Buffer[],
  command: readonly string[] = ['/bin/sh'],
): string {
  const blobs = new Map<string, Buffer>()
  const add = (mediaType: string, bytes: Buffer) => {
    blobs.set(digest(bytes), bytes)
    return { mediaType, digest: digest(bytes), size: bytes.length }
  }
  const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))
  const config = add(
    'application/vnd.oci.image.config.v1+json',
    json({
      ...platform,
      config: { Env: ['PATH=/bin'], Cmd: command },
      rootfs: { type: 'layers', diff_ids: layers.map(digest) },
    }),
  )
  const manifest = add(
    'application/vnd.oci.image.manifest.v1+json',
    json({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config,
      layers: layers.map((layer) => add('application/vnd.oci.image.layer.v1.tar', layer)),
    }),
  )
  const annotations = { 'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': 'latest' }
  const index = json({ schemaVersion: 2, manifests: [{ ...manifest, platform, annotations }] })
  writeFileSync(
    path,
    archive(
      file('oci-layout', '{"imageLayoutVersion":"1.0.0"}'),
      { name: 'index.json', content: index },
      ...[...blobs].map(([id, content]) => ({ name: `blobs/sha256/${id.slice(7)}`, content })),
    ),
  )
  // image-spec, config.md: Layer ChainID
  return layers.map(digest).reduce((chain, diffId) => digest(Buffer.from(`${chain} ${diffId}`)))
}
