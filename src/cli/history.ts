// `mica history`: how an image came about, a line a step.

import type { Command } from 'commander'
import { shortId } from '../store/digest.js'
import { type HistoryLine, imageHistory } from '../store/history.js'
import { findImage } from '../store/image-table.js'
import { formatAge, formatBytes } from './human.js'
import { storeCommand, withStore } from './store-command.js'
import { formatTable } from './table.js'

type Options = { root?: string; trunc: boolean; quiet?: boolean; json?: boolean }

const CREATED_BY_MAX = 45

function row(line: HistoryLine, isShort: boolean): string[] {
  const by = line.createdBy.replace(/\s+/g, ' ')
  const id = line.id === undefined ? '<missing>' : isShort ? shortId(line.id) : line.id
  return [
    id,
    formatAge(line.created),
    isShort && by.length > CREATED_BY_MAX ? `${by.slice(0, CREATED_BY_MAX - 1)}…` : by,
    formatBytes(line.size),
    line.comment,
  ]
}

async function run(image: string, { root, trunc, quiet = false, json = false }: Options): Promise<void> {
  const lines = await withStore(root, image, ({ store }) => imageHistory(store, findImage(store, image).id))
  if (json) process.stdout.write(`${JSON.stringify(lines, null, 2)}\n`)
  else if (quiet) for (const line of lines) process.stdout.write(`${row(line, trunc)[0]}\n`)
  else {
    const head = ['IMAGE', 'CREATED', 'CREATED BY', 'SIZE', 'COMMENT']
    for (const line of formatTable(
      head,
      lines.map((each) => row(each, trunc)),
    ))
      process.stdout.write(`${line}\n`)
  }
}

/** Returns the command. */
export function historyCommand(): Command {
  return storeCommand('history', 'show how an image came about, newest layer first')
    .argument('<image>')
    .option('--no-trunc', 'whole ids and commands')
    .option('-q, --quiet', 'ids only')
    .option('--json', 'for programs')
    .action(run)
}
