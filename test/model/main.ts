// The model test by hand:
//   node dist/test/model/main.js [--driver kernel|mica] [--seed S] [--ops N] [--workers N]
//                                [--option O]… [--ignore KIND]… [--mutate VERB] [--replay FILE]
//                                [--budget SECONDS]
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { packageRoot } from '../support/package-root.js'
import { campaign, tell } from './campaign.js'
import { run } from './runner.js'

const { values } = parseArgs({
  options: {
    driver: { type: 'string', default: 'mica' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    ops: { type: 'string', default: '20000' },
    workers: { type: 'string', default: '1' },
    option: { type: 'string', multiple: true, default: [] },
    mutate: { type: 'string' },
    ignore: { type: 'string', multiple: true, default: [] },
    replay: { type: 'string' },
    budget: { type: 'string', default: '90' },
  },
})

const isKernel = values.driver === 'kernel'
const union = {
  driver: isKernel ? 'kernel' : join(packageRoot, 'bin/mica'),
  options: isKernel ? [] : ['--workers', values.workers, ...values.option],
}
// The kernel's readdir gives another d_ino than stat for some copied-up hard links.
const ignored = [...values.ignore, ...(isKernel ? ['d_ino'] : [])]
// By default the kernel serves files from where they lay when they were opened.
const isCached = values.option.includes('cache')
const readers = isKernel || isCached ? [] : ['--old-readers']
const mutation = values.mutate ? ['--mutate', values.mutate] : []
const flags = [...ignored.flatMap((kind) => ['--ignore', kind]), ...mutation, ...readers]

if (values.replay !== undefined) {
  const outcome = await run(union, { script: readFileSync(values.replay, 'latin1'), each: true, flags })
  console.log(outcome.report)
  process.exitCode = outcome.kind === '' ? 0 : 1
} else {
  const wish = { seed: Number(values.seed), ops: Number(values.ops), flags }
  console.log(`first seed ${wish.seed}`)
  const summary = await campaign(union, { ...wish, shrinkFor: Number(values.budget) * 1000 })
  console.log(`${summary.operations} operations in ${summary.runs} runs`)
  if (summary.failure) console.log(tell(summary.failure))
  process.exitCode = summary.failure ? 1 : 0
}
