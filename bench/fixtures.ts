// The inputs: directory trees split over layers, built once into the cache folder and never changed.
// A tree is whole when its stamp is there; one that was interrupted is built again.

import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Probe, runProgram } from './probe.js'

export type Tree = {
  readonly folder: string
  /** Absolute, top first. */
  readonly lowers: readonly string[]
  /** The same as one directory; built when first asked for. */
  merged(): string
}

/** Directories of files, `entry-NNNN.conf` in `dNNNN`. */
export type Shape = { readonly dirs: number; readonly files: number; readonly bytes: number }

export class Fixtures {
  readonly #folder: string
  readonly #probe: Probe

  constructor(folder: string, probe: Probe) {
    this.#folder = folder
    this.#probe = probe
  }

  /** Every layer has all directories; the files go around the layers. */
  spread({ dirs, files, bytes }: Shape, layers: number): Tree {
    const shape = `${dirs}x${files}x${bytes}`
    return this.#layered(`spread-${shape}-${layers}`, `spread-${shape}`, layers, (path, count, index) =>
      this.#probe.run('make-tree', path, dirs, files, bytes, count, index),
    )
  }

  /** One layer with one file, `big`. */
  bigFile(bytes: number): Tree {
    return this.#layered(`big-${bytes}`, `big-${bytes}`, 1, (path) => {
      mkdirSync(path)
      this.#probe.run('make-file', join(path, 'big'), bytes)
    })
  }

  /** One tree that `build` makes, whole, spread over layers by its files. */
  made(name: string, layers: number, build: (path: string) => void): Tree {
    const source = this.#once(`${name}-whole`, (folder) => build(join(folder, 'tree')))
    return this.#layered(`${name}-${layers}`, `${name}`, layers, (path, count, index) =>
      copyPart(join(source, 'tree'), path, count, index),
    )
  }

  #layered(
    name: string,
    mergedName: string,
    layers: number,
    build: (path: string, count: number, index: number) => void,
  ): Tree {
    const folder = this.#once(name, (path) => {
      for (let layer = 0; layer < layers; layer++) build(join(path, String(layer)), layers, layer)
    })
    const lowers = Array.from({ length: layers }, (_, layer) => join(folder, String(layer)))
    const merged = () =>
      join(
        this.#once(`${mergedName}-merged`, (path) => build(join(path, '0'), 1, 0)),
        '0',
      )
    return { folder, lowers, merged }
  }

  #once(name: string, build: (folder: string) => void): string {
    const folder = join(this.#folder, name)
    const stamp = `${folder}.whole`
    if (existsSync(stamp)) return folder
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(folder, { recursive: true })
    build(folder)
    writeFileSync(stamp, '')
    return folder
  }
}

/** Copies all directories, and every COUNTth file from INDEX on. */
function copyPart(from: string, to: string, count: number, index: number): void {
  if (count === 1) {
    runProgram(['cp', '-a', from, to])
    return
  }
  let seen = 0
  const skipped: string[] = []
  const walk = (path: string): void => {
    const entries = readdirSync(join(from, path), { withFileTypes: true })
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const name = join(path, entry.name)
      if (entry.isDirectory()) walk(name)
      else if (seen++ % count !== index) skipped.push(name)
    }
  }
  walk('')
  runProgram(['cp', '-a', from, to])
  for (const name of skipped) rmSync(join(to, name))
}
