// Prints test/SEMANTICS.md: for each fact its tests and their results, from the files of notes that
// the mount tests write to MICA_TEST_REPORT.
// usage: node dist/test/support/semantics-table.js REPORT... >test/SEMANTICS.md
import { readFileSync } from 'node:fs'
import { facts, untested } from './semantics.js'

type Note = { driver: string; suite: string; title: string; lines: number[]; result: string }

const notes = process.argv.slice(2).flatMap((path) =>
  readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Note),
)

const isMica = (note: Note) => note.driver.startsWith('mica')
const isBad = (note: Note) => /^(FAILED|fails)/.test(note.result)
const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll(/\s+/g, ' ')

function verdict(of: Note[]): string {
  if (of.length === 0) return ''
  if (of.some(isBad)) return 'no'
  return of.every((note) => note.result.startsWith('skipped')) ? 'skipped' : 'yes'
}

/** What went wrong, once for each test. */
function reasons(of: Note[]): string[] {
  const bad = of.filter((note) => note.result !== 'passes')
  const byTitle = new Map(bad.map((note) => [`${note.driver.split(' ')[0]}: ${note.title}`, note.result]))
  return [...byTitle].map(([title, result]) => `${title}: ${result.slice(0, 160)}`)
}

function row(line: number): string {
  const mine = notes.filter((note) => note.lines.includes(line))
  const tests = [...new Set(mine.map((note) => `${note.suite}: ${note.title}`))]
  const remarks = [...reasons(mine), ...(untested[line] ? [`untested: ${untested[line]}`] : [])]
  const kernel = mine.filter((note) => note.driver.startsWith('kernel'))
  const columns = [
    String(line),
    facts[line]!,
    tests.map(cell).join('<br>'),
    verdict(mine.filter(isMica)),
    verdict(kernel),
    remarks.map(cell).join('<br>'),
  ]
  return `| ${columns.join(' | ')} |`
}

const drivers = [...new Set(notes.map((note) => note.driver))].sort()
const passed = (driver: string) => {
  const its = notes.filter((note) => note.driver === driver)
  const count = (test: (note: Note) => boolean) => its.filter(test).length
  const skipped = count((note) => note.result.startsWith('skipped'))
  return `- ${driver}: ${its.length} tests, ${count(isBad)} failing, ${skipped} skipped`
}

console.log(`# What a union mount must do, and which test shows it

Made by \`node dist/test/support/semantics-table.js\` from the notes of the mount tests
(\`MICA_TEST_REPORT\`). The tests are in \`test/suites\`; "kernel" is the kernel's own overlayfs with
redirect_dir=on and index=on, on which the tests themselves are checked.

${drivers.map(passed).join('\n')}

| line | fact | tests | mica | kernel | remarks |
|---|---|---|---|---|---|
${Object.keys(facts)
  .map((line) => row(Number(line)))
  .join('\n')}`)
