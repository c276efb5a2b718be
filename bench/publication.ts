// bench/RESULTS.md and its plots, made from one run or several.

import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { machineLines } from './machine.js'
import { plotsOf } from './plots.js'
import { remarksOf, tableOf } from './report.js'
import { type CaseResult, mergedCases, type Results } from './results.js'

function markdownTable(result: CaseResult): string[] {
  const rows = tableOf(result).map((row) => `| ${row.join(' | ')} |`)
  const rule = `|${tableOf(result)[0]!
    .map((_, i) => (i === 0 ? '---' : '--:'))
    .join('|')}|`
  return [rows[0]!, rule, ...rows.slice(1)]
}

function lineOf(run: Results): string {
  const { command, started, rounds, seconds, machine } = run
  const when = `${started.slice(0, 16).replace('T', ' ')} UTC`
  const load = `load average ${machine.loadAtStart.toFixed(2)} at its start`
  return `- \`npm run bench -- ${command}\`: ${when}, ${rounds} rounds, ${Math.ceil(seconds / 60)} minutes, ${load}`
}

function introduction(runs: readonly Results[]): string[] {
  const [first] = runs as [Results]
  const drivers = new Map(runs.flatMap((run) => run.drivers.map((driver) => [driver.id, driver] as const)))
  const lines = [
    '# Results',
    '',
    ...machineLines(first.machine).map((line) => `- ${line}`),
    ...[...drivers.values()].flatMap(({ title, version }) => (version ? [`- ${title}: ${version}`] : [])),
    '',
    'Made by:',
    '',
    ...runs.map(lineOf),
    '',
    'Each cell is the median over rounds with its range (10th to 90th percentile from ten rounds on, least to',
    'greatest below that) and the median ratio to the kernel’s overlayfs in the same round. Lower is better.',
    'Every turn has a fresh mount: its caches are cold, those of the layers’ file system are warm. The plain',
    'directory has no mount of its own, so its first is as warm as its again. A row is of the newest run that',
    'has it, and its ratio is to the kernel’s overlayfs in that run.',
  ]
  if (runs.some(({ isQuick }) => isQuick)) {
    lines.push('', '**A quick run with little work: a look at whether all works, not figures to quote.**')
  }
  return lines
}

/** Writes RESULTS.md and plots/ into `folder`. Of what several runs asked the newest answer counts. */
export async function publish(runs: readonly Results[], folder: string): Promise<void> {
  const lines = introduction(runs)
  const absent = new Map(runs.flatMap((run) => run.absent.map((each) => [each.name, each.reason] as const)))
  if (absent.size > 0)
    lines.push('', 'Left out:', '', ...[...absent].map(([name, reason]) => `- ${name}: ${reason}`))
  const cases = mergedCases(runs)
  const plots = await plotsOf(cases)
  rmSync(join(folder, 'plots'), { recursive: true, force: true })
  mkdirSync(join(folder, 'plots'), { recursive: true })
  for (const { name, svg } of plots) writeFileSync(join(folder, 'plots', name), `${svg}\n`)
  let question = ''
  for (const result of cases) {
    if (result.question !== question) {
      question = result.question
      lines.push('', `## ${result.questionTitle}`)
      const own = plots.filter((plot) => plot.question === question)
      if (own.length > 0) lines.push('', ...own.map(({ name, title }) => `![${title}](plots/${name})`))
    }
    lines.push('', `### ${result.title}`, '', ...markdownTable(result))
    const remarks = remarksOf(result)
    if (remarks.length > 0) lines.push('', ...remarks.map((line) => `- ${line}`))
  }
  writeFileSync(join(folder, 'RESULTS.md'), `${lines.join('\n')}\n`)
}
