// Progress of long work: a bar per layer on a terminal, one line per event elsewhere.

import cliProgress from 'cli-progress'
import { shortId } from '../store/digest.js'
import type { Progress } from '../store/store.js'
import { formatBytes } from './human.js'

const WORDS: Readonly<Record<Progress['status'], string>> = {
  waiting: 'Waiting',
  exists: 'Already exists',
  downloading: 'Downloading',
  copying: 'Copying',
  unpacking: 'Unpacking',
  uploading: 'Pushing',
  done: 'Done',
}

type Shown = { readonly onProgress: (progress: Progress) => void; stop(): void }

/** Begins to show progress on stderr. */
export function showProgress(how: 'bars' | 'lines' | 'nothing'): Shown {
  if (how === 'nothing') return { onProgress: () => {}, stop: () => {} }
  return how === 'bars' ? showBars() : showLines()
}

function showLines(): Shown {
  const last = new Map<string, string>()
  return {
    onProgress: ({ id, status }) => {
      const isKnown = last.get(id)
      // A layer that was here before is not `done` anew.
      if (isKnown === status || (isKnown === 'exists' && status === 'done')) return
      last.set(id, status)
      process.stderr.write(`${shortId(id)}: ${WORDS[status]}\n`)
    },
    stop: () => {},
  }
}

function showBars(): Shown {
  const bars = new cliProgress.MultiBar(
    {
      stream: process.stderr,
      clearOnComplete: false,
      hideCursor: true,
      format: '{name}: {status} [{bar}] {amount}',
      barsize: 30,
    },
    cliProgress.Presets.rect,
  )
  const known = new Map<string, cliProgress.SingleBar>()
  return {
    onProgress: ({ id, status, current, total }) => {
      const isEnd = status === 'exists' || status === 'done'
      const payload = {
        name: shortId(id),
        status: WORDS[status].padEnd(14),
        amount:
          current === undefined
            ? ''
            : formatBytes(current) + (total === undefined ? '' : `/${formatBytes(total)}`),
      }
      let bar = known.get(id)
      if (bar === undefined) {
        bar = bars.create(1, 0, payload)
        known.set(id, bar)
      }
      if (total !== undefined) bar.setTotal(Math.max(1, total))
      if (isEnd) bar.update(bar.getTotal(), payload)
      else if (current !== undefined && total !== undefined) bar.update(current, payload)
      else bar.update(payload)
    },
    stop: () => bars.stop(),
  }
}
