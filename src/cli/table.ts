// Columns of text. Colours take no room.

import { stripVTControlCharacters } from 'node:util'

/** Returns the head and the rows as lines with aligned columns. */
export function formatTable(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const all = [head, ...rows]
  const length = (cell: string): number => stripVTControlCharacters(cell).length
  const widths = head.map((_, column) => Math.max(...all.map((cells) => length(cells[column] ?? ''))))
  return all.map((cells) =>
    cells
      .map((cell, column) => cell + ' '.repeat(widths[column]! - length(cell)))
      .join('  ')
      .trimEnd(),
  )
}
