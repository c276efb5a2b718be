// --format templates: the part of Go's that people use, `{{.Field}}` and `{{json .}}`.

import { UsageError } from '../mount/errors.js'

/** Returns the template with its fields put in. Throws UsageError for a field that is none. */
export function formatTemplate(template: string, fields: Readonly<Record<string, string>>): string {
  if (template === 'json') return JSON.stringify(fields)
  const text = template.replace(/\\t/g, '\t').replace(/\\n/g, '\n')
  return text.replace(/\{\{\s*(.*?)\s*\}\}/g, (_, inner: string) => {
    if (inner === 'json .') return JSON.stringify(fields)
    const name = /^(?:json )?\.([A-Za-z]+)$/.exec(inner)?.[1]
    const value = name === undefined ? undefined : fields[name]
    if (value === undefined) {
      throw new UsageError(`--format: {{${inner}}} is unknown; there are .${Object.keys(fields).join(', .')}`)
    }
    return inner.startsWith('json ') ? JSON.stringify(value) : value
  })
}
