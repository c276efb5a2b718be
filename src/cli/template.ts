// --format templates: the part of Go's that people use, `{{.Field}}` and `{{json .}}`, and docker's `table`.

import { UsageError } from '../mount/errors.js'
import { formatTable } from './table.js'

type Fields = Readonly<Record<string, string>>

const FIELD = /\{\{\s*(.*?)\s*\}\}/g
const TABLE = /^table\s+/

/** Returns the template with its fields put in. Throws UsageError for a field that is none. */
export function formatTemplate(template: string, fields: Fields): string {
  if (template === 'json') return JSON.stringify(fields)
  return unescaped(template).replace(FIELD, (_, inner: string) => {
    if (inner === 'json .') return JSON.stringify(fields)
    const name = /^(?:json )?\.([A-Za-z]+)$/.exec(inner)?.[1]
    const value = name === undefined ? undefined : fields[name]
    if (value === undefined) {
      throw new UsageError(`--format: {{${inner}}} is unknown; there are .${Object.keys(fields).join(', .')}`)
    }
    return inner.startsWith('json ') ? JSON.stringify(value) : value
  })
}

const unescaped = (template: string): string => template.replace(/\\t/g, '\t').replace(/\\n/g, '\n')

/** Returns a line for each row; after `table`, aligned in columns (a tab apart) below their `heads`. */
export function formatRows(template: string, rows: readonly Fields[], heads: Fields): string[] {
  if (!TABLE.test(template)) return rows.map((row) => formatTemplate(template, row))
  const cells = unescaped(template.replace(TABLE, '')).split('\t')
  const line = (row: Fields): string[] => cells.map((cell) => formatTemplate(cell, row))
  return formatTable(line(heads), rows.map(line))
}
