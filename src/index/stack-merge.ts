// Layers merged once for all: for each name that shows through a stack of layers, which layer has it, with
// its attributes; for each directory the layers that it is merged from. The same rules as the union's own
// search (union/lookup.ts); names that only it can follow are marked E_ASK and so is nothing below them.

import {
  DIR_COUNT,
  DIR_FIRST,
  DIR_LAYERS,
  DIR_LIST,
  DIR_WORDS,
  E_ASK,
  E_ATTR,
  E_CHILD,
  E_LENGTH,
  E_OPAQUE,
  E_TYPE,
  ENTRY_WORDS,
  INDEX_SAW_TRUSTED,
  TYPE_DIR,
  TYPE_HIDDEN,
} from './format.js'
import { IndexTable } from './table.js'
import type { IndexView } from './view.js'

/** Where one layer has a directory. */
type Part = { readonly layer: number; readonly dir: number }

/** A directory of the stack; `isOpen`: further layers may still be merged into it. */
type Merged = { readonly parts: Part[]; isOpen: boolean }

/** Merges the indexes of layers, top first. Throws when one is damaged. */
export function mergeLayers(layers: readonly IndexView[]): IndexTable {
  const table = new IndexTable()
  for (const { flags } of layers) table.flags |= flags
  // Known only when all saw them.
  table.flags = layers.reduce((flags, layer) => flags & (layer.flags | ~INDEX_SAW_TRUSTED), table.flags)
  const root = addRoot(table, layers)
  const merged: (Merged | undefined)[] = [undefined, root]
  for (let dir = 1; dir < table.dirCount; dir++) mergeDirectory(table, layers, merged, dir)
  return table
}

function addRoot(table: IndexTable, layers: readonly IndexView[]): Merged {
  const own = table.addEntry(0, new Uint8Array(0), 0, 0, TYPE_DIR)
  const parts: Part[] = []
  for (const [layer, view] of layers.entries()) {
    const w = proved(view.ownEntry(1), layer)
    if (layer === 0) copyEntry(table, own, view, w, 0)
    parts.push({ layer, dir: 1 })
    if (((view.words[w + E_TYPE]! >>> 8) & E_OPAQUE) !== 0) break
  }
  table.entries[own * ENTRY_WORDS + E_CHILD] = table.addDir(own)
  return { parts, isOpen: false }
}

function proved(result: number, layer: number): number {
  if (result < 0) throw new Error(`the index of layer ${layer + 1} is damaged`)
  return result
}

function mergeDirectory(
  table: IndexTable,
  layers: readonly IndexView[],
  merged: (Merged | undefined)[],
  dir: number,
): void {
  const { parts } = merged[dir]!
  merged[dir] = undefined
  const first = table.entryCount
  const list = table.lists.length
  for (const part of parts) {
    table.lists.push(part.layer)
    mergePart(table, layers[part.layer]!, part, merged, dir)
  }
  const d = dir * DIR_WORDS
  table.dirs[d + DIR_FIRST] = first
  table.dirs[d + DIR_COUNT] = table.entryCount - first
  table.dirs[d + DIR_LIST] = list
  table.dirs[d + DIR_LAYERS] = parts.length
}

function mergePart(
  table: IndexTable,
  view: IndexView,
  { layer, dir: from }: Part,
  merged: (Merged | undefined)[],
  dir: number,
): void {
  const d = proved(view.dir(from), layer)
  const end = view.first(d) + view.count(d)
  for (let each = view.first(d); each < end; each++) {
    const w = proved(view.entry(each), layer)
    const name = proved(view.name(w), layer)
    const length = view.words[w + E_LENGTH]! & 0xffff
    const type = view.words[w + E_TYPE]! & 0xff
    const flags = view.words[w + E_TYPE]! >>> 8
    const known = table.find(dir, view.bytes, name, length)
    if (known !== 0) {
      goOn(table, merged, known, type, flags, { layer, dir: view.words[w + E_CHILD]! })
      continue
    }
    const entry = table.addEntry(dir, view.bytes, name, length, type)
    copyEntry(table, entry, view, w, layer)
    if (type === TYPE_HIDDEN) continue
    if ((flags & E_ASK) === 0 && type === TYPE_DIR) {
      const child = table.addDir(entry)
      table.entries[entry * ENTRY_WORDS + E_CHILD] = child
      const isOpen = (flags & E_OPAQUE) === 0
      merged[child] = { parts: [{ layer, dir: view.words[w + E_CHILD]! }], isOpen }
    }
  }
}

/** A name that some layer above has is in a further one. */
function goOn(
  table: IndexTable,
  merged: (Merged | undefined)[],
  known: number,
  type: number,
  flags: number,
  part: Part,
): void {
  const w = known * ENTRY_WORDS
  const child = table.entries[w + E_CHILD]!
  const directory = child === 0 ? undefined : merged[child]
  if (directory === undefined || !directory.isOpen) return
  if (type !== TYPE_DIR) directory.isOpen = false
  else if ((flags & E_ASK) !== 0) {
    // Its number stays, with nothing in it and nobody who would look.
    table.entries[w + E_TYPE]! |= E_ASK << 8
    table.entries[w + E_CHILD] = 0
    merged[child] = { parts: [], isOpen: false }
  } else {
    directory.parts.push(part)
    if ((flags & E_OPAQUE) !== 0) directory.isOpen = false
  }
}

function copyEntry(table: IndexTable, entry: number, view: IndexView, w: number, layer: number): void {
  const to = entry * ENTRY_WORDS
  const { words } = view
  table.entries[to + E_LENGTH]! |= layer << 16
  table.entries[to + E_TYPE] = words[w + E_TYPE]!
  for (let i = E_ATTR; i < ENTRY_WORDS; i++) table.entries[to + i] = words[w + i]!
}
