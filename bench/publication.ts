// bench/RESULTS.md and its plots, made from one run.

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { machineLines } from './machine.js'
import { plotsOf } from './plots.js'
import { remarksOf, tableOf } from './report.js'
import type { CaseResult, Results } from './results.js'

function markdownTable(result: CaseResult): string[] {
  const rows = tableOf(result).map((row) => `| ${row.join(' | ')} |`)
  const rule = `|${tableOf(result)[0]!
    .map((_, i) => (i === 0 ? '---' : '--:'))
    .join('|')}|`
  return [rows[0]!, rule, ...rows.slice(1)]
}

function introduction(results: Results): string[] {
  const lines = [
    '# Results',
    '',
    `Made by \`npm run bench -- --publish\` on ${results.started.slice(0, 10)}; ${results.rounds} rounds, ${Math.round(results.seconds / 60)} minutes.`,
    '',
    ...machineLines(results.machine).map((line) => `- ${line}`),
    ...results.drivers.flatMap(({ title, version }) => (version ? [`- ${title}: ${version}`] : [])),
    '',
    'Each cell is the median over rounds with its range (10th to 90th percentile from ten rounds on, least to',
    'greatest below that) and the median ratio to the kernel’s overlayfs in the same round. Lower is better.',
    'Every turn has a fresh mount: its caches are cold, those of the layers’ file system are warm. The plain',
    'directory has no mount of its own, so its first is as warm as its again.',
  ]
  if (results.isQuick) {
    lines.push('', '**A quick run with little work: a look at whether all works, not figures to quote.**')
  }
  return lines
}

/** Writes RESULTS.md and plots/ into `folder`. */
export async function publish(results: Results, folder: string): Promise<void> {
  const lines = introduction(results)
  if (results.absent.length > 0) {
    lines.push('', 'Left out:', '', ...results.absent.map(({ name, reason }) => `- ${name}: ${reason}`))
  }
  const plots = await plotsOf(results)
  mkdirSync(join(folder, 'plots'), { recursive: true })
  for (const { name, svg } of plots) writeFileSync(join(folder, 'plots', name), `${svg}\n`)
  let question = ''
  for (const result of results.cases) {
    if (result.question !== question) {
      question = result.question
      lines.push('', `## ${result.questionTitle}`)
      const own = plots.filter(
        ({ name }) => name.startsWith(`${question}-`) && !name.startsWith('lookup-threads'),
      )
      if (own.length > 0) lines.push('', ...own.map(({ name, title }) => `![${title}](plots/${name})`))
    }
    lines.push('', `### ${result.title}`, '', ...markdownTable(result))
    const remarks = remarksOf(result)
    if (remarks.length > 0) lines.push('', ...remarks.map((line) => `- ${line}`))
  }
  writeFileSync(join(folder, 'RESULTS.md'), `${lines.join('\n')}\n`)
}
