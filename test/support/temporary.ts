// Folders that go when the test's process ends.

import { rmSync } from 'node:fs'

const folders: string[] = []

process.on('exit', () => {
  for (const path of folders) rmSync(path, { recursive: true, force: true })
})

/** Returns the path; it is removed with all below when the process ends. */
export function removedAtEnd(path: string): string {
  folders.push(path)
  return path
}
