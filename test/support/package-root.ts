// Where the package's own folder is, from source and from dist alike.
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

function find(folder: string): string {
  return existsSync(join(folder, 'package.json')) ? folder : find(dirname(folder))
}

export const packageRoot = find(dirname(fileURLToPath(import.meta.url)))
